"""One variant when it is done: its entry of the manifest, its members, and what its user should know."""

from __future__ import annotations

from dataclasses import dataclass

from vae_edge_runtime.format.manifest import Variant
from vae_edge_runtime.scoring.calibrate import Calibrated

from .split_weights import SplitGraphs


@dataclass(frozen=True, eq=False)
class FinishedVariant:
    """One variant, ready to be packed.

    Attributes:
        members: by name: weights, calibration, golden outputs.
        expected: per "graph.output", the member of the golden outputs.
        tolerance: per "graph.output", what another engine may differ by.
        warnings: in words. advice: which head to decide by, and why.
    """

    variant: Variant
    graphs: SplitGraphs
    calibrated: Calibrated
    members: dict[str, bytes]
    expected: dict[str, str]
    tolerance: dict[str, float]
    warnings: tuple[str, ...]
    advice: tuple[str, ...] = ()
