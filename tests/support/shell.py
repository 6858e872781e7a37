"""Run a command in this process, and the world its tests share."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vae_edge.cli import main


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str

    def json(self) -> dict[str, Any]:
        """stdout, which must be one JSON document and nothing else."""
        return json.loads(self.out)  # type: ignore[no-any-return]


Cli = Callable[..., Outcome]


def run(*arguments: object) -> Outcome:
    """Run a command in this process, as a shell would see it."""
    out, err = io.StringIO(), io.StringIO()
    code: object = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main([str(a) for a in arguments])
        except SystemExit as exit:
            code = exit.code
    assert isinstance(code, int)
    return Outcome(code, out.getvalue(), err.getvalue())


@dataclass(frozen=True)
class World:
    """A small trained and exported model with its data, made by the commands themselves."""

    folder: Path
    rows: np.ndarray
    exported: Outcome

    @property
    def bundle(self) -> Path:
        return self.folder / "table.vaeb"

    @property
    def data(self) -> Path:
        return self.folder / "rows.npy"
