"""One variant when it is done: its entry of the manifest, its members, and what its user should know."""

from __future__ import annotations

from dataclasses import dataclass, field

from vae_edge_runtime.format.figures import Parity
from vae_edge_runtime.format.manifest import Variant
from vae_edge_runtime.scoring.calibrate import Calibrated

from .split_weights import SplitGraphs


@dataclass(frozen=True)
class GoldenAtSize:
    """What one variant gave at one height and width, per "graph.output"; ``expected`` are names of members."""

    parity: dict[str, Parity]
    expected: dict[str, str]
    tolerance: dict[str, float]


@dataclass(frozen=True, eq=False)
class FinishedVariant:
    """One variant, ready to be packed.

    Attributes:
        members: by name: weights, calibration, golden outputs.
        expected: per "graph.output", the member of the golden outputs.
        tolerance: per "graph.output", what another engine may differ by.
        warnings: in words. advice: which head to decide by, and why.
        sizes: per further height and width: parity, members of the golden outputs, and tolerances.
    """

    variant: Variant
    graphs: SplitGraphs
    calibrated: Calibrated
    members: dict[str, bytes]
    expected: dict[str, str]
    tolerance: dict[str, float]
    warnings: tuple[str, ...]
    advice: tuple[str, ...] = ()
    sizes: dict[tuple[int, ...], GoldenAtSize] = field(default_factory=dict)
