"""Large pictures: tiles, blended maps, one score per picture, memory that does not grow with the height."""

from __future__ import annotations

import dataclasses
import math
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from vae_edge_runtime.errors import BundleInvalid, InputError
from vae_edge_runtime.format.specs import InputSpec, ScoreSpec
from vae_edge_runtime.scoring import tiling
from vae_edge_runtime.scoring.tiling import check_pictures, cut_tiles, picture_outputs, ramp, size_warning, starts

SPEC = InputSpec((16, 16, 3), "uint8", "nhwc", 0.0, 255.0, (), fit="exact", overlap=4)
SCORE = ScoreSpec(
    "mse", None, 1.0, 1.0, "identity", ("elbo", "reconstruction", "top", "peak", "kl", "ssim"), 0.01, 0, 0.0, ()
)
NAMES = ("score", "reconstruction", "kl", "top", "peak", "ssim")


def _map_is_the_square(tiles: NDArray[Any], wanted: Sequence[str]) -> list[NDArray[Any]]:
    """A model that rebuilds black: the map does not depend on where tiles are cut."""
    maps = np.square(tiles.astype(np.float32) / 255)
    n = len(tiles)
    known = {"map": maps, "reconstruction": maps.sum((1, 2, 3)), "kl": np.full(n, 2.0), "ssim": np.full(n, 0.25),
             "top": np.zeros(n), "peak": np.zeros(n)}  # fmt: skip
    return [known[name] for name in wanted]


def _constant(tiles: NDArray[Any], wanted: Sequence[str]) -> list[NDArray[Any]]:
    return [np.full(tiles.shape if name == "map" else len(tiles), 0.7, np.float32) for name in wanted]


@pytest.mark.parametrize("length", [16, 17, 28, 29, 100])
@pytest.mark.parametrize("overlap", [0, 4, 8])
def test_tiles_cover_an_axis_and_end_at_its_edge(length: int, overlap: int) -> None:
    covered = np.zeros(length, int)
    for start in starts(length, 16, overlap):
        covered[start : start + 16] += 1
    assert covered.min() >= 1
    assert starts(length, 16, overlap)[-1] == length - 16
    assert (ramp(16, overlap) > 0).all()


@pytest.mark.parametrize("shape", [(16, 16), (16, 60), (61, 47), (100, 33)])
@pytest.mark.parametrize("overlap", [0, 4, 8])
def test_a_constant_map_has_no_seams(shape: tuple[int, int], overlap: int) -> None:
    spec = InputSpec((16, 16, 3), "uint8", "nhwc", 0.0, 255.0, (), fit="exact", overlap=overlap)
    x = np.full((1, *shape, 3), 90, np.uint8)
    found = picture_outputs(x, spec, SCORE, NAMES, _constant, maps=True)["map"]
    assert found.shape == x.shape
    np.testing.assert_allclose(found, 0.7, rtol=1e-6)


def test_scores_of_a_picture_follow_the_rule_of_each_head() -> None:
    x = np.random.default_rng(0).integers(0, 256, (2, 61, 47, 3), dtype=np.uint8)
    found = picture_outputs(x, SPEC, SCORE, NAMES, _map_is_the_square, maps=True)
    whole = np.square(x.astype(np.float64) / 255)
    places = whole.sum(3).reshape(2, -1)
    np.testing.assert_allclose(found["map"], whole, rtol=1e-5)
    np.testing.assert_allclose(found["reconstruction"], whole.sum((1, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(found["peak"], places.max(1), rtol=1e-5)
    count = math.ceil(0.01 * places.shape[1])
    np.testing.assert_allclose(found["top"], np.sort(places, 1)[:, -count:].mean(1), rtol=1e-5)
    # Each pixel of a picture has the KL of one tile's pixel, and a mean stays a mean.
    np.testing.assert_allclose(found["kl"], 2.0 * 61 * 47 / 256, rtol=1e-5)
    np.testing.assert_allclose(found["score"], found["reconstruction"] + found["kl"], rtol=1e-6)
    np.testing.assert_allclose(found["ssim"], 0.25, rtol=1e-6)


def test_channels_may_come_first() -> None:
    x = np.random.default_rng(0).integers(0, 256, (1, 40, 33, 3), dtype=np.uint8)
    first = InputSpec((3, 16, 16), "uint8", "nchw", 0.0, 255.0, (), fit="exact", overlap=4)
    a = picture_outputs(x, SPEC, SCORE, NAMES, _map_is_the_square, maps=True)
    b = picture_outputs(np.moveaxis(x, 3, 1), first, SCORE, NAMES, _map_is_the_square, maps=True)
    np.testing.assert_allclose(np.moveaxis(b["map"], 1, 3), a["map"], rtol=1e-6)
    np.testing.assert_allclose(b["score"], a["score"], rtol=1e-6)


def test_memory_is_that_of_a_band_whatever_the_height_of_a_mapped_picture(tmp_path: Path) -> None:
    def most(height: int) -> int:
        path = tmp_path / f"{height}.npy"
        np.lib.format.open_memmap(path, "w+", np.uint8, (1, height, 512, 3))[:] = 7
        x = np.load(path, mmap_mode="r")
        tracemalloc.start()
        picture_outputs(x, SPEC, SCORE, NAMES, _map_is_the_square)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    low, tall = most(256), most(2048)
    assert tall < low + 2 * 4 * 2048 * 512 * 0.02 + 200_000, "beyond the largest places, memory grew with the height"


def test_pictures_that_cannot_be_cut_are_refused() -> None:
    few, grey, short = (
        np.zeros((40, 40, 3), np.uint8),
        np.zeros((1, 40, 40, 1), np.uint8),
        np.zeros((1, 15, 40, 3), "u1"),
    )
    for wrong in (few, grey, short, np.zeros((1, 40, 40, 3), np.float32), [1]):
        with pytest.raises(InputError):
            check_pictures(wrong, SPEC)


def test_tiles_for_training_are_those_of_scoring_and_as_many_as_asked_for() -> None:
    x = np.arange(40 * 33 * 3, dtype=np.uint32).reshape(1, 40, 33, 3).astype(np.uint8)
    every = cut_tiles(x, SPEC, 1000)
    assert len(every) == len(starts(40, 16, 4)) * len(starts(33, 16, 4))
    np.testing.assert_array_equal(every[0], x[0, :16, :16])
    np.testing.assert_array_equal(every[-1], x[0, -16:, -16:])
    assert len(cut_tiles(x, SPEC, 5)) == 5


def test_the_engine_gets_a_bounded_number_of_pixels_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = []

    def run(tiles: NDArray[Any], wanted: Sequence[str]) -> list[NDArray[Any]]:
        counts.append(len(tiles))
        return _constant(tiles, wanted)

    monkeypatch.setattr(tiling, "PIXELS_AT_ONCE", 5 * 16 * 16)
    picture_outputs(np.zeros((1, 28, 256, 3), np.uint8), SPEC, SCORE, ("top",), run)
    assert max(counts) == 5
    assert sum(counts) == 2 * 21


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ({"calibrated_size": (40,)}, "no tile fits into"),
        ({"calibrated_size": (40, 40, 3)}, "no tile fits into"),
        ({"calibrated_size": (15, 40)}, "no tile fits into"),
        ({"calibrated_size": (40, 40), "overlap": None}, "of pictures in tiles"),
    ],
)
def test_a_calibrated_size_that_no_tile_fits_into_is_refused(wrong: dict[str, object], problem: str) -> None:
    fields: dict[str, object] = {"overlap": 4, "calibrated_size": (16, 40)}
    InputSpec((16, 16, 3), "uint8", "nhwc", 0.0, 255.0, (), **fields)  # type: ignore[arg-type]
    with pytest.raises(BundleInvalid, match=problem):
        InputSpec((16, 16, 3), "uint8", "nhwc", 0.0, 255.0, (), **(fields | wrong))  # type: ignore[arg-type]


def test_a_bundle_that_does_not_know_its_size_says_nothing() -> None:
    spec = InputSpec((16, 16, 3), "uint8", "nhwc", 0.0, 255.0, (), overlap=4)
    assert size_warning(spec, "elbo", (90, 80, 3)) is None
    known = dataclasses.replace(spec, calibrated_size=(90, 80))
    assert size_warning(known, "elbo", (90, 80, 3)) is None
    assert size_warning(known, "gradient", (80, 90, 3)) is not None
    assert size_warning(known, "ssim", (80, 90, 3)) is None
