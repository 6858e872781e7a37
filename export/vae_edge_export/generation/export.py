"""``export_for_generation``: a bundle that samples, encodes and decodes, without scores and without calibration rows.

It is proven like any other bundle: every output against PyTorch, on rows and on draws from the prior. What is left out
is what a threshold needs: the graph ``score``, the held-out rows, the verdict gate, the traps.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_edge_runtime.arguments.by_annotation import checked
from vae_edge_runtime.errors import OptionError
from vae_edge_runtime.format.figures import ModelFit, Parity, SampleFigures
from vae_edge_runtime.format.manifest import Purpose, Variant
from vae_edge_runtime.format.sizes import Size
from vae_edge_runtime.format.specs import ConditionSpec, element_count
from vae_edge_runtime.sampling.noise import philox_words
from vae_edge_runtime.scoring.calibrate import Calibrated
from vae_edge_runtime.scoring.heads import Fitted
from vae_edge_runtime.scoring.plain import plain
from vae_edge_runtime.storage.files import refuse_existing, write_atomic

from ..adapters import Decode, Encode, Recipe
from ..adapters.scale_form import ScaleForm, declared_form
from ..bundling import contents
from ..bundling.finished_variant import FinishedVariant
from ..bundling.pack import pack, read_back
from ..bundling.priors import PriorChoice
from ..bundling.split_weights import SplitGraphs, pair_id, split_and_scan
from ..checks.code_ranges import with_code_ranges
from ..checks.fit import check_fit, fit_warnings
from ..checks.in_memory import in_memory
from ..checks.kept import KeptRows
from ..checks.reference import Reference
from ..checks.samples import sample_warnings
from ..checks.size_parity import SizeFigures, compare_sizes, reference_of, traced_with
from ..config import ExportConfig
from ..doors import taken_in
from ..effort import is_costly, rows_affordable
from ..graphs.build import BuiltGraphs, build_graphs, filled_in
from ..graphs.decoder import build_decoder, decoder_recipe
from ..halves.door import recipe_of
from ..passes import finish_fp32
from ..rows import ExportRows, condition_spec, rows_of, rows_to_look_at
from ..timer import Timer
from ..tracing.clean_graphs import trace_all
from .proof import PARITY_ROWS, Proof, beside_latents, prove

Array = NDArray[Any]

_OF_SCORES = (
    "heads", "transform", "threshold", "threshold_method", "false_positive_rate", "map_sigma", "map_channels",
    "kl_weight", "reconstruction_weight", "alarm", "period_s", "stuck_rows", "compress", "tile", "overlap", "gates",
)  # fmt: skip
"""Options of an export that are about scores: refused here, so that none of them is silently without effect."""


@dataclass(frozen=True)
class GenerationReport:
    """What was measured of a bundle for generation; ``to_dict`` for JSON.

    Attributes:
        purpose: ``generation``, or ``decoder`` where the bundle has no encoder.
        parity: per "graph.output". samples: of rows drawn from the prior; None where the model has no prior.
        fit: how well the model rebuilds the rows that were given; None without rows.
        evidence: what was found in the model, and how. warnings: what to know before trusting the bundle.
        seconds: per stage.
    """

    path: Path
    size_bytes: int
    bundle_id: str
    pair_id: str
    purpose: Purpose
    parity: dict[str, Parity]
    samples: SampleFigures | None
    fit: ModelFit | None
    evidence: tuple[str, ...]
    warnings: tuple[str, ...]
    seconds: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {name: plain(value) for name, value in asdict(self).items()}


@checked
def export_for_generation(
    model: Any,
    path: str | os.PathLike[str],
    *,
    rows: Any = None,
    shape: tuple[int, ...] | None = None,
    latent_shape: tuple[int, ...] | None = None,
    condition: Array | None = None,
    encode: Encode | None = None,
    decode: Decode | None = None,
    scale_form: ScaleForm | None = None,
    codebook: int | None = None,
    prior: PriorChoice = None,
    config: ExportConfig | None = None,
    force: bool = False,
    progress: Callable[[str], None] | None = None,
) -> GenerationReport:
    """Export a trained VAE, or a decoder alone, into a bundle that samples and decodes and does not score.

    Args:
        model: as in ``export``; with ``latent_shape`` a decoder.
        path: of the ``.vaeb`` to write.
        rows: (n, *row_shape) a few raw rows to verify with, from one; None: ``shape`` says what a row is.
        shape: of one raw row in ``config.layout``, float32, where no rows are given. The encoder is then verified on
            rows that the decoder makes. Beside ``latent_shape``: what flat rows of the decoder are shaped to.
        latent_shape: of one latent: the model is a decoder alone, or only its decoder is wanted.
        condition: of a conditional model, one per row; without rows some conditions to draw samples with.
        encode, decode, scale_form, codebook, prior, force, progress: as in ``export``.
        config: as in ``export``, without what is about scores.

    Raises:
        AdaptError, ExportFailed, ParityFailed, InputError, StorageError: as ``export``.
        FitFailed: samples are not finite or all the same, or rows are rebuilt worse than by their mean.
        OptionError: neither rows nor a shape, an option about scores, or another bad option.

    Example:
        ``export_for_generation(model, "faces.vaeb", shape=(1, 28, 28), config=ExportConfig(layout="nchw"))``
    """
    target = refuse_existing(path, force=force)
    config = _checked(config or ExportConfig())
    scale_form = declared_form(scale_form, None)
    timer = Timer(progress)
    with timer("check data"):
        given = None
        if rows is not None:
            if shape is not None or latent_shape is not None:
                raise OptionError("rows say their own shape: leave out shape and latent_shape")
            x, config, _ = taken_in(rows, config, "rows")
            given = rows_to_look_at(x, condition, config)
        elif shape is None and latent_shape is None:
            raise OptionError(
                "pass a few rows to verify with, the shape of one row (--shape 1,28,28), or for a decoder alone the "
                "shape of one latent (--latent-shape 16)"
            )
    notes: tuple[str, ...] = ()
    fit = None
    with timer("adapt"):
        if latent_shape is not None:
            if encode is not None or codebook is not None or scale_form is not None:
                raise OptionError("a decoder alone has no encode, codebook or scale_form: leave out latent_shape")
            if config.dynamic_size:
                raise OptionError("dynamic_size of a decoder alone is not offered: export the whole model")
            recipe = decoder_recipe(model, decode)
            config, notes = filled_in(config, recipe)
            built, shown = _decoder(recipe, latent_shape, shape, condition, config)
        else:
            recipe = recipe_of(model, encode=encode, decode=decode)
            config, notes = filled_in(config, recipe)
            shown = given or _rows_of_shape(shape or (), condition, config)
            built = build_graphs(
                recipe, shown, config, example=None, scale_form=scale_form, codebook=codebook, scored=False
            )
    singles = KeptRows() if is_costly(built.multiplications) else None
    if given is not None:
        with timer("fit"):
            same_rows = built.signatures["decode"].outputs[0].shape == given.row.shape
            fit = check_fit(built, given, config, singles) if same_rows else None
            shown, codes = with_code_ranges(built, given)
            notes += codes
    examples, free = traced_with(built, shown)
    traced = trace_all(built.modules, built.signatures, examples, timer, free)
    models = {name: finish_fp32(graph.model, graph=name) for name, graph in traced.items()}
    pair = pair_id(models)
    graphs = split_and_scan(models, prefix="fp32", pair=pair, sizes=built.dimensions(shown.row))
    reference = reference_of(built, shown, examples, singles)
    with in_memory(graphs.joined) as backend, timer("parity"):
        proof = prove(backend, reference, built, shown, given, prior, config)
        rtol = config.parity_rtol
        sizes = compare_sizes(backend, reference, built, proof.rows, rtol=rtol, tolerance=lambda _: rtol)
    golden = _golden(reference, built, proof, config)
    variant = _finished(graphs, built, proof, golden, sizes, config)
    purpose: Purpose = "generation" if "encode" in built.modules else "decoder"
    with timer("pack"):
        bundle = pack(
            built, proof.rows, config, pair=pair, fit=fit, prior=proof.prior, variants={"fp32": variant},
            golden_feeds=golden[0], golden_picture=None, exporters=[graph.exporter for graph in traced.values()],
            purpose=purpose, samples=proof.figures,
        )  # fmt: skip
        write_atomic(target, [bundle.data], check=read_back, replace=force)
    warnings = (*proof.notes, *(fit_warnings(fit) if fit else ()))
    warnings += tuple(sample_warnings(proof.figures)) if proof.figures else ()
    evidence = (*built.vae.evidence, *notes, *proof.evidence)
    evidence += (built.sizes.in_words(),) if built.sizes else ()
    return GenerationReport(
        target, len(bundle.data), bundle.bundle_id, pair, purpose, proof.parity, proof.figures, fit, evidence, warnings,
        timer.seconds,
    )  # fmt: skip


def _checked(config: ExportConfig) -> ExportConfig:
    """The config of a bundle that scores nothing.

    Raises:
        OptionError: an option is about scores, or another precision than fp32 is asked for.
    """
    default = ExportConfig()
    if wrong := [name for name in _OF_SCORES if getattr(config, name) != getattr(default, name)]:
        raise OptionError(
            f"{wrong[0]} is about scores, and a bundle for generation has none: leave it out, or export for scoring"
        )
    if config.precisions != ("fp32",):
        raise OptionError("a bundle for generation has the variant fp32 alone: the gates of the others compare scores")
    return dataclasses.replace(config, heads=("reconstruction",))


def _rows_of_shape(shape: tuple[int, ...], condition: Array | None, config: ExportConfig) -> ExportRows:
    """Made-up rows, uniform in [0, 1] in model units, with the first conditions beside them."""
    count = PARITY_ROWS if condition is None else len(condition)
    words = philox_words(count * element_count(shape), seed=0, stream=4)
    uniform = (words.astype(np.float64) / 2**64).reshape(count, *shape)
    units = np.array(config.offset), np.array(config.scale)
    if config.layout == "nchw" and len(config.offset) > 1:
        units = tuple(part.reshape(-1, 1, 1) for part in units)  # type: ignore[assignment]
    return rows_to_look_at((uniform * units[1] + units[0]).astype(np.float32), condition, config)


def _decoder(
    recipe: Recipe,
    latent_shape: tuple[int, ...],
    shape: tuple[int, ...] | None,
    condition: Array | None,
    config: ExportConfig,
) -> tuple[BuiltGraphs, ExportRows]:
    spec: ConditionSpec | None = None if condition is None else condition_spec(condition, len(condition))
    decoder = build_decoder(recipe, latent_shape, shape, spec, condition, config)
    beside = {} if condition is None else {"condition": condition}
    return decoder.built, ExportRows(decoder.row, spec, beside, {}, None)


def _golden(
    reference: Reference, built: BuiltGraphs, proof: Proof, config: ExportConfig
) -> tuple[dict[str, Array], dict[str, dict[str, Array]]]:
    """What the self-test feeds, and the outputs of PyTorch by graph."""
    z = built.signatures["decode"].inputs[0].name
    count = rows_affordable(built.multiplications, most=config.golden_rows)
    if "encode" not in built.modules:
        feeds = {z: proof.latents[:count], **beside_latents(proof.rows.calibration.get("condition"), count)}
        return feeds, {"decode": _in_float32(reference.run("decode", feeds))}
    feeds = rows_of(proof.rows.calibration, slice(count))
    outputs = {"encode": _in_float32(reference.run("encode", feeds))}
    beside = {name: x for name, x in feeds.items() if name != "x"}
    codes = next(iter(outputs["encode"].values()))
    outputs["decode"] = _in_float32(reference.run("decode", {z: codes, **beside}))
    return feeds, outputs


def _in_float32(outputs: Mapping[str, Array]) -> dict[str, Array]:
    return {name: x if x.dtype.kind in "ui" else x.astype(np.float32) for name, x in outputs.items()}


def _finished(
    graphs: SplitGraphs,
    built: BuiltGraphs,
    proof: Proof,
    golden: tuple[dict[str, Array], dict[str, dict[str, Array]]],
    sizes: Mapping[Size, SizeFigures],
    config: ExportConfig,
) -> FinishedVariant:
    members, expected = contents.golden_outputs("fp32", golden[1])
    at_sizes = {size: contents.golden_at("fp32", size, figures) for size, figures in sizes.items()}
    for further, _ in at_sizes.values():
        members |= further
    variant = Variant(
        precision="fp32",
        reduction=None,
        fidelity=None,
        graphs=contents.graph_specs(graphs, built.signatures),
        parity=proof.parity,
        verdict=None,
        calibration=None,
        channels={},
        latent_statistics=None,
        typical_score=None,
        traps={},
    )
    nothing = Calibrated({}, {}, Fitted(None, None, {}), None, ())
    tolerance = dict.fromkeys(expected, config.parity_rtol)
    return FinishedVariant(
        variant, graphs, nothing, members={**graphs.members, **members}, expected=expected, tolerance=tolerance,
        warnings=(), sizes={size: figures for size, (_, figures) in at_sizes.items()},
    )  # fmt: skip
