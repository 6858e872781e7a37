"""From the map of a row to one value per place."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_edge_runtime.format.specs import InputSpec


def is_picture(spec: InputSpec) -> bool:
    """Whether rows are pictures whose axes the bundle knows."""
    return spec.layout in ("nchw", "nhwc")


def places_of(maps: NDArray[Any], spec: InputSpec) -> NDArray[Any]:
    """Maps (n, *input_shape) to one value per place: channels of pictures are added up, (n, height, width).

    Maps of other rows come back as they are: each of their elements is a place.
    """
    if not is_picture(spec):
        return maps
    return np.asarray(maps.sum(1 if spec.layout == "nchw" else 3))
