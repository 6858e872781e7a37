"""Rows and maps as pixels."""

from __future__ import annotations

import io

import numpy as np
import pytest

from vae_edge.cli import _pictures
from vae_edge_runtime.format.specs import InputSpec


def _spec(shape: tuple[int, ...], layout: str, dtype: str = "float32") -> InputSpec:
    return InputSpec(shape, dtype, layout, 0.0, 1.0, ())  # type: ignore[arg-type]


def test_heat_grows_in_lightness_from_black_and_ends_at_the_last_colour() -> None:
    ramp = _pictures.heat(np.linspace(0, 2, 101), top=1.0)
    lightness = ramp[:51].astype(float) @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(lightness) > 0).all()
    assert lightness[0] < 2
    np.testing.assert_array_equal(ramp[51:], np.broadcast_to(ramp[50], (50, 3)))


def test_heat_of_nothing_is_black() -> None:
    assert _pictures.heat(np.zeros((2, 2)), top=0.0).max() <= 4


@pytest.mark.parametrize(
    ("layout", "shape", "pixels"),
    [
        ("features", (5,), (1, 5)),
        ("time_features", (8, 3), (3, 8)),
        ("any", (8, 3), (8, 3)),
        ("any", (4, 3, 2), (4, 6)),
        ("nchw", (3, 6, 7), (6, 7)),
        ("nhwc", (6, 7, 1), (6, 7)),
    ],
)
def test_a_map_is_laid_out_as_its_rows_are(layout: str, shape: tuple[int, ...], pixels: tuple[int, int]) -> None:
    share = np.zeros(shape)
    share.flat[0] = 1.0
    shown = _pictures.overlay(np.zeros(shape, np.float32), share, _spec(shape, layout), top=1.0)
    assert shown.shape == (*pixels, 3)
    assert np.argwhere(shown.sum(-1) == shown.sum(-1).max()).tolist() == [[0, 0]]


def test_both_layouts_of_an_image_give_the_same_pixels() -> None:
    image = np.random.default_rng(0).integers(0, 256, (6, 7, 3), dtype=np.uint8)
    nhwc = _pictures.as_pixels(image, _spec((6, 7, 3), "nhwc", "uint8"))
    nchw = _pictures.as_pixels(image.transpose(2, 0, 1), _spec((3, 6, 7), "nchw", "uint8"))
    np.testing.assert_array_equal(nhwc, image)
    np.testing.assert_array_equal(nchw, image)


def test_a_png_reads_back_enlarged_by_a_whole_factor() -> None:
    image = pytest.importorskip("PIL.Image")
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    with image.open(io.BytesIO(_pictures.to_png(pixels, smallest_side=16))) as found:
        np.testing.assert_array_equal(np.asarray(found), pixels.repeat(3, 0).repeat(3, 1))


def test_a_grid_keeps_order_and_covers_every_picture() -> None:
    sheet = _pictures.grid([np.full((2, 2, 3), i, np.uint8) for i in range(5)])
    values = sheet[sheet[..., 0] < 5][:, 0]
    assert sorted(values.tolist()) == sorted(list(range(5)) * 4)
    assert sheet[2, 2, 0] == 0
    assert sheet[2, 6, 0] == 1
    assert sheet[6, 2, 0] == 3
