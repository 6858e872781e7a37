"""``export``: a trained VAE goes in, one verified bundle comes out, or nothing."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from vae_edge_runtime.backends.base import Backend
from vae_edge_runtime.errors import ExportFailed
from vae_edge_runtime.files import refuse_existing, write_atomic
from vae_edge_runtime.format import archive
from vae_edge_runtime.format.bundle import Bundle
from vae_edge_runtime.format.manifest import MEMBER, Golden
from vae_edge_runtime.format.onnx_scan import scan
from vae_edge_runtime.format.specs import PriorSpec
from vae_edge_runtime.session import ROWS_PER_RUN

from .adapters import Decode, Encode, recipe_for
from .adapters.scale_form import ScaleForm
from .bundling import contents, priors
from .bundling.priors import PriorChoice
from .bundling.split_weights import pair_id, split
from .checks.decisions import stream_rules
from .checks.in_memory import in_memory
from .checks.parity import Latents, Reference, normal_latents, run_backend
from .checks.traps import said as traps_said
from .config import ExportConfig, ExportReport
from .graphs.build import BuiltGraphs, build_graphs, filled_in
from .passes import clean_up
from .passes.clean import strip_and_name
from .passes.upsampling import merge_upsampling
from .rows import ExportRows, split_rows
from .timer import Timer
from .tracing.trace import Traced, refused_operators, trace
from .variants import FinishedVariant, Workshop

Array = NDArray[Any]


def export(
    model: Any,
    path: str | os.PathLike[str],
    *,
    calibration: Array,
    condition: Array | None = None,
    example: Array | None = None,
    encode: Encode | None = None,
    decode: Decode | None = None,
    scale_form: ScaleForm | None = None,
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
        scale_form: what the second value of ``encode`` is: logvar, log_std, std, var, or softplus; default:
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
    timer = Timer(progress)
    recipe = recipe_for(model, encode=encode, decode=decode)
    config, brought = filled_in(config or ExportConfig(), recipe)
    with timer("check data"):
        rows = split_rows(calibration, condition, evaluation, config)
    with timer("adapt"):
        built = build_graphs(recipe, rows, config, example=example, scale_form=scale_form, codebook=codebook)
    models, exporters = _traced(built, timer)
    exact = {graph: strip_and_name(merge_upsampling(model), graph=graph) for graph, model in models.items()}
    pair = pair_id(exact)
    graphs = split(exact, prefix="fp32", pair=pair)
    for graph in graphs.parts:
        scan(graphs.joined(graph))  # what a device would refuse is refused here
    latents: Latents = (lambda codes: codes) if built.vae.kind == "codes" else normal_latents
    reference = Reference.of(built.modules, built.signatures, built.examples)
    workshop = Workshop(built, reference, rows, config, pair, latents, timer)
    with in_memory(graphs.joined) as backend:
        fp32 = workshop.fp32(graphs, backend)
        prior_spec, prior_bytes = _prior(backend, built, rows, prior)
        finished: dict[str, FinishedVariant] = {"fp32": fp32}
        reduced = [name for name in config.precisions if name != "fp32"]
        material = workshop.material(models, backend) if reduced else None
        for name in reduced:
            assert material is not None
            finished[name] = workshop.reduced(name, material, backend, fp32)
    finished = {name: finished[name] for name in config.precisions}
    with timer("pack"):
        latent = dataclasses.replace(built.latent, prior=prior_spec)
        default = built.score.heads[0]
        members = contents.golden_inputs(workshop.golden_feeds)
        for variant in finished.values():
            members |= variant.members
        if prior_spec.member is not None and prior_bytes is not None:
            members[prior_spec.member] = prior_bytes
        manifest = contents.manifest(
            config,
            row=rows.row,
            condition=rows.condition,
            latent=latent,
            score=built.score,
            output=built.signatures["decode"].outputs[0],
            pair=pair,
            stream=stream_rules(rows, config),
            variants={name: variant.variant for name, variant in finished.items()},
            golden=Golden(
                len(workshop.golden_feeds["x"]),
                contents.GOLDEN_INPUT,
                contents.GOLDEN_CONDITION if rows.condition is not None else None,
                {name: variant.expected for name, variant in finished.items()},
                {name: variant.tolerance for name, variant in finished.items()},
            ),
            members=members,
            exporters=exporters,
        )
        members[MEMBER] = manifest.to_json()
        packed = archive.encode(members)
        write_atomic(target, [packed], check=_read_back)
    first = next(iter(finished.values()))
    return ExportReport(
        path=target,
        size_bytes=len(packed),
        weight_bytes=sum(variant.graphs.weight_bytes for variant in finished.values()),
        stored_weight_bytes=sum(variant.graphs.stored_weight_bytes for variant in finished.values()),
        bundle_id=hashlib.sha256(members[MEMBER]).hexdigest(),
        pair_id=pair,
        default_head=default,
        default_variant=next(iter(finished)),
        variants={name: variant.variant for name, variant in finished.items()},
        graph_bytes={name: manifest.variant_bytes(name) for name in finished},
        warnings=(
            *(warning for variant in finished.values() for warning in variant.warnings),
            *traps_said(first.variant.traps, default),
        ),
        evidence=(*built.vae.evidence, *brought, *_by_legacy(exporters)),
        seconds=timer.seconds,
    )


def _traced(built: BuiltGraphs, timer: Timer) -> tuple[dict[str, onnx.ModelProto], Mapping[str, str]]:
    models, exporters = {}, {}
    for graph, module in built.modules.items():
        with timer(f"trace {graph}"):
            signature = built.signatures[graph]
            rows = [torch.from_numpy(np.array(built.examples[graph][t.name])) for t in signature.inputs]
            traced = trace(module, rows, graph=graph, signature=signature)
            models[graph], exporters[graph] = clean_up(traced.model, graph=graph), traced.exporter
            _check_operators(models[graph], traced, graph)
    return models, exporters


def _by_legacy(exporters: Mapping[str, str]) -> list[str]:
    graphs = [graph for graph, exporter in exporters.items() if exporter == "legacy"]
    return [f"traced by the legacy exporter: {', '.join(graphs)}; torch.export could not"] if graphs else []


def _check_operators(model: onnx.ModelProto, traced: Traced, graph: str) -> None:
    refused = refused_operators(model, traced)
    if refused:
        places = ", ".join(f"{op} at {line}" for op, line in refused.items())
        raise ExportFailed(
            f"graph '{graph}' holds operators no device of ours runs: {places}. Replace them by operations of the "
            "allow-list, vae_edge_runtime/format/onnx_ops.py"
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
