"""Where the codes of normal rows lie: their mean and covariance, for the Mahalanobis head. Pure numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import BundleInvalid, CalibrationError
from ..record import record

F32 = NDArray[np.float32]

MAX_LATENTS = 512
"""The whitening matrix holds d * d float32: 1 MB at 512."""


def statistics_bytes(latents: int) -> int:
    """Size of the member for a code of so many elements."""
    return 4 * latents * (1 + latents)


@record(frozen=True, eq=False)
class LatentStatistics:
    """Mean and whitening matrix of the codes of normal rows.

    Attributes:
        mean: (d,) float32. whiten: (d, d) float32 with whiten' whiten = covariance^-1.
    """

    mean: F32
    whiten: F32

    @classmethod
    def fit(cls, codes: NDArray[Any]) -> LatentStatistics:
        """Mean and shrunk covariance of codes (n, *latent_shape).

        The covariance is (1 - r) S + r (tr S / d) I with r after Ledoit & Wolf, "A well-conditioned
        estimator for large-dimensional covariance matrices", 2004: it can be inverted with fewer rows than
        latents, and where latents are dead.

        Raises:
            CalibrationError: more latents than MAX_LATENTS, or codes that do not vary at all.
        """
        flat = codes.reshape(len(codes), -1).astype(np.float64)
        n, d = flat.shape
        if d > MAX_LATENTS:
            raise CalibrationError(
                f"the head 'mahalanobis' is for at most {MAX_LATENTS} latents, this code has {d}: leave it out"
            )
        mean = flat.mean(0)
        centred = flat - mean
        covariance = centred.T @ centred / n
        size = float(np.trace(covariance)) / d
        if not size > 0:
            raise CalibrationError("the codes of the calibration rows do not vary: there is no Mahalanobis distance")
        distance = float(np.square(covariance).sum()) / d - size**2
        squares = np.square(centred)
        spread = (float((squares.T @ squares).sum()) / n - float(np.square(covariance).sum())) / (d * n)
        shrink = min(1.0, max(0.0, spread / distance)) if distance > 0 else 1.0
        shrunk = (1 - shrink) * covariance
        shrunk[np.diag_indices(d)] += shrink * size + 1e-9 * size
        values, vectors = np.linalg.eigh(shrunk)
        whiten = (vectors / np.sqrt(values)).T
        return cls(mean.astype(np.float32), whiten.astype(np.float32))

    def distance(self, codes: NDArray[Any]) -> F32:
        """Mahalanobis distance of codes (n, *latent_shape) from the normal ones, (n,) float32.

        Denouden et al., "Improving reconstruction autoencoder out-of-distribution detection", 2018.
        """
        away = codes.reshape(len(codes), self.mean.size).astype(np.float64) - self.mean
        # einsum and not @: BLAS sums a row alone in another order than the same row in a batch.
        white = np.einsum("nd,kd->nk", away, self.whiten.astype(np.float64))
        return np.asarray(np.sqrt(np.square(white).sum(1)), dtype=np.float32)

    def to_bytes(self) -> bytes:
        """Little-endian float32: mean, then the matrix row by row."""
        return self.mean.astype("<f4").tobytes() + self.whiten.astype("<f4").tobytes()

    @classmethod
    def from_bytes(cls, raw: bytes) -> LatentStatistics:
        """Read what ``to_bytes`` wrote.

        Raises:
            BundleInvalid: a number is not finite, or their count is no d * (1 + d).
        """
        numbers = np.frombuffer(raw, dtype="<f4").astype(np.float32)
        d = int((np.sqrt(1 + 4 * numbers.size) - 1) / 2)
        if d * (d + 1) != numbers.size or d == 0 or not np.isfinite(numbers).all():
            raise BundleInvalid("the statistics of the latents are not finite numbers of a mean and a matrix")
        return cls(numbers[:d], numbers[d:].reshape(d, d))
