"""The options of a stream as one checked record; ``VAE.stream`` explains each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any, Literal

from .. import arguments
from ..arguments.by_annotation import check_fields
from ..errors import OptionError
from ..format.stream_rules import AlarmSpec, GuardSpec
from ..record import record

Impute = Literal["off", "auto"]
Maps = Literal["off", "anomalies", "all"]
MAX_STRIDE = (1 << 31) - 1
"""Rows from one window to the next, so that an index of a row stays an int64."""


@record(frozen=True)
class StreamOptions:
    """What ``VAE.stream`` and ``open_stream`` may be told; ``VAE.stream`` explains each field, unit and default."""

    stride: int | None = None
    heads: tuple[str, ...] | str = ()
    live: bool = False
    queue_rows: int = 1024
    guard: GuardSpec | None = None
    alarm: AlarmSpec | None = None
    drift: bool = True
    impute: Impute = "off"
    maps: Maps = "off"
    top: int = 3
    stale_s: float | None = None
    clock: Callable[[], float] | None = None
    batch: int = 256
    together_s: float = 0.05

    def __post_init__(self) -> None:
        check_fields(self)
        if self.stride is not None:
            arguments.whole_number("stride", self.stride, low=1, high=MAX_STRIDE)
        for name, low in (("queue_rows", 1), ("batch", 1), ("top", 0)):
            arguments.whole_number(name, getattr(self, name), low=low)
        arguments.number("together_s", self.together_s, low=0, note=" seconds")
        if self.stale_s is not None and not arguments.number("stale_s", self.stale_s, low=0, note=" seconds"):
            raise OptionError("stale_s is 0; pass the seconds of silence that are an event, or None for no such event")

    @classmethod
    def named(cls, options: dict[str, Any]) -> StreamOptions:
        """Options by name.

        Raises:
            OptionError: a name or a value is not a valid one.
        """
        arguments.instance("options", options, dict, "a dict of options by name")
        valid = [field.name for field in fields(cls)]
        if unknown := [name for name in options if name not in valid]:
            raise OptionError(f"a stream has no option {unknown[0]!r}; valid are {', '.join(valid)}")
        return cls(**options)
