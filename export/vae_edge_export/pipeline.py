"""``export``: a trained VAE goes in, one verified bundle comes out, or nothing."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from vae_edge_runtime import archive
from vae_edge_runtime._fs import refuse_existing, write_atomic
from vae_edge_runtime.backends.registry import open_backend
from vae_edge_runtime.bundle import Bundle
from vae_edge_runtime.calibration import ScoreSketch, samples_needed
from vae_edge_runtime.errors import CalibrationError, InputError
from vae_edge_runtime.inputs import check_rows
from vae_edge_runtime.manifest import MEMBER, Calibration, Golden, InputSpec, TensorSpec
from vae_edge_runtime.onnx_scan import scan
from vae_edge_runtime.session import ROWS_PER_RUN

from . import package
from .adapt import AdaptedVae, Decode, Encode, Scale, adapt
from .config import ExportConfig, ExportReport
from .heads import DataUnits, DecodeGraph, EncodeGraph, ScoreGraph
from .parity import INPUT, OUTPUTS, Reference, check_parity, run_backend
from .passes import clean_up
from .rows import check_finite, check_raw_rows, check_unit_interval, model_shape
from .trace import trace
from .verdict import check_verdict
from .weights import pair_id, split

Array = NDArray[Any]

_PARITY_ROWS = 64
_HELD_OUT_EVERY = 5
"""Without evaluation rows every fifth calibration row is held out for the verdict gate: a
threshold is a calibration score, so its own row would flip at the last bit."""


def export(
    model: nn.Module,
    path: str | os.PathLike[str],
    *,
    calibration: Array,
    example: Array | None = None,
    encode: Encode | None = None,
    decode: Decode | None = None,
    scale: Scale = "logvar",
    evaluation: tuple[Array, Array] | None = None,
    config: ExportConfig | None = None,
    force: bool = False,
    progress: Callable[[str], None] | None = None,
) -> ExportReport:
    """Export a trained VAE into one bundle file.

    Args:
        model: a trained module; it is copied, and left exactly as it is.
        path: of the ``.vaeb`` to write.
        calibration: (n, *row_shape) uint8 or float32, raw normal rows the model was not
            trained on. They set the threshold, so at least 1/rate - 1 of them.
        example: (k, *row_shape) raw rows to trace with; default: the first calibration rows.
        encode: (model, x) -> (mean, scale parameter), x in model units; default ``model.encode``.
        decode: (model, z) -> x_hat in model units; default ``model.decode``.
        scale: what the second value of ``encode`` is: logvar, log_std, std or var.
        evaluation: raw held-out rows and their labels (0 normal, 1 anomaly) for the verdict gate.
        config: everything else.
        force: replace an existing file.
        progress: called with the name of each stage as it starts.

    Raises:
        AdaptError: encoder and decoder are not found, or do not fit each other.
        ExportFailed: PyTorch's exporter failed, or the graph may not ship.
        ParityFailed, VerdictFailed: the artefact does not match the model; nothing is written.
        CalibrationError: too few calibration rows for the rate.
        InputError, OptionError, StorageError: bad rows, a bad option, a bad place for the file.
    """
    config = config or ExportConfig()
    target = refuse_existing(path, force=force)
    timer = _Timer(progress)
    with timer("check data"):
        row, calibration_rows, held_out, labels = _rows(calibration, evaluation, config)
    with timer("adapt"):
        example = calibration_rows[:3] if example is None else example
        modules, vae = _graph_modules(model, row, example, config, encode, decode, scale)
    latents = np.zeros((3, *vae.latent_shape), dtype=np.float32)
    examples = {"encode": example, "decode": latents, "score": example}
    models = {}
    for graph, module in modules.items():
        with timer(f"trace {graph}"):
            rows = torch.from_numpy(np.array(examples[graph]))
            traced = trace(module, rows, graph=graph, input_name=INPUT[graph], outputs=OUTPUTS[graph])
            models[graph] = clean_up(traced, graph=graph)
    pair = pair_id(models)
    graphs = split(models, prefix="fp32", pair=pair)
    for graph in graphs.parts:
        scan(graphs.joined(graph))  # what a device would refuse is refused here
    backend = open_backend("cpu", graphs.joined, allow_fallback=False, threads=None)
    try:
        reference = Reference.of(modules, examples)
        with timer("parity"):
            parity = check_parity(backend, reference, calibration_rows[:_PARITY_ROWS], row, rtol=config.parity_rtol)
        with timer("calibrate"):
            scores = run_backend(backend, "score", calibration_rows, rows=ROWS_PER_RUN)["score"]
            sketch = ScoreSketch.fit(scores)
            threshold = sketch.threshold(config.false_positive_rate)
        with timer("verdict"):
            artefact = run_backend(backend, "score", held_out, rows=ROWS_PER_RUN)["score"]
            torch_scores = reference.run_float32("score", held_out)["score"]
            verdict = check_verdict(artefact, torch_scores, threshold, labels, config)
    finally:
        backend.close()
    with timer("pack"):
        fitted = Calibration(
            sketch.n, config.false_positive_rate, threshold, len(sketch.values), "fp32/calibration.bin"
        )
        output = TensorSpec("x_hat", config.output_dtype, row.shape)
        variant = package.variant_spec(
            "fp32", graphs, package.tensor_specs(row, vae.latent_shape, output), parity, verdict, fitted
        )
        golden_members, golden = _golden(reference, held_out[: config.golden_rows], config)
        members = {**graphs.members, **golden_members, fitted.member: sketch.to_bytes()}
        manifest = package.manifest(
            config,
            row=row,
            latent_shape=vae.latent_shape,
            output=output,
            pair=pair,
            variants={"fp32": variant},
            golden=golden,
            members=members,
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
        calibration=fitted,
        seconds=timer.seconds,
    )


def _read_back(path: str) -> None:
    """What a device will do with the file, done before the file gets its name."""
    with Bundle.open(path) as bundle:
        bundle.verify_members()
        for name, variant in bundle.manifest.variants.items():
            for graph in variant.graphs:
                bundle.graph(name, graph)


def _rows(
    calibration: Array, evaluation: tuple[Array, Array] | None, config: ExportConfig
) -> tuple[InputSpec, Array, Array, NDArray[np.bool_] | None]:
    """What a row is, the calibration rows, the held-out rows and their labels."""
    check_raw_rows(calibration, "calibration")
    shape, dtype = calibration.shape[1:], str(calibration.dtype)
    calibration = _finite(calibration, shape, dtype, "calibration")
    labels = None
    if evaluation is None:
        held = np.arange(len(calibration)) % _HELD_OUT_EVERY == _HELD_OUT_EVERY - 1
        calibration, held_out = calibration[~held], calibration[held]
    else:
        held_out = _finite(evaluation[0], shape, dtype, "evaluation rows")
        labels = np.asarray(evaluation[1]).reshape(-1)
        if len(labels) != len(held_out) or not np.isin(labels, (0, 1)).all():
            raise InputError(f"evaluation needs one label 0 or 1 per row: {len(labels)} labels, {len(held_out)} rows")
        labels = labels.astype(bool)
    needed = samples_needed(config.false_positive_rate)
    if len(calibration) < needed or not len(held_out):
        total = needed if evaluation is not None else -(-needed * _HELD_OUT_EVERY // (_HELD_OUT_EVERY - 1))
        raise CalibrationError(
            f"a false-positive rate of {config.false_positive_rate:g} needs at least {needed} normal calibration rows; "
            f"{len(calibration)} are left after holding out {len(held_out)} for the verdict gate: "
            f"pass at least {max(total, 2)} rows, or a larger false_positive_rate",
            needed=max(total, 2),
        )
    low, high = float(calibration.min()), float(calibration.max())
    layout = config.layout
    return InputSpec(shape, dtype, layout, low, high, config.names), calibration, held_out, labels  # type: ignore[arg-type]


def _finite(x: Array, shape: tuple[int, ...], dtype: str, what: str) -> Array:
    x = check_rows(x, shape=shape, dtype=dtype, what=what)
    check_finite(x, what)
    return x


def _graph_modules(
    model: nn.Module,
    row: InputSpec,
    example: Array,
    config: ExportConfig,
    encode: Encode | None,
    decode: Decode | None,
    scale: Scale,
) -> tuple[dict[str, nn.Module], AdaptedVae]:
    example = _finite(example, row.shape, row.dtype, "example")
    if not len(example):
        raise InputError("example holds no rows")
    units = DataUnits(config, model_shape(row.shape, row.layout))
    x = units.to_model(torch.from_numpy(np.array(example)))
    if config.likelihood == "bernoulli":
        check_unit_interval(x)
    learned = config.likelihood == "gaussian" and config.variance is None
    vae = adapt(model, x, encode=encode, decode=decode, scale=scale, learned_variance=learned)
    modules: dict[str, nn.Module] = {
        "encode": EncodeGraph(vae, units),
        "decode": DecodeGraph(vae, units, logits=config.logits),
        "score": ScoreGraph(vae, units, config),
    }
    return {name: module.eval() for name, module in modules.items()}, vae


def _golden(reference: Reference, rows: Array, config: ExportConfig) -> tuple[dict[str, bytes], Golden]:
    """Golden rows with PyTorch's outputs, float64 rounded once to float32."""
    wanted = {"encode": _rounded(reference.run("encode", rows)), "score": _rounded(reference.run("score", rows))}
    wanted["decode"] = _rounded(reference.run("decode", wanted["encode"]["mean"]))
    members, expected = package.golden_vectors("fp32", rows, wanted)
    return members, Golden(len(rows), "golden/input.bin", {"fp32": expected}, {"fp32": config.parity_rtol})


def _rounded(outputs: dict[str, Array]) -> dict[str, Array]:
    return {name: x if x.dtype == np.uint8 else x.astype(np.float32) for name, x in outputs.items()}


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
