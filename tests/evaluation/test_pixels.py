from __future__ import annotations

import numpy as np
import pytest

from vae_edge.evaluation.pixels import map_shape, pixel_figures, sum_channels
from vae_edge_runtime import InputError, OptionError
from vae_edge_runtime.format.specs import InputSpec

pytest.importorskip("sklearn")


def masks() -> np.ndarray:
    """Two images of 10 x 10: a region of 16 pixels, and one of a single pixel."""
    found = np.zeros((2, 10, 10), dtype=np.uint8)
    found[0, 1:5, 1:5] = 1
    found[1, 8, 8] = 1
    return found


def test_a_perfect_map_has_ones_and_an_inverted_one_zeros() -> None:
    perfect = pixel_figures(masks().astype(np.float32), masks())
    assert (perfect.auroc, perfect.average_precision, perfect.pro) == pytest.approx((1.0, 1.0, 1.0))
    inverted = pixel_figures(1.0 - masks(), masks())
    assert (inverted.auroc, inverted.pro) == pytest.approx((0.0, 0.0))
    assert inverted.average_precision == pytest.approx(17 / 200)


def test_a_constant_map_has_the_pro_of_the_diagonal() -> None:
    # Overlap = false positive rate; its mean up to 0.3 is 0.15.
    found = pixel_figures(np.zeros((2, 10, 10)), masks())
    assert found.pro == pytest.approx(0.15)
    assert found.auroc == 0.5


def test_every_region_counts_alike_in_pro_and_by_size_in_auroc() -> None:
    large = pixel_figures(masks() * np.array([1, 0])[:, None, None], masks())
    small = pixel_figures(masks() * np.array([0, 1])[:, None, None], masks())
    # One region of two at once, the other along the diagonal: 0.5 + 0.15 / 2.
    assert large.pro == pytest.approx(0.575)
    assert small.pro == pytest.approx(0.575)
    assert large.auroc == pytest.approx((16 + 1 / 2) / 17)
    assert small.auroc == pytest.approx((1 + 16 / 2) / 17)


def test_pro_of_four_thresholds_by_hand() -> None:
    # A region of two pixels, ten normal ones; one of these lies between the two.
    mask = np.zeros((1, 1, 12), dtype=bool)
    mask[0, 0, :2] = True
    scores = np.array([[[9.0, 7.0, 8.0, 6.0, 0, 0, 0, 0, 0, 0, 0, 0]]])
    # The curve: overlap 0.5 at FPR 0, flat up to 0.1, then 1: (0.1 * 0.5 + 0.2 * 1) / 0.3.
    assert pixel_figures(scores, mask).pro == pytest.approx(0.25 / 0.3)


def test_a_jump_at_the_limit_itself_earns_nothing() -> None:
    mask = np.zeros((1, 1, 11), dtype=bool)
    mask[0, 0, 0] = True
    scores = np.array([[[5.0, 9, 9, 9, 0, 0, 0, 0, 0, 0, 0]]])
    assert pixel_figures(scores, mask).pro == pytest.approx(0.0)


def test_pixels_that_touch_at_a_corner_are_one_region_and_those_of_two_images_never() -> None:
    mask = np.zeros((2, 4, 4), dtype=bool)
    mask[0, 0, 0] = mask[0, 1, 1] = mask[1, 1, 1] = True
    assert pixel_figures(np.random.default_rng(0).random((2, 4, 4)), mask).regions == 2


def test_figures_agree_with_a_loop_over_all_thresholds() -> None:
    rng = np.random.default_rng(3)
    maps = rng.integers(0, 9, (2, 10, 10)) + 3 * masks()
    truth = masks().astype(bool)
    rate, overlap = [0.0], [0.0]
    for threshold in np.unique(maps)[::-1]:
        above = maps >= threshold
        rate.append(above[~truth].mean())
        overlap.append((above[0, 1:5, 1:5].mean() + above[1, 8, 8]) / 2)
    fine = np.linspace(0, 0.3, 30_001)
    expected = np.interp(fine, rate, overlap).mean()
    assert pixel_figures(maps, truth).pro == pytest.approx(expected, abs=1e-4)


def test_channels_are_summed_by_layout() -> None:
    x = np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4)
    np.testing.assert_array_equal(sum_channels(x, "nchw"), x.sum(1))
    np.testing.assert_array_equal(sum_channels(x, "nhwc"), x.sum(3))
    assert map_shape(InputSpec((2, 3, 4), "uint8", "nchw", 0, 1, ())) == (3, 4)
    assert map_shape(InputSpec((3, 4, 2), "uint8", "nhwc", 0, 1, ())) == (3, 4)
    with pytest.raises(OptionError, match="masks are for images"):
        map_shape(InputSpec((5, 4), "float32", "time_features", 0, 1, ()))


@pytest.mark.parametrize(
    ("maps", "mask", "problem"),
    [
        (np.zeros((1, 2, 2)), np.zeros((1, 2, 3)), "one mask per row"),
        (np.zeros((1, 2, 2)), np.full((1, 2, 2), 255), "masks > 0"),
        (np.zeros((1, 2, 2)), np.zeros((1, 2, 2)), "no pixel or every pixel"),
        (np.full((1, 2, 2), np.nan), np.eye(2)[None], "NaN or infinity"),
    ],
)
def test_masks_that_do_not_fit_are_refused(maps: np.ndarray, mask: np.ndarray, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        pixel_figures(maps, mask)
