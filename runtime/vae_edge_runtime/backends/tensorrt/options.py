"""What an engine is built for."""

from __future__ import annotations

from dataclasses import dataclass

from ...errors import OptionError

_RANGES = {"optimization_level": (0, 5), "aux_streams": (0, 8), "timing_iterations": (1, 64)}


@dataclass(frozen=True, kw_only=True)
class BuildOptions:
    """What an engine is built for.

    Attributes:
        max_batch: most rows of one run; larger arrays are cut.
        workspace_bytes: most scratch memory of one layer. On a Jetson it is the system's memory, too.
        optimization_level: 0 builds fastest, 5 searches longest; None: TensorRT's own, 3.
        aux_streams: further streams that layers may run on side by side, each with memory of its own; 0 saves it.
        timing_iterations: runs that a kernel's time is the mean of; more are steadier where clocks move.
    """

    max_batch: int = 64
    workspace_bytes: int = 256 << 20
    optimization_level: int | None = None
    aux_streams: int | None = None
    timing_iterations: int | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.max_batch <= 4096:
            raise OptionError(f"max_batch is {self.max_batch}; pass 1 to 4096 rows")
        if self.workspace_bytes < 1 << 20:
            raise OptionError("the workspace is below 1 MiB")
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise OptionError(f"{name} is {value}; pass {low} to {high}, or leave it to TensorRT")

    @property
    def profiles(self) -> tuple[tuple[int, int, int], ...]:
        """(least, tuned for, most) rows of each; a single row, whose latency counts, has one of its own."""
        return ((1, 1, 1),) if self.max_batch == 1 else ((1, 1, 1), (2, self.max_batch, self.max_batch))
