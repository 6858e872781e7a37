"""Pictures too large to be drawn pixel by pixel: an overview that shows small regions, windows, and bounded memory."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from vae_edge.maps import large
from vae_edge.maps.regions import picture_regions
from vae_edge.maps.scale import MapScale
from vae_edge_runtime import InputError
from vae_edge_runtime.format.specs import InputSpec
from vae_edge_runtime.statistics.regions import Bands, regions

NHWC = InputSpec((16, 16, 3), "uint8", "nhwc", 0.0, 255.0, (), overlap=4)
NCHW = InputSpec((3, 16, 16), "uint8", "nchw", 0.0, 255.0, (), overlap=4)


def _picture_and_map(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    row, values = rng.integers(0, 256, (height, width, 3), np.uint8), np.zeros((height, width, 3), np.float32)
    values[5:9, 3:5], values[31:33, 40:42], values[20, 20] = 3.0, 4.0, 2.0
    return row, values


@pytest.mark.parametrize("spec", [NHWC, NCHW])
def test_an_overview_keeps_the_largest_value_of_each_block_and_every_region(
    spec: InputSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(large, "OVERVIEW_SIDE", 10)
    monkeypatch.setattr(large, "_BAND_PIXELS", 7 * 47)
    row, values = _picture_and_map(53, 47)
    places = values.sum(2)
    turned = (np.moveaxis(a, 2, 0) if spec is NCHW else a for a in (row, values))
    seen = large.overview(*turned, spec, 5.0)
    assert seen.factor == 6
    assert seen.places.shape == (9, 8)
    blocks = [[(slice(6 * r, 6 * r + 6), slice(6 * c, 6 * c + 6)) for c in range(8)] for r in range(9)]
    np.testing.assert_array_equal(seen.places, [[places[b].max() for b in line] for line in blocks])
    mean = np.array([[row[b].mean((0, 1)) for b in line] for line in blocks])
    assert np.abs(seen.picture - mean).max() <= 0.5
    assert seen.regions == picture_regions(places, 5.0)
    assert [region.area for region in seen.regions] == [4, 8]  # not the single pixel
    marked = seen.marked(MapScale(18.0, 5.0, ""))
    assert marked.shape == seen.picture.shape
    assert (marked != seen.picture).any()


def test_a_window_on_each_region_has_its_pixels_at_full_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large, "WINDOW_SIDE", 16)
    row, values = _picture_and_map(53, 47)
    found = picture_regions(values.sum(2), 5.0)
    (title, first), (_, second) = large.windows(row, values, NHWC, MapScale(1e9, 5.0, ""), found)
    assert title == "region 1: row 31, column 40"
    np.testing.assert_array_equal(first[:, :16], row[24:40, 31:47])  # no further than the edge
    np.testing.assert_array_equal(second[:, :16], row[0:16, 0:16])
    assert first.shape == second.shape == (16, 16 + 6 + 16, 3)
    assert ((first[:, 22:] == (0, 229, 255)).all(2)).sum() >= 4, "no contour"
    huge = regions(np.full((53, 47), 9.0), 5.0)
    ((_, whole),) = large.windows(row, values, NHWC, MapScale(1e9, 5.0, ""), huge)
    np.testing.assert_array_equal(whole[:, :16], row[:16, :16])  # around the peak of a region larger than it


@pytest.mark.parametrize("cuts", [(1, 2, 3), (4,), (), (2, 2, 5)])
def test_regions_of_bands_are_those_of_the_whole_map(cuts: tuple[int, ...]) -> None:
    places = np.random.default_rng(1).random((12, 40)).round(1)
    bands = Bands(0.4)
    for band in np.split(places, sorted(cuts)):
        bands.add(band)
    assert bands.regions() == regions(places, 0.4)
    assert len(bands.regions(smallest=4)) < len(bands.regions())
    with pytest.raises(InputError, match="bands of one map"):
        bands.add(np.zeros((1, 3)))


def test_the_memory_of_an_overview_does_not_grow_with_the_picture(tmp_path: Path) -> None:
    peaks = []
    for side in (2_100, 4_200):
        shape = (side, side, 3)
        row = np.lib.format.open_memmap(tmp_path / f"{side}.npy", mode="w+", dtype=np.uint8, shape=shape)
        values = np.lib.format.open_memmap(tmp_path / f"{side}-map.npy", mode="w+", dtype=np.float32, shape=shape)
        values[side // 2, :40] = 5.0
        assert large.is_large(row, NHWC)
        tracemalloc.start()
        seen = large.overview(row, values, NHWC, 9.0)
        large.windows(row, values, NHWC, MapScale(18.0, 9.0, ""), seen.regions)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert [region.area for region in seen.regions] == [40]
    assert peaks[1] < 1.1 * peaks[0]
    assert peaks[1] < 256 << 20
