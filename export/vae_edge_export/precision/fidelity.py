"""A reduced variant beside the fp32 one on the same rows: scores, decisions, codes, reconstructions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_edge_export.agreement import WINDOW, auroc, latent_error, psnr_db, rank_correlation, ssim
from vae_edge_export.checks.parity import run_backend
from vae_edge_export.checks.traps import ROWS, spring_traps
from vae_edge_export.graphs.build import BuiltGraphs
from vae_edge_export.rows import Feeds, rows_of
from vae_edge_runtime.backends.base import Backend
from vae_edge_runtime.format.figures import Fidelity
from vae_edge_runtime.format.specs import InputSpec

Array = NDArray[Any]

_PICTURES = 256
"""Rows that are decoded to compare reconstructions; scores are compared on all."""
_EQUAL_DB = 200.0


@dataclass(frozen=True, eq=False)
class Observed:
    """What a variant makes of some rows.

    Attributes:
        score: of the default head, (n,). latents: posterior means or indices, (m, ...), of the first m rows.
        decoded: those rows reconstructed, (m, *row_shape) in data units.
    """

    score: Array
    latents: Array
    decoded: Array


def observe(backend: Backend, built: BuiltGraphs, feeds: Feeds) -> Observed:
    """Run the graphs ``score``, ``encode`` and ``decode`` of a variant on raw rows."""
    signatures = built.signatures
    to_decode = rows_of(feeds, slice(_PICTURES))
    score = run_backend(backend, "score", signatures["score"], feeds, rows=built.rows_at_once("score"))["score"]
    encoded = run_backend(backend, "encode", signatures["encode"], to_decode, rows=built.rows_at_once("encode"))
    latents = encoded[signatures["encode"].outputs[0].name]
    conditions = {name: x for name, x in to_decode.items() if name != "x"}
    decode_feeds = {signatures["decode"].inputs[0].name: latents, **conditions}
    decoded = run_backend(backend, "decode", signatures["decode"], decode_feeds, rows=built.rows_at_once("decode"))[
        "x_hat"
    ]
    return Observed(score, latents, decoded)


def default_head_traps(
    backend: Backend, built: BuiltGraphs, feeds: Feeds, row: InputSpec, *, classes: bool
) -> dict[str, float]:
    """``spring_traps`` for the default head on the first rows.

    Args:
        classes: rows are whole numbers, classes.
    """
    normal = rows_of(feeds, slice(ROWS))

    def score(x: Array) -> dict[str, Array]:
        outputs = run_backend(
            backend, "score", built.signatures["score"], normal | {"x": x}, rows=built.rows_at_once("score", most=ROWS)
        )
        return {"default": outputs["score"]}

    return spring_traps(normal["x"], row, score, whole=classes)["default"]


def compare(
    variant: Observed,
    fp32: Observed,
    row: InputSpec,
    *,
    thresholds: tuple[float, float],
    labels: NDArray[np.bool_] | None,
    traps: tuple[Mapping[str, float], Mapping[str, float]],
) -> Fidelity:
    """Figures of a variant against fp32, both on the same rows.

    Args:
        thresholds: of the variant, and of fp32.
        labels: (n,) True for anomalies.
        traps: per kind of unnatural row, of the variant and of fp32, where there are no labels.
    """
    if labels is not None:
        change = abs(auroc(variant.score, labels) - auroc(fp32.score, labels))
    else:
        of_variant, of_fp32 = traps
        # The mean over kinds of equal size is the AUROC of all of them together.
        change = abs(float(np.mean([of_variant[kind] - of_fp32[kind] for kind in of_fp32]))) if of_fp32 else 0.0
    return Fidelity(
        rows=len(fp32.score),
        rank_correlation=rank_correlation(variant.score, fp32.score),
        decision_agreement=float(((variant.score > thresholds[0]) == (fp32.score > thresholds[1])).mean()),
        auroc_change=change,
        auroc_on="synthetic" if labels is None else "labelled",
        reconstruction_psnr_db=whole_psnr_db(variant.decoded, fp32.decoded, row),
        reconstruction_ssim=mean_ssim(variant.decoded, fp32.decoded, row),
        latent_error=relative_latent_error(variant.latents, fp32.latents),
    )


def whole_psnr_db(variant: Array, fp32: Array, row: InputSpec) -> float:
    """PSNR over all rows at once, peak the range of the rows; 200 where equal, 0 where one is not finite."""
    if not np.isfinite(variant.astype(np.float64)).all():
        return 0.0
    peak = max(row.high - row.low, 1e-6)
    return min(_EQUAL_DB, float(psnr_db(variant.reshape(1, -1), fp32.reshape(1, -1), peak)[0]))


def mean_ssim(variant: Array, fp32: Array, row: InputSpec) -> float | None:
    """Mean SSIM of images; None of what is no image of 11 pixels or more."""
    if row.layout not in ("nchw", "nhwc"):
        return None
    if row.layout == "nhwc":
        variant, fp32 = (np.moveaxis(x, 3, 1) for x in (variant, fp32))
    if min(variant.shape[2:]) < WINDOW:
        return None
    return float(ssim(variant, fp32, max(row.high - row.low, 1e-6)).mean())


def relative_latent_error(variant: Array, fp32: Array) -> float:
    """Rms difference over the rms; of indices the share that differ; infinite where none is finite."""
    if fp32.dtype.kind == "i":
        return float((variant != fp32).mean())
    if not np.isfinite(variant).all():
        return math.inf
    return latent_error(fp32, variant).relative_rms


def score_noise(variant: Array, fp32: Array) -> float:
    """What of the scores is no affine function of fp32's: rms of the residuals of a line, over their spread.

    A shifted or scaled score costs nothing (thresholds are fitted anew), a noisy one does.
    """
    fp32, variant = fp32.astype(np.float64), variant.astype(np.float64)
    if not np.isfinite(variant).all():
        return math.inf
    fp32_spread, variant_spread = float(fp32.std()), float(variant.std())
    if fp32_spread == 0 or variant_spread == 0:
        return 0.0 if fp32_spread == variant_spread else math.inf
    correlation = float(np.corrcoef(fp32, variant)[0, 1])
    return math.sqrt(max(0.0, 1.0 - correlation**2))
