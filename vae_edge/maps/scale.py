"""Which value of a map is which colour: one scale per bundle, whatever rows are shown and whatever head decides."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vae_edge_runtime import VAE
from vae_edge_runtime.format.heads import HEADS
from vae_edge_runtime.format.manifest import Calibration
from vae_edge_runtime.format.specs import ELEMENT_SIZE_BYTES, InputSpec, element_count

from .places import places_of

_ABOVE_PEAK, _ABOVE_TOP, _ABOVE_MEAN = 2.0, 4.0, 10.0
"""Last colour over the threshold of ``peak``, of ``top``, and over a sum's threshold spread over all places. The
largest place of 99 % of normal rows is below the threshold of ``peak``, so they end at half of the scale."""


@dataclass(frozen=True)
class MapScale:
    """The colours of a map.

    Attributes:
        top: value of one place that gets the last colour.
        threshold: of one place, that of the head ``peak``: what contours are drawn at; None without that head.
        source: where ``top`` comes from, in words.
    """

    top: float
    threshold: float | None
    source: str


def scale_of(vae: VAE) -> MapScale:
    """The scale of a bundle: from ``peak``, else ``top``, else a sum of the map, else its golden rows.

    The threshold of another head is in a unit of its own, such as 1 - SSIM, and says nothing about one place.

    Args:
        vae: the session.
    """
    calibrations = vae.calibrations
    peak = calibrations.get("peak")
    if peak is not None and peak.threshold > 0:
        return MapScale(_ABOVE_PEAK * peak.threshold, peak.threshold, "twice the threshold of peak")
    top = calibrations.get("top")
    if top is not None and top.threshold > 0:
        return MapScale(_ABOVE_TOP * top.threshold, None, "4 times the threshold of top")
    for head, calibration in calibrations.items():
        total = _total(vae, head, calibration)
        if total is not None and total > 0:
            places = _place_count(vae.manifest.input)
            return MapScale(_ABOVE_MEAN * total / places, None, f"10 times the threshold of {head} per place")
    golden = _golden_peak(vae)
    return MapScale(_ABOVE_PEAK * golden if golden > 0 else 1.0, None, "twice the largest place of the golden rows")


def _total(vae: VAE, head: str, calibration: Calibration) -> float | None:
    """The threshold of a head that is a sum over the map, as that sum; None for any other head."""
    spec = vae.manifest.score
    if not HEADS[head].is_sum:
        return None
    squared = spec.transform == "sqrt" and head == spec.heads[0]
    return calibration.threshold**2 if squared else calibration.threshold


def _place_count(spec: InputSpec) -> int:
    channels = {"nchw": 0, "nhwc": 2}.get(spec.layout)
    return element_count(spec.shape) // (1 if channels is None else spec.shape[channels])


def _golden_peak(vae: VAE) -> float:
    """The largest place of the maps of the golden rows; 0 where they cannot be scored."""
    golden, spec = vae.manifest.golden, vae.manifest.input
    if golden.condition is not None:
        return 0.0
    dtype = np.dtype(spec.dtype).newbyteorder("<")
    count = golden.rows * element_count(spec.shape)
    raw = np.frombuffer(vae.read_member(golden.input)[: count * ELEMENT_SIZE_BYTES[spec.dtype]], dtype)
    x = raw.reshape(golden.rows, *spec.shape).astype(spec.dtype)
    maps = places_of(vae.score(x, maps=True).map, spec)
    return float(np.nanmax(maps, initial=0.0))
