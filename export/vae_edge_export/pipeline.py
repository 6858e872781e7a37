"""``export``: a trained VAE goes in, one verified bundle comes out, or nothing.

Read from top to bottom, ``export`` is the story of a bundle. Each stage is a function of the room it belongs to.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from vae_edge_runtime.arguments.by_annotation import checked
from vae_edge_runtime.backends.base import Backend
from vae_edge_runtime.format.figures import ModelFit
from vae_edge_runtime.storage.files import refuse_existing, write_atomic

from .adapters import Decode, Encode
from .adapters.scale_form import ScaleForm, declared_form
from .bundling.finished_variant import FinishedVariant
from .bundling.pack import PackedBundle, pack, read_back
from .bundling.priors import PriorChoice, choose_prior
from .bundling.split_weights import pair_id, split_and_scan
from .checks.code_ranges import with_code_ranges
from .checks.fit import check_fit, fit_warnings
from .checks.in_memory import in_memory
from .checks.kept import KeptRows
from .checks.likelihood_hints import likelihood_hints
from .checks.parity import run_backend
from .checks.size_parity import held_to, reference_of, traced_with
from .checks.traps import trap_warnings
from .config import ExportConfig, ExportReport
from .doors import constant_said, evaluation_with_beside, others_taken_in, taken_in, with_beside
from .effort import in_words, is_costly
from .graphs.build import BuiltGraphs, Missing, build_graphs, filled_in
from .halves.door import recipe_of
from .halves.left_alone import leaves_model_alone
from .passes import finish_fp32
from .preparations import pictures_said
from .rows import ExportRows, split_rows
from .timer import Timer
from .tracing.clean_graphs import CleanGraph, trace_all
from .variants.builder import VariantBuilder
from .variants.fp32 import build_fp32
from .variants.reduced import build_reduced

Array = NDArray[Any]


@checked
@leaves_model_alone
def export(
    model: Any,
    path: str | os.PathLike[str],
    *,
    calibration: Any,
    condition: Array | None = None,
    target: Any = None,
    missing: Missing | None = None,
    example: Any = None,
    encode: Encode | None = None,
    decode: Decode | None = None,
    scale_form: ScaleForm | None = None,
    codebook: int | None = None,
    prior: PriorChoice = None,
    evaluation: tuple[Any, ...] | None = None,
    compress_rows: Any = None,
    config: ExportConfig | None = None,
    force: bool = False,
    progress: Callable[[str], None] | None = None,
    scale: Any = None,
) -> ExportReport:
    """Export a trained VAE into one bundle file.

    Args:
        model: a trained module, or what an adapter knows (a PyOD detector); it is copied, and left
            exactly as it is.
        path: of the ``.vaeb`` to write.
        calibration: (n, *row_shape) raw normal rows the model was not trained on. They set the threshold, so at
            least 1/rate - 1 of them. An array or tensor of uint8, float32 or float64 (which is rounded, unless
            float32 would lose a column), a data frame (its columns give the names), or an iterable of batches.
        condition: of a conditional model, one per calibration row: int64 labels (n,) or float32
            vectors (n, k). ``encode`` and ``decode`` then take it last.
        target: of a model that forecasts, (n, *target_shape) float32, one per calibration row: what the decoded row is
            scored against. Neither half takes it. ``VAE.score`` then takes it as ``condition``.
        missing: the calibration rows hold NaN for missing values. ``mask``: the encoder takes a mask last, 1 where a
            value was observed, and 0 (in model units) stands for a missing one; ``nan``: the model takes NaN itself.
            Missing values are left out of the score. ``VAE.score`` takes rows with NaN, or the mask as ``condition``.
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
        compress_rows: further normal rows that compression tables are fitted to, such as training rows.
        config: everything else; what the model brings along fills what is left at its default.
        force: replace an existing file.
        progress: called with the name of each stage as it starts.
        scale: the earlier name of ``scale_form``. Rows are divided by ``config.scale``.

    Raises:
        AdaptError: encoder and decoder are not found, or do not fit each other.
        ExportFailed: PyTorch's exporter failed, or the graph may not ship.
        FitFailed: the model rebuilds normal rows worse than their mean row does; nothing is written.
        ParityFailed, VerdictFailed: the artefact does not match the model; nothing is written.
        CalibrationError: too few calibration rows for the rate.
        InputError, OptionError, StorageError: bad rows, a bad option, a bad place for the file.
    """
    file = refuse_existing(path, force=force)
    told: Any = {"scale_form": declared_form(scale_form, scale), "codebook": codebook, "missing": missing}
    timer = Timer(progress)
    recipe = recipe_of(model, encode=encode, decode=decode)
    config, brought_along = filled_in(config or ExportConfig(), recipe)

    # Torch: the rows shared out, the model's halves proven, the graphs as modules.
    with timer("check data"):
        calibration, config, said = taken_in(calibration, config, "calibration")
        evaluation, example, compress_rows = others_taken_in(evaluation, example, compress_rows, config)
        calibration, condition, role = with_beside(calibration, condition, target, missing, "calibration")
        rows = split_rows(calibration, condition, evaluation_with_beside(evaluation, missing), config, role)
    with timer("adapt"):
        built = build_graphs(recipe, rows, config, example=example, **told)
    singles = KeptRows() if is_costly(built.multiplications) else None
    with timer("fit"):
        fit = check_fit(built, rows, config, singles)
        doubts = (*fit_warnings(fit), *likelihood_hints(built, rows), *constant_said(calibration, config))
        rows, codes = with_code_ranges(built, rows)

    # ONNX: every graph traced and cleaned up; the fp32 ones cut into skeletons and weights, as they ship.
    examples, free = traced_with(built, rows)
    traced = trace_all(built.modules, built.signatures, examples, timer, free)
    models = {name: graph.model for name, graph in traced.items()}
    exporters = {name: graph.exporter for name, graph in traced.items()}
    fp32_models = {name: finish_fp32(model, graph=name) for name, model in models.items()}
    pair = pair_id(fp32_models)
    fp32_graphs = split_and_scan(fp32_models, prefix="fp32", pair=pair, sizes=built.dimensions(rows.row))

    # Variants: fp32 is held to PyTorch, every reduced one to fp32. A gate that is missed ends the export here.
    reference = reference_of(built, rows, examples, singles)
    builder = VariantBuilder.of(built, reference, rows, config, pair, timer)
    with in_memory(fp32_graphs.joined) as fp32_backend:
        fp32 = build_fp32(builder, fp32_graphs, fp32_backend)
        bundle_prior = choose_prior(built.vae, prior, lambda: _codes(fp32_backend, built, rows))
        finished = {"fp32": fp32, **build_reduced(builder, models, fp32_backend, fp32)}
    variants: dict[str, FinishedVariant] = {name: finished[name] for name in config.precisions}

    # The file: packed in memory, written under another name, read back as a device will, then renamed.
    with timer("pack"):
        bundle = pack(
            built, rows, config, pair=pair, fit=fit, prior=bundle_prior, variants=variants,
            golden_feeds=builder.golden_feeds, golden_picture=builder.golden_picture(),
            exporters=exporters.values(), compress_rows=compress_rows,
            progress=lambda mode: timer.say(f"compression: {mode}"),
        )  # fmt: skip
        write_atomic(file, [bundle.data], check=read_back, replace=force)
    said = (*said, *pictures_said(rows.row.shape, config.layout), *_sizes_and_effort(builder))
    evidence = (*built.vae.evidence, *brought_along, *said, *codes, *_traced_by_legacy(exporters), *_left_out(traced))
    return _report(file, bundle, fit, variants, fp32.advice, evidence, doubts, timer.seconds)


def _codes(backend: Backend, built: BuiltGraphs, rows: ExportRows) -> Array:
    """What the exported encoder gives for the calibration rows, (n, *latent_shape)."""
    signature = built.signatures["encode"]
    outputs = run_backend(backend, "encode", signature, rows.calibration, rows=built.rows_at_once("encode"))
    return outputs[signature.outputs[0].name]


def _sizes_and_effort(builder: VariantBuilder) -> list[str]:
    """In words: which heights and widths are free, and what was reduced for a model that takes long."""
    built = builder.built
    said = [built.sizes.in_words()] if built.sizes is not None else []
    if is_costly(built.multiplications):
        said.append(in_words(built.multiplications, len(builder.parity_feeds["x"])))
        said += filter(None, [held_to(built, builder.reference)])
    return said


def _traced_by_legacy(exporters: Mapping[str, str]) -> list[str]:
    graphs = [graph for graph, exporter in exporters.items() if exporter == "legacy"]
    return [f"traced by the legacy exporter: {', '.join(graphs)}; torch.export could not"] if graphs else []


def _left_out(traced: Mapping[str, CleanGraph]) -> list[str]:
    lines = dict.fromkeys(line for graph in traced.values() for line in graph.left_out)
    return [f"checks on values that only raise are left out of the graphs: {', '.join(lines)}"] if lines else []


def _report(
    path: Path,
    bundle: PackedBundle,
    fit: ModelFit,
    variants: Mapping[str, FinishedVariant],
    advice: tuple[str, ...],
    evidence: tuple[str, ...],
    doubts: tuple[str, ...],
    seconds: dict[str, float],
) -> ExportReport:
    default_head, default_variant = bundle.manifest.score.heads[0], next(iter(variants))
    warnings = [warning for variant in variants.values() for warning in variant.warnings]
    warnings += doubts
    warnings += trap_warnings(variants[default_variant].variant.traps, default_head)
    return ExportReport(
        path=path,
        size_bytes=len(bundle.data),
        weight_bytes=sum(variant.graphs.weight_bytes for variant in variants.values()),
        stored_weight_bytes=sum(variant.graphs.stored_weight_bytes for variant in variants.values()),
        bundle_id=bundle.bundle_id,
        compression=bundle.manifest.compression,
        pair_id=bundle.manifest.pair_id,
        default_head=default_head,
        default_variant=default_variant,
        fit=fit,
        variants={name: variant.variant for name, variant in variants.items()},
        graph_bytes={name: bundle.manifest.variant_bytes(name) for name in variants},
        warnings=tuple(warnings),
        evidence=evidence,
        advice=advice,
        seconds=seconds,
    )
