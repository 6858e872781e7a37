"""What every variant of one export is built from, and the steps that all of them take."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_edge_runtime.backends.base import Backend
from vae_edge_runtime.format.figures import Fidelity, Parity, Reduction, Verdict
from vae_edge_runtime.format.manifest import Variant
from vae_edge_runtime.format.sizes import Size
from vae_edge_runtime.graph_session import rows_within
from vae_edge_runtime.scoring.calibrate import Calibrated, calibrate
from vae_edge_runtime.scoring.tiling import golden_picture

from ..bundling import contents
from ..bundling.finished_variant import FinishedVariant
from ..bundling.split_weights import SplitGraphs
from ..checks.decisions import score_outputs, torch_outputs, with_noise
from ..checks.parity import Reference
from ..checks.probes import FEW_PROBES, ProbeLatents, probes
from ..checks.size_parity import SizeFigures
from ..config import ExportConfig, Precision
from ..effort import is_costly, rows_affordable
from ..graphs.build import BuiltGraphs
from ..rows import ExportRows, rows_of
from ..support import Support
from ..timer import Timer

Array = NDArray[Any]
Outputs = Mapping[str, Mapping[str, Array]]
RunGraph = Callable[[str, Mapping[str, Array]], Mapping[str, Array]]
"""(graph, feeds) to its outputs by name."""

_PARITY_ROWS, _FEWEST_PARITY_ROWS = 64, 8
_PARITY_BYTES = 4 << 30
"""Of all rows that are compared in float64; of rows of 256 x 256 pixels through 32 channels 20 fit."""


@dataclass(frozen=True, eq=False)
class VariantBuilder:
    """What every variant of one export is built from.

    Attributes:
        reference: the torch graphs. pair: pair id.
        latents: (encode's first output) -> what to feed ``decode`` in comparisons.
    """

    built: BuiltGraphs
    reference: Reference
    rows: ExportRows
    config: ExportConfig
    pair: str
    timer: Timer
    latents: ProbeLatents

    @classmethod
    def of(
        cls,
        built: BuiltGraphs,
        reference: Reference,
        rows: ExportRows,
        config: ExportConfig,
        pair: str,
        timer: Timer,
    ) -> VariantBuilder:
        """With the latents that ``decode`` is compared on."""
        latents = ProbeLatents.of(reference, built.vae.kind, rows.calibration, few=is_costly(built.multiplications))
        return cls(built, reference, rows, config, pair, timer, latents)

    @property
    def parity_feeds(self) -> dict[str, Array]:
        """Real rows that outputs are compared on."""
        if is_costly(self.built.multiplications):  # rows whose outputs in float64 other gates need, too
            return self.golden_feeds
        count = len(self.rows.calibration["x"])
        largest = max(sizes.double for sizes in self.built.row_bytes.values())
        wanted = max(rows_within(_PARITY_BYTES, largest, most=_PARITY_ROWS), _FEWEST_PARITY_ROWS)
        if wanted == _PARITY_ROWS or wanted >= count:
            return rows_of(self.rows.calibration, slice(_PARITY_ROWS))
        chosen = spread_by_size(self.rows.calibration["x"], wanted)
        return {name: x[chosen] for name, x in self.rows.calibration.items()}

    @property
    def probe_rows(self) -> dict[str, Array]:
        """Rows no data set holds, by name."""
        made = probes(self.rows.row, Support.of(self.rows.calibration["x"], self.rows.row.layout))
        few = is_costly(self.built.multiplications)
        return {name: row for name, row in made.items() if name in FEW_PROBES} if few else made

    @property
    def golden_feeds(self) -> dict[str, Array]:
        """The rows of the self-test."""
        most = rows_affordable(self.built.multiplications, most=self.config.golden_rows)
        return rows_of(self.rows.held_out, slice(most))

    def noise(self, feeds: dict[str, Array]) -> Array | None:
        """Posterior noise for the graph ``sampled``, where there is one."""
        return with_noise(self.built, feeds)["noise"] if "sampled" in self.built.signatures else None

    def calibrate(self, backend: Backend, name: str) -> Calibrated:
        """Thresholds of every head, from what the graphs of a variant make of the calibration rows."""
        return calibrate(
            self.built.score,
            score_outputs(backend, self.built, self.rows.calibrating, self.rows.row),
            prefix=name,
            false_positive_rate=self.config.false_positive_rate,
            method=self.config.threshold_method,
            threshold=self.config.threshold,
        )

    def golden_outputs(self, run: RunGraph) -> dict[str, dict[str, Array]]:
        """Outputs of the rows of the self-test, float32; ``decode`` is fed the first output of ``encode``."""
        feeds = self.golden_feeds
        outputs = {graph: _in_float32(run(graph, feeds)) for graph in ("encode", "score")}
        z = self.built.signatures["decode"].inputs[0].name
        conditions = {name: x for name, x in feeds.items() if name != "x"}
        outputs["decode"] = _in_float32(run("decode", {z: next(iter(outputs["encode"].values())), **conditions}))
        if "sampled" in self.built.signatures:
            outputs["sampled"] = _in_float32(run("sampled", with_noise(self.built, feeds)))
        return outputs

    def golden_picture(self) -> dict[str, float] | None:
        """Outputs of ``score`` for a picture of four golden rows, where rows are tiles; from PyTorch in float32."""
        if self.rows.row.overlap is None:
            return None
        picture = golden_picture(self.golden_feeds["x"], self.rows.row)
        outputs = torch_outputs(self.reference, self.built, {"x": picture}, self.rows.row)
        return {name: float(values[0]) for name, values in outputs.items()}

    def finish(
        self,
        name: Precision,
        graphs: SplitGraphs,
        calibrated: Calibrated,
        *,
        parity: dict[str, Parity],
        verdict: Verdict,
        traps: dict[str, dict[str, float]],
        golden: Outputs,
        tolerance: dict[str, float],
        reduction: Reduction | None = None,
        fidelity: Fidelity | None = None,
        warnings: tuple[str, ...] = (),
        advice: tuple[str, ...] = (),
        sizes: Mapping[Size, SizeFigures] | None = None,
    ) -> FinishedVariant:
        """Everything measured of one variant, as its entry of the manifest and its members."""
        default, *further = self.built.score.heads
        variant = Variant(
            precision="int8" if name.startswith("int8") else "fp16" if name == "fp16" else "fp32",
            reduction=reduction,
            fidelity=fidelity,
            graphs=contents.graph_specs(graphs, self.built.signatures),
            parity=parity,
            verdict=verdict,
            calibration=calibrated.by_head[default],
            channels={head: calibrated.by_head[head] for head in further},
            latent_statistics=calibrated.latent_statistics,
            typical_score=calibrated.fitted.typical_score,
            traps=traps,
        )
        golden_members, expected = contents.golden_outputs(name, golden)
        at_sizes = {size: contents.golden_at(name, size, figures) for size, figures in (sizes or {}).items()}
        for members, _ in at_sizes.values():
            golden_members |= members
        return FinishedVariant(
            variant,
            graphs,
            calibrated,
            members={**graphs.members, **golden_members, **calibrated.members},
            expected=expected,
            tolerance=tolerance,
            warnings=(*calibrated.warnings, *warnings),
            advice=advice,
            sizes={size: figures for size, (_, figures) in at_sizes.items()},
        )


def spread_by_size(x: Array, count: int) -> Array:
    """Positions of ``count`` rows, from the darkest to the brightest in equal steps of rank, in their own order."""
    means = np.array([row.mean(dtype=np.float64) for row in x])
    ranks = np.linspace(0, len(x) - 1, count).round().astype(np.int64)
    return np.sort(np.argsort(means, kind="stable")[ranks])


def _in_float32(outputs: Mapping[str, Array]) -> dict[str, Array]:
    return {name: x if x.dtype.kind in "ui" else x.astype(np.float32) for name, x in outputs.items()}
