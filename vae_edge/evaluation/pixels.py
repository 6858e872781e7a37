"""Maps against masks of images: whether the right pixels stand out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_edge_runtime.dependencies import require
from vae_edge_runtime.errors import InputError, OptionError
from vae_edge_runtime.format.specs import InputSpec

FALSE_POSITIVE_LIMIT = 0.3
"""Up to which the per-region overlap is integrated, as in the paper."""
_CHANNEL_AXIS = {"nchw": 1, "nhwc": 3}
_WHY = "pixel figures"


@dataclass(frozen=True)
class PixelFigures:
    """Over all pixels of all scored images, normal ones included.

    Attributes:
        auroc, average_precision: of pixels, as if each was a row; large regions dominate.
        pro: per-region overlap, a mean in which every region counts alike.
        regions: connected regions of the masks (8 neighbours).
        share: of pixels that are anomalous; the average precision of a random map.
    """

    auroc: float
    average_precision: float
    pro: float
    regions: int
    share: float


def map_shape(spec: InputSpec) -> tuple[int, int]:
    """Height and width of the map of one image.

    Raises:
        OptionError: rows are no images.
    """
    if spec.layout not in _CHANNEL_AXIS:
        raise OptionError(f"masks are for images; the rows of this bundle are '{spec.layout}', leave out the masks")
    height, width = np.delete(spec.shape, _CHANNEL_AXIS[spec.layout] - 1).tolist()
    return height, width


def sum_channels(maps: NDArray[Any], layout: str) -> NDArray[Any]:
    """Maps (n, c, h, w) of ``nchw`` or (n, h, w, c) of ``nhwc`` to (n, h, w)."""
    summed: NDArray[Any] = maps.sum(axis=_CHANNEL_AXIS[layout])
    return summed


def check_masks(masks: Any, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Masks as bool of the shape (n, h, w) wanted.

    Raises:
        InputError: another shape, or other values than 0 and 1.
    """
    values = np.asarray(masks)
    if values.shape != shape:
        raise InputError(f"masks have shape {values.shape}, the maps have {shape}: one mask per row, of the same size")
    if not np.isin(values, (0, 1)).all():
        raise InputError("masks hold other values than 0 and 1: pass masks > 0")
    return values.astype(bool)


def pixel_figures(maps: Any, masks: Any) -> PixelFigures:
    """Pixel AUROC, pixel average precision and per-region overlap of maps (n, h, w) against masks (n, h, w).

    Raises:
        InputError: shapes differ, a map is not finite, masks are not 0 and 1, or mark no pixel or all.
        MissingDependency: scikit-learn is not installed.
    """
    maps = np.asarray(maps)
    masks = check_masks(masks, maps.shape)
    if not np.isfinite(maps).all():
        raise InputError("a map holds NaN or infinity: leave out the rows whose status is not ok")
    if not 0 < masks.sum() < masks.size:
        raise InputError("the masks mark no pixel or every pixel: pixel figures need both kinds")
    sklearn = require("sklearn.metrics", extra="evaluate", why=_WHY)
    weights, regions = _region_weights(masks)
    flat, truth = maps.ravel(), masks.ravel()
    return PixelFigures(
        auroc=float(sklearn.roc_auc_score(truth, flat)),
        average_precision=float(sklearn.average_precision_score(truth, flat)),
        pro=_area_up_to_limit(*sklearn.roc_curve(truth, flat, sample_weight=weights.ravel())[:2]),
        regions=regions,
        share=float(truth.mean()),
    )


def _region_weights(masks: NDArray[np.bool_]) -> tuple[NDArray[np.float64], int]:
    """Weight of every pixel, and the number of regions.

    With 1 / (size of its region) for an anomalous pixel the true positive rate is the mean overlap per
    region at every threshold: PRO is the area under a weighted ROC curve.
    """
    ndimage = require("scipy.ndimage", extra="evaluate", why=_WHY)
    # Neighbours across one image, diagonals included, and none across images.
    neighbours = np.zeros((3, 3, 3), dtype=bool)
    neighbours[1] = True
    region, count = ndimage.label(masks, structure=neighbours)
    sizes = np.bincount(region.ravel())
    weights = 1.0 / sizes[region]
    weights[~masks] = 1.0
    return weights, int(count)


def _area_up_to_limit(false_rate: NDArray[np.float64], overlap: NDArray[np.float64]) -> float:
    """Area under the curve up to the limit, relative to it (Bergmann et al., CVPR 2020): 1 is perfect."""
    inside = false_rate <= FALSE_POSITIVE_LIMIT
    x = np.append(false_rate[inside], FALSE_POSITIVE_LIMIT)
    y = np.append(overlap[inside], np.interp(FALSE_POSITIVE_LIMIT, false_rate, overlap))
    return float((np.diff(x) * (y[1:] + y[:-1]) / 2).sum() / FALSE_POSITIVE_LIMIT)
