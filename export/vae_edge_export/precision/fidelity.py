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
from vae_edge_export.graphs.build import BuiltGraphs
from vae_edge_export.rows import Feeds, rows_of
from vae_edge_runtime.backends.base import Backend
from vae_edge_runtime.format.manifest import Fidelity
from vae_edge_runtime.format.specs import InputSpec
from vae_edge_runtime.session import ROWS_PER_RUN

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
    signed = built.signatures
    some = rows_of(feeds, slice(_PICTURES))
    score = run_backend(backend, "score", signed["score"], feeds, rows=ROWS_PER_RUN)["score"]
    encoded = run_backend(backend, "encode", signed["encode"], some, rows=ROWS_PER_RUN)
    latents = encoded[signed["encode"].outputs[0].name]
    beside = {name: x for name, x in some.items() if name != "x"}
    codes = {signed["decode"].inputs[0].name: latents, **beside}
    decoded = run_backend(backend, "decode", signed["decode"], codes, rows=ROWS_PER_RUN)["x_hat"]
    return Observed(score, latents, decoded)


def compare(
    found: Observed,
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
        change = abs(auroc(found.score, labels) - auroc(fp32.score, labels))
    else:
        mine, theirs = traps
        # The mean over kinds of equal size is the AUROC of all of them together.
        change = abs(float(np.mean([mine[kind] - theirs[kind] for kind in theirs]))) if theirs else 0.0
    return Fidelity(
        rows=len(fp32.score),
        rank_correlation=rank_correlation(found.score, fp32.score),
        decision_agreement=float(((found.score > thresholds[0]) == (fp32.score > thresholds[1])).mean()),
        auroc_change=change,
        auroc_on="synthetic" if labels is None else "labelled",
        reconstruction_psnr_db=whole_psnr_db(found.decoded, fp32.decoded, row),
        reconstruction_ssim=mean_ssim(found.decoded, fp32.decoded, row),
        latent_error=relative_latent_error(found.latents, fp32.latents),
    )


def whole_psnr_db(found: Array, wanted: Array, row: InputSpec) -> float:
    """PSNR over all rows at once, peak the range of the rows; 200 where equal, 0 where one is not finite."""
    if not np.isfinite(found.astype(np.float64)).all():
        return 0.0
    peak = max(row.high - row.low, 1e-6)
    return min(_EQUAL_DB, float(psnr_db(found.reshape(1, -1), wanted.reshape(1, -1), peak)[0]))


def mean_ssim(found: Array, wanted: Array, row: InputSpec) -> float | None:
    """Mean SSIM of images; None of what is no image of 11 pixels or more."""
    if row.layout not in ("nchw", "nhwc"):
        return None
    if row.layout == "nhwc":
        found, wanted = (np.moveaxis(x, 3, 1) for x in (found, wanted))
    if min(found.shape[2:]) < WINDOW:
        return None
    return float(ssim(found, wanted, max(row.high - row.low, 1e-6)).mean())


def relative_latent_error(found: Array, wanted: Array) -> float:
    """Rms difference over the rms; of indices the share that differ; infinite where none is finite."""
    if wanted.dtype.kind == "i":
        return float((found != wanted).mean())
    if not np.isfinite(found).all():
        return math.inf
    return latent_error(wanted, found).relative_rms


def score_noise(found: Array, wanted: Array) -> float:
    """What of the scores is no affine function of fp32's: rms of the residuals of a line, over their spread.

    A shifted or scaled score costs nothing (thresholds are fitted anew), a noisy one does.
    """
    a, b = wanted.astype(np.float64), found.astype(np.float64)
    spread = float(a.std())
    if not np.isfinite(b).all():
        return math.inf
    if spread == 0 or b.std() == 0:
        return 0.0 if spread == b.std() else math.inf
    correlation = float(np.corrcoef(a, b)[0, 1])
    return math.sqrt(max(0.0, 1.0 - correlation**2))
