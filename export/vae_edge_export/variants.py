"""Variants of a bundle: graphs at one precision with parity, calibration, verdict, traps and golden outputs."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from vae_edge_runtime.backends.base import Backend
from vae_edge_runtime.errors import VerdictFailed
from vae_edge_runtime.format.manifest import Fidelity, Parity, Reduction, Variant, Verdict
from vae_edge_runtime.format.onnx_scan import scan
from vae_edge_runtime.scoring.calibrate import Calibrated, calibrate
from vae_edge_runtime.scoring.heads import head_scores
from vae_edge_runtime.session import ROWS_PER_RUN
from vae_edge_runtime.verification import max_errors

from .agreement import rank_correlation
from .bundling import contents
from .bundling.split_weights import SplitGraphs, split
from .checks.decisions import check_decisions, find_traps, score_outputs, simple_heads, torch_outputs, with_noise
from .checks.in_memory import in_memory
from .checks.parity import Reference, check_parity, graph_feeds, measure_parity, probes, run_backend
from .checks.verdict import measure_verdict
from .config import ExportConfig
from .gates import figures, problems
from .graphs.build import BuiltGraphs
from .passes.clean import strip_and_name
from .precision.activations import range_rows, session_of
from .precision.fidelity import compare, observe
from .precision.layers import find_bodies, named_uniquely
from .precision.material import Material
from .precision.search import Candidate, search_half, search_int8, sprung
from .rows import ExportRows, rows_of
from .timer import Timer

Array = NDArray[Any]
Reduced = Literal["fp16", "int8", "int8-cpu"]
Outputs = Mapping[str, Mapping[str, Array]]

_PARITY_ROWS = 64
_CHOICE_ROWS = 256
"""Calibration rows on which candidates are compared; ranges are taken from as many, or fewer of large images."""
_GOLDEN_FLOOR = {"fp16": 2e-2, "int8": 5e-2, "int8-cpu": 5e-2}
_GOLDEN_ROOM = 4.0
"""Another engine may differ by so many times what an unoptimised graph does here, and by the floor at least: an
int8 value at the edge of a step falls on either side of it. Of fp16 0.007 was measured between onnxruntime on x86,
which keeps float32 between nodes, and on aarch64, which does not."""


@dataclass(frozen=True, eq=False)
class FinishedVariant:
    """One variant, ready to be packed.

    Attributes:
        members: by name: weights, calibration, golden outputs.
        expected, tolerance: per "graph.output", of the golden outputs.
        warnings: in words.
    """

    variant: Variant
    graphs: SplitGraphs
    calibrated: Calibrated
    members: dict[str, bytes]
    expected: dict[str, str]
    tolerance: dict[str, float]
    warnings: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Workshop:
    """What every variant of one export is made from.

    Attributes:
        pair: pair id. latents: (encode's first output) -> what to feed ``decode`` in comparisons.
    """

    built: BuiltGraphs
    reference: Reference
    rows: ExportRows
    config: ExportConfig
    pair: str
    latents: Callable[[Array], Array]
    timer: Timer

    def fp32(self, graphs: SplitGraphs, backend: Backend) -> FinishedVariant:
        """The graphs as traced, held to PyTorch output by output and decision by decision.

        Raises:
            ParityFailed, VerdictFailed: they do not compute what the model computes.
        """
        config = self.config
        with self.timer("parity"):
            some = self._some
            parity = check_parity(
                backend,
                self.reference,
                some,
                self.rows.row,
                self.latents,
                noise=self._noise(some),
                rtol=config.parity_rtol,
                whole=self._whole,
            )
        with self.timer("calibrate"):
            calibrated = self._calibrate(backend, "fp32")
        with self.timer("verdict"):
            verdict = check_decisions(backend, self.reference, self.built, calibrated, self.rows, config)
        with self.timer("traps"):
            traps = find_traps(backend, self.built, calibrated, self.rows)
        golden = self._golden(self.reference.run)
        tolerance = {f"{g}.{name}": config.parity_rtol for g, outputs in golden.items() for name in outputs}
        return self._finish("fp32", graphs, calibrated, parity, verdict, traps, golden, tolerance)

    def material(self, models: Mapping[str, onnx.ModelProto], fp32: Backend) -> Material:
        """What the reduced variants are searched in: calibration rows, and what fp32 makes of them."""
        named = {graph: named_uniquely(copy.deepcopy(model)) for graph, model in models.items()}
        x = rows_of(self.rows.calibration, slice(_CHOICE_ROWS))
        observed = observe(fp32, self.built, x)
        beyond = [{**rows_of(x, slice(1)), "x": row[None]} for row in self._probes.values()]
        some = rows_of(x, slice(range_rows(named["score"], x)))
        noise = self._noise(some)
        probing: dict[str, list[dict[str, Array]]] = {"encode": beyond, "score": beyond, "decode": []}
        if noise is not None:
            probing["sampled"] = [{**feeds, "noise": noise[:1]} for feeds in beyond]
        return Material(
            built=self.built,
            models=named,
            bodies=find_bodies(named),
            feeds=graph_feeds(self.built.signatures, some, self.latents(observed.latents[: len(some["x"])]), noise),
            probes=probing,
            x=x,
            fp32=observed,
            traps=sprung(fp32, self.built, x, self.rows.row, whole=self._whole),
            row=self.rows.row,
            rate=self.config.false_positive_rate,
            whole=self._whole,
            judged=len(self.rows.held_out["x"]),
        )

    def reduced(self, name: Reduced, material: Material, fp32: Backend, before: FinishedVariant) -> FinishedVariant:
        """A variant in fewer bits, held to fp32 by its gate.

        Args:
            fp32: runs the fp32 graphs. before: the finished fp32 variant.

        Raises:
            VerdictFailed: the gate is missed; the message names the figures and the layers to blame.
        """
        gate = self.config.gate(name)
        with self.timer(f"{name}: make"):
            candidate = (
                search_half(material, gate)
                if name == "fp16"
                else search_int8(material, gate, kind=name, progress=self.timer.say)
            )
        models = {graph: strip_and_name(model, graph=graph) for graph, model in candidate.models.items()}
        graphs = split(models, prefix=name, pair=self.pair)
        for graph in graphs.parts:
            scan(graphs.joined(graph))
        proving = self.timer(f"{name}: prove")
        with proving, in_memory(graphs.joined) as shipped, in_memory(candidate.measured) as measured:
            some = self._some
            feeds = graph_feeds(self.built.signatures, some, self._latents_of(some), self._noise(some))
            parity = measure_parity(measured, self.reference, feeds, self._probes)
            calibrated = self._calibrate(shipped, name)
            traps = find_traps(shipped, self.built, calibrated, self.rows)
            fidelity = self._fidelity(measured, fp32, calibrated, before, traps)
            if missed := problems(fidelity, gate):
                raise VerdictFailed(
                    f"variant '{name}' ({candidate.reduction.scheme}) misses its gate: {'; '.join(missed)}. "
                    f"Layers that cost most: {'; '.join(candidate.blame()) or 'none stands out'}. Give calibration "
                    "rows that show the whole range of normal ones, leave the variant out of the precisions, or set "
                    "its gate. Nothing was written",
                    report=tuple(figures(fidelity, gate)),
                )
            verdict, warnings = self._verdict(name, measured, fp32, calibrated, before)
            golden = self._golden(_of_backend(shipped, self.built))
            tolerance = self._tolerances(name, candidate, golden)
        finished = self._finish(
            name, graphs, calibrated, parity, verdict, traps, golden, tolerance, candidate.reduction, fidelity
        )
        return _with_warnings(finished, warnings)

    def _calibrate(self, backend: Backend, name: str) -> Calibrated:
        return calibrate(
            self.built.score,
            score_outputs(backend, self.built, self.rows.calibration),
            prefix=name,
            false_positive_rate=self.config.false_positive_rate,
            method=self.config.threshold_method,
            threshold=self.config.threshold,
        )

    def _fidelity(
        self,
        measured: Backend,
        fp32: Backend,
        calibrated: Calibrated,
        before: FinishedVariant,
        traps: Mapping[str, Mapping[str, float]],
    ) -> Fidelity:
        head = self.built.score.heads[0]
        held_out = self.rows.held_out
        return compare(
            observe(measured, self.built, held_out),
            observe(fp32, self.built, held_out),
            self.rows.row,
            thresholds=(calibrated.by_head[head].threshold, before.calibrated.by_head[head].threshold),
            labels=self.rows.labels,
            traps=(traps[head], before.variant.traps[head]),
        )

    def _verdict(
        self, name: Reduced, measured: Backend, fp32: Backend, calibrated: Calibrated, before: FinishedVariant
    ) -> tuple[Verdict, tuple[str, ...]]:
        """The default head against PyTorch's; in words, every further head that ranks unlike fp32's."""
        heads, held_out, spec = simple_heads(self.built), self.rows.held_out, self.built.score
        found = head_scores(spec, heads, score_outputs(measured, self.built, held_out), calibrated.fitted)
        exact = head_scores(spec, heads, score_outputs(fp32, self.built, held_out), before.calibrated.fitted)
        torch_scores = torch_outputs(self.reference, self.built, held_out)["score"]
        default, limit = heads[0], self.config.gate(name).min_rank_correlation
        thresholds = (calibrated.by_head[default].threshold, before.calibrated.by_head[default].threshold)
        verdict = measure_verdict(found[default], torch_scores, self.rows.labels, thresholds=thresholds)
        agreement = {head: rank_correlation(found[head], exact[head]) for head in heads[1:]}
        warnings = tuple(
            f"variant '{name}': head '{head}' ranks rows unlike fp32 (rank correlation {value:.4f}, the gate of the "
            f"default head is {limit:g})"
            for head, value in agreement.items()
            if not value >= limit
        )
        return verdict, warnings

    def _golden(self, run: Callable[[str, Mapping[str, Array]], Mapping[str, Array]]) -> dict[str, dict[str, Array]]:
        """Outputs of the rows of the self-test, float32; ``decode`` is fed the first output of ``encode``."""
        feeds = self.golden_feeds
        wanted = {graph: _rounded(run(graph, feeds)) for graph in ("encode", "score")}
        z = self.built.signatures["decode"].inputs[0].name
        beside = {name: x for name, x in feeds.items() if name != "x"}
        wanted["decode"] = _rounded(run("decode", {z: next(iter(wanted["encode"].values())), **beside}))
        if "sampled" in self.built.signatures:
            wanted["sampled"] = _rounded(run("sampled", with_noise(self.built, feeds)))
        return wanted

    def _tolerances(self, name: Reduced, candidate: Candidate, golden: Outputs) -> dict[str, float]:
        """What another engine may differ by: from the same graphs run here without any optimisation."""
        plain = {
            graph: session_of(model, onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL)
            for graph, model in candidate.measured.items()
        }

        def run(graph: str, feeds: Mapping[str, Array]) -> dict[str, Array]:
            names = [t.name for t in self.built.signatures[graph].outputs]
            return dict(zip(names, plain[graph].run(names, dict(feeds)), strict=True))

        other = self._golden(run)
        return {
            f"{graph}.{output}": max(_GOLDEN_FLOOR[name], _GOLDEN_ROOM * max_errors(other[graph][output], array)[1])
            for graph, outputs in golden.items()
            for output, array in outputs.items()
        }

    def _finish(
        self,
        name: str,
        graphs: SplitGraphs,
        calibrated: Calibrated,
        parity: dict[str, Parity],
        verdict: Verdict,
        traps: dict[str, dict[str, float]],
        golden: Outputs,
        tolerance: dict[str, float],
        reduction: Reduction | None = None,
        fidelity: Fidelity | None = None,
    ) -> FinishedVariant:
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
        members, expected = contents.golden_outputs(name, golden)
        everything = {**graphs.members, **members, **calibrated.members}
        return FinishedVariant(variant, graphs, calibrated, everything, expected, tolerance, calibrated.warnings)

    @property
    def golden_feeds(self) -> dict[str, Array]:
        """The rows of the self-test."""
        return rows_of(self.rows.held_out, slice(self.config.golden_rows))

    @property
    def _some(self) -> dict[str, Array]:
        return rows_of(self.rows.calibration, slice(_PARITY_ROWS))

    @property
    def _whole(self) -> bool:
        return self.config.likelihood == "categorical"

    @property
    def _probes(self) -> dict[str, Array]:
        return probes(self.rows.row, whole=self._whole)

    def _noise(self, feeds: dict[str, Array]) -> Array | None:
        return with_noise(self.built, feeds)["noise"] if "sampled" in self.built.signatures else None

    def _latents_of(self, feeds: dict[str, Array]) -> Array:
        return self.latents(next(iter(self.reference.run("encode", feeds).values())))


def _of_backend(backend: Backend, built: BuiltGraphs) -> Callable[[str, Mapping[str, Array]], dict[str, Array]]:
    return lambda graph, feeds: run_backend(backend, graph, built.signatures[graph], feeds, rows=ROWS_PER_RUN)


def _rounded(outputs: Mapping[str, Array]) -> dict[str, Array]:
    return {name: x if x.dtype.kind in "ui" else x.astype(np.float32) for name, x in outputs.items()}


def _with_warnings(finished: FinishedVariant, warnings: tuple[str, ...]) -> FinishedVariant:
    return FinishedVariant(**{**vars(finished), "warnings": (*finished.warnings, *warnings)})
