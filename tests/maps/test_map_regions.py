"""Regions of a map: the rule for single pixels, and their table."""

from __future__ import annotations

import numpy as np

from vae_edge.maps.regions import COLUMNS, picture_regions, region_columns


def _places() -> np.ndarray:
    places = np.zeros((6, 8))
    places[1:3, 1:4] = 5.0
    places[2, 2] = 7.0
    places[4, 6] = 6.0
    return places


def test_a_region_of_one_pixel_is_left_out() -> None:
    (only,) = picture_regions(_places(), 4.0)
    assert (only.area, only.peak, only.peak_at, only.box) == (6, 7.0, (2, 2), (1, 1, 3, 4))


def test_a_row_that_peak_calls_an_anomaly_has_a_region_even_of_one_pixel() -> None:
    places = _places()
    places[4, 6] = 9.0
    assert [region.area for region in picture_regions(places, 4.0)] == [1, 6]
    assert picture_regions(places, 9.0) == ()


def test_smallest_area_is_an_option() -> None:
    assert [r.area for r in picture_regions(_places(), 4.0, smallest=1)] == [6, 1]


def test_the_table_has_a_line_per_region_with_box_area_and_peak() -> None:
    columns = region_columns("a.png", picture_regions(_places(), 4.0, smallest=1), 4.0)
    assert tuple(columns) == COLUMNS
    assert columns["row_id"] == ["a.png", "a.png"]
    assert [columns[k][0] for k in ("region", "top", "left", "bottom", "right")] == [1, 1, 1, 3, 4]
    assert [columns[k][1] for k in ("region", "area", "peak_row", "peak_column", "peak")] == [2, 1, 4, 6, 6.0]
