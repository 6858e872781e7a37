from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from vae_edge_runtime.errors import InputError, OptionError
from vae_edge_runtime.statistics.regions import Region, regions

MAPS = arrays(np.float32, array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.sampled_from([0.0, 1.0, 2.0]))


@given(MAPS)
@settings(deadline=None)
def test_they_are_the_components_that_scipy_finds(places: np.ndarray) -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    labels, count = ndimage.label(places > 0.5, structure=np.ones((3, 3)))
    found = regions(places, 0.5)
    index = range(1, count + 1)
    boxes = [(r.start, c.start, r.stop, c.stop) for r, c in ndimage.find_objects(labels)]
    wanted = sorted(zip(
        ndimage.sum(labels > 0, labels, index), ndimage.maximum(places, labels, index),
        ndimage.sum(places, labels, index), boxes, strict=True,
    ))  # fmt: skip
    assert sorted((r.area, r.peak, r.mass, r.box) for r in found) == [(int(a), p, m, b) for a, p, m, b in wanted]
    for r in found:
        assert places[r.peak_at] == r.peak
        assert r.box[0] <= r.peak_at[0] < r.box[2]
        assert r.box[1] <= r.peak_at[1] < r.box[3]
    assert [r.peak for r in found] == sorted((r.peak for r in found), reverse=True)


def test_corners_touch_and_small_ones_can_be_left_out() -> None:
    places = np.array([[5.0, 0, 0, 0], [0, 7.0, 0, 0], [0, 0, 0, 2.0]])
    assert regions(places, 1.0) == (
        Region(area=2, peak=7.0, mass=12.0, peak_at=(1, 1), box=(0, 0, 2, 2)),
        Region(area=1, peak=2.0, mass=2.0, peak_at=(2, 3), box=(2, 3, 3, 4)),
    )
    assert [r.area for r in regions(places, 1.0, smallest=2)] == [2]
    assert regions(places, 7.0) == ()


def test_of_equal_peaks_the_first_is_named() -> None:
    places = np.array([[0, 3.0, 0], [3.0, 0, 3.0], [0, 3.0, 0]])
    (ring,) = regions(places, 1.0)
    assert (ring.peak_at, ring.area, ring.box) == ((0, 1), 4, (0, 0, 3, 3))


def test_arms_that_meet_only_at_the_end_are_one_region() -> None:
    snake = np.zeros((101, 60))
    snake[::2] = 1.0
    snake[1::4, -1] = snake[3::4, 0] = 1.0
    comb = np.zeros((60, 101))
    comb[:, ::2] = comb[-1] = 1.0
    for places in (snake, snake.T, comb, comb[::-1], comb.T):
        assert [(r.area, r.box) for r in regions(places, 0.5)] == [(int(places.sum()), (0, 0, *places.shape))]


def test_nan_is_above_nothing_and_a_map_has_two_axes() -> None:
    assert regions(np.array([[np.nan, 1.0]]), 0.5)[0].area == 1
    with pytest.raises(InputError, match="channels added up"):
        regions(np.zeros((3, 4, 4)), 0.5)


def test_a_threshold_that_is_no_number_is_refused() -> None:
    with pytest.raises(OptionError, match="NaN"):
        regions(np.ones((2, 2)), float("nan"))
