"""Whose state it is: the model, the source, and the options that decide what a row is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vae_edge_runtime.errors import DataError, OptionError

VERSION = 1


@dataclass(frozen=True)
class Watched:
    """What a state belongs to.

    Attributes:
        bundle_id, release: of the model. source: its absolute path, ``-`` or ``camera:0``.
        options: that must be the same after a restart, by their names on the command line.
    """

    bundle_id: str
    release: int
    source: str
    options: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """What the state file says of it."""
        return {
            "version": VERSION,
            "bundle": self.bundle_id,
            "release": self.release,
            "source": self.source,
            "options": dict(self.options),
        }

    def check(self, saved: Mapping[str, Any], path: Path, *, take_over: bool) -> bool:
        """Whether a state is of the same model; False where ``take_over`` lets another model go on from it.

        Raises:
            OptionError: it is of another source or other options, or of another model and ``take_over`` is False.
            DataError: it does not say what it is of.
        """
        try:
            version, bundle, release = saved["version"], str(saved["bundle"]), saved["release"]
            source, options = str(saved["source"]), dict(saved["options"])
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{path} does not say what it is the state of: move it away to begin anew") from error
        if version != VERSION:
            raise DataError(f"{path} is of another version of vae-edge watch: move it away to begin anew")
        if source != self.source:
            raise OptionError(f"{path} is the state of {source}, and not of {self.source}: give each its own --state")
        for name, value in self.options.items():
            if options.get(name) != value:
                raise OptionError(
                    f"{path} was written with {name} {options.get(name)!r:.80}, and now it is {value!r:.80}: give it "
                    "as it was, or name another --state"
                )
        if bundle == self.bundle_id:
            return True
        if not take_over:
            raise OptionError(
                f"{path} is the state of bundle {bundle:.12} (release {release!r:.20}), and not of "
                f"{self.bundle_id:.12} (release {self.release}): pass --take-over to go on from it"
            )
        return False
