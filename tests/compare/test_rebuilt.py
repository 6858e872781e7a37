"""Reconstructions of images by two sessions, against SSIM and PSNR of the whole."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from vae_edge.bench.rows import Rows
from vae_edge.compare.rebuilt import Rebuilt
from vae_edge_export.agreement import psnr_db, ssim
from vae_edge_runtime.format.specs import InputSpec, TensorSpec


class Painter:
    """A session whose posterior is the row itself, and whose reconstruction is it, shifted."""

    def __init__(self, layout: Any, shape: tuple[int, ...], shift: float, high: float = 255.0) -> None:
        self.manifest = SimpleNamespace(
            input=InputSpec(shape, "uint8", layout, 0.0, high, ()), output=TensorSpec("x_hat", "float32", shape)
        )
        self.shift = shift

    def encode(self, x: np.ndarray, *, condition: Any) -> SimpleNamespace:
        return SimpleNamespace(mean=x.astype(np.float32) + self.shift)

    def decode(self, posterior: SimpleNamespace, *, condition: Any) -> np.ndarray:
        mean = posterior.mean
        return np.where(np.arange(mean.shape[-1]) % 2, mean, mean - 2 * self.shift)


def _rebuilt(layout: str, shape: tuple[int, ...], high: float = 255.0) -> tuple[Rebuilt, np.ndarray]:
    x = np.random.default_rng(0).integers(0, 256, size=(6, *shape), dtype=np.uint8)
    found = Rebuilt(Painter(layout, shape, 1.0, high), Painter(layout, shape, 5.0, high))  # type: ignore[arg-type]
    for part in np.split(x, 2):
        found.add(Rows(part, None, None, "x", "file"))
    return found, x


@pytest.mark.parametrize(("layout", "shape"), [("nchw", (3, 12, 13)), ("nhwc", (12, 13, 3))])
def test_images_of_both_layouts_get_their_ssim_and_psnr(layout: str, shape: tuple[int, ...]) -> None:
    rebuilt, x = _rebuilt(layout, shape)
    found = rebuilt.figures()
    assert found is not None
    a, b = (p.decode(p.encode(x, condition=None), condition=None) for p in (rebuilt.a, rebuilt.b))
    assert (found.rows, found.peak) == (6, 255.0)
    assert found.psnr_db.worst == pytest.approx(psnr_db(a, b, 255.0).min())
    assert found.psnr_b_db is not None
    assert found.psnr_b_db.worst == pytest.approx(20 * np.log10(255 / 5))
    if layout == "nhwc":
        a, b = np.moveaxis(a, 3, 1), np.moveaxis(b, 3, 1)
    assert found.ssim is not None
    assert found.ssim.worst == pytest.approx(ssim(a, b, 255.0).min())


def test_means_are_those_of_all_rows_in_their_order() -> None:
    rebuilt, x = _rebuilt("nchw", (1, 2, 2))
    a, b = rebuilt.means()
    assert np.array_equal(a, x.astype(np.float32) + 1)
    assert np.array_equal(b, x.astype(np.float32) + 5)


def test_images_smaller_than_the_window_have_no_ssim() -> None:
    found = _rebuilt("nchw", (1, 10, 30))[0].figures()
    assert found is not None
    assert found.ssim is None


def test_a_range_of_nothing_leaves_nothing_to_compare() -> None:
    assert _rebuilt("nchw", (1, 12, 12), high=0.0)[0].figures() is None
