"""Latents and reconstructions of the same rows by two sessions."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_edge.bench.rows import Rows
from vae_edge_runtime import VAE

from .report import Reconstructions, Spread


class Rebuilt:
    """Posterior means and reconstructions of both, a bounded number of rows at a time."""

    def __init__(self, a: VAE, b: VAE) -> None:
        self.a, self.b = a, b
        self._means_a: list[NDArray[Any]] = []
        self._means_b: list[NDArray[Any]] = []
        self._same_rows: list[NDArray[np.float64]] = []
        self._similar: list[NDArray[np.float64]] = []
        self._a_to_x: list[NDArray[np.float64]] = []
        self._b_to_x: list[NDArray[np.float64]] = []
        row, output = a.manifest.input, a.manifest.output
        self.peak = row.high - row.low
        self.comparable = output.shape == b.manifest.output.shape and self.peak > 0
        self.is_row = output.shape == row.shape

    def add(self, part: Rows) -> None:
        """Encode and decode rows that both have scored."""
        from vae_edge_export.agreement import psnr_db, ssim

        post_a = self.a.encode(part.x, condition=part.condition)
        post_b = self.b.encode(part.x, condition=part.condition)
        self._means_a.append(post_a.mean)
        self._means_b.append(post_b.mean)
        if not self.comparable:
            return
        hat_a = self.a.decode(post_a, condition=part.condition)
        hat_b = self.b.decode(post_b, condition=part.condition)
        self._same_rows.append(psnr_db(hat_a, hat_b, self.peak))
        if self.is_row:
            self._a_to_x.append(psnr_db(part.x, hat_a, self.peak))
            self._b_to_x.append(psnr_db(part.x, hat_b, self.peak))
        images = self._as_images(hat_a), self._as_images(hat_b)
        if images[0] is not None and images[1] is not None:
            self._similar.append(ssim(images[0], images[1], self.peak))

    def _as_images(self, rows: NDArray[Any]) -> NDArray[Any] | None:
        """(n, c, h, w); None for what is no image, or too small for SSIM's window."""
        from vae_edge_export.agreement import WINDOW

        layout = self.a.manifest.input.layout
        if not self.is_row or layout not in ("nchw", "nhwc"):
            return None
        images = rows if layout == "nchw" else np.moveaxis(rows, 3, 1)
        return images if min(images.shape[2:]) >= WINDOW else None

    def means(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Posterior means of both, over all rows."""
        return np.concatenate(self._means_a), np.concatenate(self._means_b)

    def figures(self) -> Reconstructions | None:
        """Over all rows; None where there is nothing to compare."""
        between = _spread(self._same_rows)
        if between is None:
            return None
        count = sum(len(values) for values in self._same_rows)
        return Reconstructions(
            count, self.peak, between, _spread(self._similar), _spread(self._a_to_x), _spread(self._b_to_x)
        )


def _spread(parts: list[NDArray[np.float64]]) -> Spread | None:
    if not parts:
        return None
    values = np.concatenate(parts)
    median = float(np.quantile(values, 0.5, method="inverted_cdf"))  # of infinities there is no mean
    return Spread(median, float(values.min()))
