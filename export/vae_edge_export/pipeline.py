"""``export``: a trained VAE goes in, one verified bundle comes out, or nothing."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from vae_edge_runtime import archive
from vae_edge_runtime._fs import refuse_existing, write_atomic
from vae_edge_runtime.backends.base import Backend
from vae_edge_runtime.backends.registry import open_backend
from vae_edge_runtime.bundle import Bundle
from vae_edge_runtime.calibrate import calibrate
from vae_edge_runtime.errors import ExportFailed
from vae_edge_runtime.manifest import MEMBER, Calibration, Golden, Variant
from vae_edge_runtime.onnx_scan import scan
from vae_edge_runtime.session import ROWS_PER_RUN
from vae_edge_runtime.specs import PriorSpec

from . import package, priors
from .adapters import Decode, Encode, recipe_for
from .build import BuiltGraphs, build_graphs, filled_in
from .config import ExportConfig, ExportReport
from .decisions import check_decisions, find_traps, score_outputs, stream_rules, with_noise
from .parity import Reference, check_parity, normal_latents, rows_of, run_backend
from .passes import clean_up
from .priors import PriorChoice
from .rows import ExportRows, split_rows
from .scale import Scale
from .trace import Traced, refused_operators, trace
from .traps import said as traps_said
from .weights import SplitGraphs, pair_id, split

Array = NDArray[Any]

_PARITY_ROWS = 64


def export(
    model: Any,
    path: str | os.PathLike[str],
    *,
    calibration: Array,
    condition: Array | None = None,
    example: Array | None = None,
    encode: Encode | None = None,
    decode: Decode | None = None,
    scale: Scale | None = None,
    codebook: int | None = None,
    prior: PriorChoice = None,
    evaluation: tuple[Array, ...] | None = None,
    config: ExportConfig | None = None,
    force: bool = False,
    progress: Callable[[str], None] | None = None,
) -> ExportReport:
    """Export a trained VAE into one bundle file.

    Args:
        model: a trained module, or what an adapter knows (a PyOD detector); it is copied, and left
            exactly as it is.
        path: of the ``.vaeb`` to write.
        calibration: (n, *row_shape) uint8 or float32, raw normal rows the model was not
            trained on. They set the threshold, so at least 1/rate - 1 of them.
        condition: of a conditional model, one per calibration row: int64 labels (n,) or float32
            vectors (n, k). ``encode`` and ``decode`` then take it last.
        example: (k, *row_shape) raw rows to trace with; default: the first calibration rows.
        encode: (model, x) -> (mean, scale parameter), x in model units, a list of such pairs for a
            hierarchical model, one code, or (indices, z_q); default: found.
        decode: (model, z) -> x_hat in model units; default: found.
        scale: what the second value of ``encode`` is: logvar, log_std, std, var, or softplus; default:
            measured in the model's own forward, an error where that cannot tell.
        codebook: number of codes of a VQ model; default: that of its one ``nn.Embedding``.
        prior: what ``sample`` draws from: ``standard_normal``, ``fitted`` to the calibration codes,
            ``none``, probabilities of codes (positions or 1, codes), or a ``Prior``; default: the
            model's own, N(0, I) for a posterior, else fitted.
        evaluation: raw held-out rows, their labels (0 normal, 1 anomaly) and, of a conditional
            model, their conditions, for the verdict gate.
        config: everything else; what the model brings along fills what is left at its default.
        force: replace an existing file.
        progress: called with the name of each stage as it starts.

    Raises:
        AdaptError: encoder and decoder are not found, or do not fit each other.
        ExportFailed: PyTorch's exporter failed, or the graph may not ship.
        ParityFailed, VerdictFailed: the artefact does not match the model; nothing is written.
        CalibrationError: too few calibration rows for the rate.
        InputError, OptionError, StorageError: bad rows, a bad option, a bad place for the file.
    """
    target = refuse_existing(path, force=force)
    timer = _Timer(progress)
    recipe = recipe_for(model, encode=encode, decode=decode)
    config, brought = filled_in(config or ExportConfig(), recipe)
    with timer("check data"):
        rows = split_rows(calibration, condition, evaluation, config)
    with timer("adapt"):
        built = build_graphs(recipe, rows, config, example=example, scale=scale, codebook=codebook)
    graphs, pair, exporters = _traced(built, timer)
    backend = open_backend("cpu", graphs.joined, allow_fallback=False, threads=None)
    try:
        reference = Reference.of(built.modules, built.signatures, built.examples)
        with timer("parity"):
            some = rows_of(rows.calibration, slice(_PARITY_ROWS))
            parity = check_parity(
                backend,
                reference,
                some,
                rows.row,
                (lambda codes: codes) if built.vae.kind == "codes" else normal_latents,
                noise=with_noise(built, some)["noise"] if "sampled" in built.signatures else None,
                rtol=config.parity_rtol,
                whole=config.likelihood == "categorical",
            )
        with timer("calibrate"):
            calibrated = calibrate(
                built.score,
                score_outputs(backend, built, rows.calibration),
                prefix="fp32",
                false_positive_rate=config.false_positive_rate,
                method=config.threshold_method,
                threshold=config.threshold,
            )
            prior_spec, prior_bytes = _prior(backend, built, rows, prior)
        with timer("verdict"):
            verdict = check_decisions(backend, reference, built, calibrated, rows, config)
        with timer("traps"):
            traps = find_traps(backend, built, calibrated, rows)
    finally:
        backend.close()
    with timer("pack"):
        latent = dataclasses.replace(built.latent, prior=prior_spec)
        default, *further = built.score.heads
        fitted = calibrated.by_head[default]
        channels: dict[str, Calibration] = {head: calibrated.by_head[head] for head in further}
        variant = Variant(
            precision="fp32",
            graphs=package.graph_specs(graphs, built.signatures),
            parity=parity,
            verdict=verdict,
            calibration=fitted,
            channels=channels,
            latent_statistics=calibrated.latent_statistics,
            typical_score=calibrated.fitted.typical_score,
            traps=traps,
        )
        golden_members, golden = _golden(reference, built, rows_of(rows.held_out, slice(config.golden_rows)), config)
        members = {**graphs.members, **golden_members, **calibrated.members}
        if prior_spec.member is not None and prior_bytes is not None:
            members[prior_spec.member] = prior_bytes
        manifest = package.manifest(
            config,
            row=rows.row,
            condition=rows.condition,
            latent=latent,
            score=built.score,
            output=built.signatures["decode"].outputs[0],
            pair=pair,
            stream=stream_rules(rows, config),
            variants={"fp32": variant},
            golden=golden,
            members=members,
            exporters=exporters,
        )
        members[MEMBER] = manifest.to_json()
        packed = archive.encode(members)
        write_atomic(target, [packed], check=_read_back)
    return ExportReport(
        path=target,
        size_bytes=len(packed),
        weight_bytes=graphs.weight_bytes,
        stored_weight_bytes=graphs.stored_weight_bytes,
        bundle_id=hashlib.sha256(members[MEMBER]).hexdigest(),
        pair_id=pair,
        parity=parity,
        verdict=verdict,
        default_head=default,
        calibration=fitted,
        channels=channels,
        traps=traps,
        warnings=(*calibrated.warnings, *traps_said(traps, default)),
        evidence=(*built.vae.evidence, *brought, *_by_legacy(exporters)),
        seconds=timer.seconds,
    )


def _traced(built: BuiltGraphs, timer: _Timer) -> tuple[SplitGraphs, str, Mapping[str, str]]:
    models, exporters = {}, {}
    for graph, module in built.modules.items():
        with timer(f"trace {graph}"):
            signature = built.signatures[graph]
            rows = [torch.from_numpy(np.array(built.examples[graph][t.name])) for t in signature.inputs]
            traced = trace(module, rows, graph=graph, signature=signature)
            models[graph], exporters[graph] = clean_up(traced.model, graph=graph), traced.exporter
            _check_operators(models[graph], traced, graph)
    pair = pair_id(models)
    graphs = split(models, prefix="fp32", pair=pair)
    for graph in graphs.parts:
        scan(graphs.joined(graph))  # what a device would refuse is refused here
    return graphs, pair, exporters


def _by_legacy(exporters: Mapping[str, str]) -> list[str]:
    graphs = [graph for graph, exporter in exporters.items() if exporter == "legacy"]
    return [f"traced by the legacy exporter: {', '.join(graphs)}; torch.export could not"] if graphs else []


def _check_operators(model: onnx.ModelProto, traced: Traced, graph: str) -> None:
    refused = refused_operators(model, traced)
    if refused:
        places = ", ".join(f"{op} at {line}" for op, line in refused.items())
        raise ExportFailed(
            f"graph '{graph}' holds operators no device of ours runs: {places}. Replace them by operations of the "
            "allow-list, vae_edge_runtime/onnx_ops.py"
        )


def _prior(
    backend: Backend, built: BuiltGraphs, rows: ExportRows, wished: PriorChoice
) -> tuple[PriorSpec, bytes | None]:
    signature = built.signatures["encode"]
    codes = run_backend(backend, "encode", signature, rows.calibration, rows=ROWS_PER_RUN)[signature.outputs[0].name]
    return priors.choose_prior(built.vae, wished, codes)


def _read_back(path: str) -> None:
    """What a device will do with the file, done before the file gets its name."""
    with Bundle.open(path) as bundle:
        bundle.verify_members()
        for name, variant in bundle.manifest.variants.items():
            for graph in variant.graphs:
                bundle.graph(name, graph)


def _golden(
    reference: Reference, built: BuiltGraphs, feeds: dict[str, Array], config: ExportConfig
) -> tuple[dict[str, bytes], Golden]:
    """Golden rows with PyTorch's outputs, float64 rounded once to float32."""
    wanted = {graph: _rounded(reference.run(graph, feeds)) for graph in ("encode", "score")}
    z = reference.signatures["decode"].inputs[0].name
    encoded = next(iter(wanted["encode"].values()))
    beside = {name: x for name, x in feeds.items() if name != "x"}
    wanted["decode"] = _rounded(reference.run("decode", {z: encoded, **beside}))
    if "sampled" in built.signatures:
        wanted["sampled"] = _rounded(reference.run("sampled", with_noise(built, feeds)))
    members, expected = package.golden_vectors("fp32", feeds, wanted)
    condition = package.GOLDEN_CONDITION if "condition" in feeds else None
    tolerance = {"fp32": config.parity_rtol}
    return members, Golden(len(feeds["x"]), package.GOLDEN_INPUT, condition, {"fp32": expected}, tolerance)


def _rounded(outputs: dict[str, Array]) -> dict[str, Array]:
    return {name: x if x.dtype.kind in "ui" else x.astype(np.float32) for name, x in outputs.items()}


class _Timer:
    """Seconds per stage, and a word to the caller as each starts."""

    def __init__(self, progress: Callable[[str], None] | None) -> None:
        self.seconds: dict[str, float] = {}
        self._progress = progress

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        if self._progress:
            self._progress(stage)
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = time.perf_counter() - start
