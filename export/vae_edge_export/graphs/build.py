"""From a recipe and rows to the graphs as torch modules, before any of them is traced."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from vae_edge_runtime.errors import AdaptError, InputError, OptionError
from vae_edge_runtime.format.heads import HEADS
from vae_edge_runtime.format.likelihoods import LIKELIHOODS
from vae_edge_runtime.format.sizes import FREE_GRAPHS, dimensions_at
from vae_edge_runtime.format.specs import (
    InputSpec,
    LatentSpec,
    Layout,
    PriorSpec,
    Role,
    ScoreSpec,
    Signature,
    TensorSpec,
    signatures,
)
from vae_edge_runtime.graph_session import ROWS_PER_RUN, rows_within
from vae_edge_runtime.scoring.heads import posterior_noise
from vae_edge_runtime.scoring.inputs import check_condition

from ..adapters import Recipe
from ..adapters.scale_form import ScaleForm
from ..config import ExportConfig
from ..cut import adapt_or_cut
from ..halves.vae import AdaptedVae
from ..preparations import usual_preparations
from ..rows import ExportRows, check_classes, check_unit_interval, finite_rows_of, model_shape, rows_of
from .beside import Beside
from .decoded import with_named_family
from .forward_family import keep_family
from .free_size import SizePlan, adapted_small, find_sizes
from .modules import DataUnits, DecodeGraph, EncodeGraph, SampledGraph, ScoreGraph
from .other_units import other_units
from .row_bytes import RowBytes, measure_row_bytes
from .whitening import fit_whitening

Array = NDArray[Any]

Missing = Literal["mask", "nan"]
"""How a model is told of missing values: by a mask beside the row, or by NaN in it."""
BYTES_AT_ONCE = 1 << 30
"""Of the values inside a model at once, in every check of an export."""


@dataclass(frozen=True, eq=False)
class BuiltGraphs:
    """The graphs of a model as torch modules, before any of them is traced.

    Attributes:
        modules, signatures, examples, row_bytes: per graph. latent: still without its prior.
        sizes: heights and widths that ``encode`` and ``decode`` take; None: that of the rows alone.
    """

    vae: AdaptedVae
    latent: LatentSpec
    score: ScoreSpec
    modules: dict[str, nn.Module]
    signatures: dict[str, Signature]
    examples: dict[str, dict[str, Array]]
    row_bytes: dict[str, RowBytes]
    sizes: SizePlan | None = None

    @property
    def config(self) -> ExportConfig:
        """The options, with the likelihood that a distribution of the decoder names."""
        config = self.modules["decode"].config
        assert isinstance(config, ExportConfig)
        return config

    @property
    def multiplications(self) -> int:
        """Of one row in the graph that takes most of them."""
        return max(sizes.multiplications for sizes in self.row_bytes.values())

    def dimensions(self, row: InputSpec) -> dict[str, list[dict[str, int]]]:
        """Per graph of free size, its named dimensions at every size that it is compared at."""
        if self.sizes is None:
            return {}
        at = [dimensions_at(size, row, self.latent.shape) for size in (self.sizes.base, *self.sizes.others)]
        return dict.fromkeys(FREE_GRAPHS, at)

    def rows_at_once(self, graph: str, *, most: int = ROWS_PER_RUN) -> int:
        """Rows that an engine is given at once, within ``BYTES_AT_ONCE``."""
        return rows_within(BYTES_AT_ONCE, self.row_bytes[graph].single, most=most)


def build_graphs(
    recipe: Recipe,
    rows: ExportRows,
    config: ExportConfig,
    *,
    example: Array | None,
    scale_form: ScaleForm | None,
    codebook: int | None,
    scored: bool = True,
    missing: Missing | None = None,
) -> BuiltGraphs:
    """Adapt a model and make its graphs; where nothing is scored, ``encode`` and ``decode`` alone.

    Args:
        missing: of rows with a mask beside them, how the model is told what is missing.

    Raises:
        AdaptError, InputError, OptionError: as ``export``.
    """
    feeds = rows_of(rows.calibration, slice(3))
    if example is not None:
        feeds["x"] = finite_rows_of(example, rows.row.shape, rows.row.dtype, "example")
        if not len(feeds["x"]):
            raise InputError("example holds no rows")
        if rows.condition is not None:
            feeds |= check_condition(rows.calibration["condition"][0], rows.condition, len(feeds["x"]))
    roles = _roles(rows, config, missing)
    units = DataUnits(config, model_shape(rows.row.shape, rows.row.layout), roles)
    given = torch.from_numpy(np.array(feeds["condition"])) if rows.condition is not None else None
    x = roles.row(units.to_model(torch.from_numpy(np.array(feeds["x"]))), given)
    beside = next(iter(roles.to_encode(given)), None)
    recipe, config = with_named_family(recipe, config, (x,) if beside is None else (x, beside))
    likelihood = LIKELIHOODS[config.likelihood]
    if likelihood.values == "unit":
        check_unit_interval(x, config.likelihood, option=_into_unit_interval(rows.calibration["x"], rows.row.layout))
    options: dict[str, Any] = {
        "condition": beside,
        "scale_form": scale_form,
        "likelihood": config.likelihood,
        "learned_variance": likelihood.second_output == "without_variance" and config.variance is None,
        "logits": config.logits,
        "codebook": codebook,
        "any_shape": not scored or roles.role == "target",
    }
    own = recipe
    small = adapted_small(recipe, x, **options) if config.dynamic_size else None
    try:
        recipe, vae = (recipe, small) if small is not None else adapt_or_cut(recipe, x, **options)
    except AdaptError as error:
        if remedy := other_units(own, error, rows, units):
            raise AdaptError(f"{error}. {remedy}") from error.__cause__
        raise
    vae = keep_family(own, vae, config, (x,) if beside is None else (x, beside))
    if likelihood.values == "classes":
        for part in (rows.calibration, rows.held_out):
            if part:
                check_classes(units.to_model(torch.from_numpy(np.array(part["x"]))), vae.classes)
    if config.kl_weight is not None and config.kl_weight > 0 and not vae.has_kl:
        raise OptionError(
            "this model has no KL in closed form: leave kl_weight at None, the score is the reconstruction"
        )
    kl_weight = None if not vae.has_kl else 1.0 if config.kl_weight is None else config.kl_weight
    config = dataclasses.replace(config, kl_weight=kl_weight)
    latent = LatentSpec(
        vae.latent_shape,
        vae.kind,
        PriorSpec("none", "not chosen yet", 0, None),
        vae.groups,
        vae.latent_offset,
        vae.latent_scale,
        vae.codebook,
        vae.embedding_shape,
    )
    score = _score_spec(config, vae, rows.row.layout)
    decoded = _decoded_row(vae, rows.row, config)
    if roles.role == "target" and rows.condition is not None and decoded != rows.condition.shape:
        raise AdaptError(f"decode gives rows of shape {decoded}, and the targets have {rows.condition.shape}")
    output = TensorSpec("x_hat", config.output_dtype, decoded)
    signed = signatures(rows.row, rows.condition, latent, output, score)
    modules: dict[str, nn.Module] = {
        "encode": EncodeGraph(vae, units),
        "decode": DecodeGraph(vae, units, config),
    }
    if scored:
        whitening = fit_whitening(vae, units, config, rows)
        modules["score"] = ScoreGraph(vae, units, config, score, rows.row, whitening)
    z = signed["decode"].inputs[0]
    latents = {z.name: np.zeros((len(feeds["x"]), *z.shape), dtype=z.dtype)}
    decode_feeds = latents | {name: array for name, array in feeds.items() if name != "x"}
    examples = {"encode": feeds, "decode": decode_feeds, "score": feeds}
    if scored and score.sampled:
        modules["sampled"] = SampledGraph(vae, units, config, score)
        examples["sampled"] = feeds | {"noise": posterior_noise(score, latent, len(feeds["x"]))}
    return BuiltGraphs(
        vae=vae,
        latent=latent,
        score=score,
        modules=modules,
        signatures={name: signed[name] for name in modules},
        examples=examples,
        row_bytes={name: measure_row_bytes(modules[name], signed[name], examples[name]) for name in modules},
        sizes=find_sizes(vae, x, beside, config.size_multiple) if config.dynamic_size else None,
    )


def _roles(rows: ExportRows, config: ExportConfig, missing: Missing | None) -> Beside:
    """What stands beside a row in the graphs.

    Raises:
        OptionError: an option that is not for rows with a mask or a target.
    """
    role: Role = "condition" if rows.condition is None else rows.condition.role
    if role == "condition":
        return Beside()
    for name, is_set in (
        ("tile", config.tile is not None), ("dynamic_size", config.dynamic_size), ("compress", bool(config.compress)),
        ("map_channels", config.map_channels != "plain"), ("output_dtype", config.output_dtype != "float32"),
        ("precisions", config.precisions != ("fp32",)),
    ):  # fmt: skip
        if is_set:
            raise OptionError(f"{name} is not offered for rows with a {role} beside them")
    if role == "mask":
        return Beside("mask", math.nan if missing == "nan" else 0.0, missing != "nan")
    if rows.row.layout in ("nchw", "nhwc") or rows.condition is None:
        raise OptionError("a target is beside rows of features or windows, not beside pictures")
    return Beside("target", target=DataUnits(config, rows.condition.shape))


def _into_unit_interval(x: Array, layout: Layout) -> str:
    """The option of the usual preparation that brings raw rows into [0, 1]; empty where none of them does."""
    for way in usual_preparations(x, layout):
        prepared = way.prepared(torch.from_numpy(np.array(x)), layout)
        if float(prepared.min()) >= 0 and float(prepared.max()) <= 1:
            return way.option
    return ""


def _decoded_row(vae: AdaptedVae, row: InputSpec, config: ExportConfig) -> tuple[int, ...]:
    """Shape of one decoded row in raw layout: that of a row, or of a forecast.

    Raises:
        OptionError: a forecast of pictures, or one that offset and scale per column do not fit.
    """
    if not vae.decoded_shape:
        return row.shape
    if row.layout in ("nchw", "nhwc"):
        raise OptionError(
            f"decode gives rows of shape {vae.decoded_shape} for pictures of {vae.input_shape}: say layout 'any'"
        )
    if len(config.offset) not in (1, vae.decoded_shape[-1]):
        raise OptionError(
            f"offset and scale hold {len(config.offset)} values, and decoded rows have {vae.decoded_shape[-1]} "
            "columns: give one value for all"
        )
    return vae.decoded_shape


def _score_spec(config: ExportConfig, vae: AdaptedVae, layout: Layout) -> ScoreSpec:
    """The heads of this model; of pictures, where none were named, the two that a small defect does not drown in, too.

    Raises:
        OptionError: one needs what the model does not have.
    """
    default = "elbo" if config.kl_weight else "reconstruction"
    for_pictures = ("top", "peak") if layout in ("nchw", "nhwc") else ()
    heads = config.heads or (default, *for_pictures)
    for head in heads:
        if not vae.has_kl and HEADS[head].needs_kl:
            raise OptionError(
                f"head '{head}' needs a Gaussian posterior with N(0, I) as its prior; this model has none"
            )
        if vae.kind == "codes" and HEADS[head].reads_codes:
            raise OptionError(f"head '{head}' needs codes of real numbers; those of a VQ model are indices")
    return ScoreSpec(
        likelihood=config.likelihood,
        variance=config.variance,
        reconstruction_weight=float(config.reconstruction_weight),
        kl_weight=config.kl_weight,
        transform=config.transform,
        heads=heads,
        top_share=config.top_share,
        draws=config.draws if any(HEADS[head].computed == "sampled" for head in heads) else 0,
        map_sigma=float(config.map_sigma),
        map_channels=config.map_channels,
        parts=config.ensemble_parts if any(HEADS[head].computed == "p_values" for head in heads) else (),
    )


def filled_in(config: ExportConfig, recipe: Recipe) -> tuple[ExportConfig, tuple[str, ...]]:
    """The config with what the model brings along where the user left the default, and that said in words.

    A likelihood comes with its variance or not at all.
    """
    default = ExportConfig()
    brought = dict(recipe.options)
    if config.likelihood != default.likelihood:
        brought = {key: value for key, value in brought.items() if key not in ("likelihood", "variance")}
    brought = {key: value for key, value in brought.items() if getattr(config, key) == getattr(default, key)}
    words = [key if isinstance(value, tuple) else f"{key} {value}" for key, value in brought.items()]
    return dataclasses.replace(config, **brought), (f"brings along {', '.join(words)}",) if words else ()
