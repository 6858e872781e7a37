"""Latents drawn from a bundle's prior: pure numpy, the same bits on every device for one seed.

Stream 0 of a seed holds the normal noise, stream 1 the words that choose a component or a code.
A choice compares the upper 32 bits of a word with cumulated probabilities stored as whole
numbers (``cumulated``), so that no rounding of a device can change it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import BundleInvalid, OptionError
from ..format.specs import LatentSpec, element_count
from .noise import philox_words, standard_normal

U32 = NDArray[np.uint32]
_ONE = 1 << 32
_CHOICES = 1


def cumulated(probabilities: NDArray[Any]) -> U32:
    """Probabilities (tables, k) to rounded cumulated ones, uint32 (tables, k): choice i is what a
    word w in [0, 2**32) gets where i values are <= min(w, 2**32 - 2).

    Raises:
        OptionError: a probability is negative or not finite, or a table adds up to 0.
    """
    p = np.asarray(probabilities, dtype=np.float64)
    if p.ndim != 2 or not np.isfinite(p).all() or (p < 0).any() or not (p.sum(axis=1) > 0).all():
        raise OptionError("probabilities must be a table (positions, codes), not negative, each row with a sum above 0")
    total = np.cumsum(p, axis=1) / p.sum(axis=1, keepdims=True)
    return np.asarray(np.minimum(np.round(total * _ONE), _ONE - 1), dtype=np.uint32)


def choose(tables: U32, n: int, positions: int, *, seed: int) -> NDArray[np.int64]:
    """(n, positions) int64: one choice per position, from its own table or from the one there is."""
    words = philox_words(n * positions, seed=seed, stream=_CHOICES) >> np.uint64(32)
    # A stored 2**32 - 1 stands for 2**32, which no word reaches: the largest word must not pass it.
    words = np.minimum(words, np.uint64(_ONE - 2)).astype(np.uint32).reshape(n, positions)
    codes = np.empty((n, positions), dtype=np.int64)
    for position in range(positions):
        table = tables[position if len(tables) > 1 else 0]
        codes[:, position] = np.searchsorted(table[:-1], words[:, position], side="right")
    return codes


def mixture_bytes(weights: NDArray[Any], means: NDArray[Any], stds: NDArray[Any]) -> bytes:
    """A mixture of diagonal Gaussians as a member: weights (k,), means and stds (k, *latent_shape).

    Cumulated weights as uint32, then means, then standard deviations, as little-endian float32.
    """
    return b"".join(
        [
            cumulated(np.asarray(weights)[None])[0].astype("<u4").tobytes(),
            np.ascontiguousarray(means, dtype="<f4").tobytes(),
            np.ascontiguousarray(stds, dtype="<f4").tobytes(),
        ]
    )


def table_bytes(probabilities: NDArray[Any]) -> bytes:
    """A categorical prior as a member: probabilities (positions or 1, codes), cumulated, uint32."""
    return cumulated(probabilities).astype("<u4").tobytes()


def check_prior(spec: LatentSpec, raw: bytes) -> None:
    """Raise BundleInvalid unless the member holds a prior that can be drawn from."""
    k = spec.prior.components
    if spec.prior.kind == "categorical":
        tables = np.frombuffer(raw, dtype="<u4").reshape(k, spec.codebook)
    else:
        tables = np.frombuffer(raw[: 4 * k], dtype="<u4").reshape(1, k)
        numbers = np.frombuffer(raw[4 * k :], dtype="<f4")
        if not np.isfinite(numbers).all() or (numbers[len(numbers) // 2 :] < 0).any():
            raise BundleInvalid("a number of the prior is not finite, or a standard deviation is negative")
    if (np.diff(tables.astype(np.int64), axis=1) < 0).any() or not (tables[:, -1] == _ONE - 1).all():
        raise BundleInvalid("the cumulated probabilities of the prior do not ascend to 1")


@np.errstate(over="ignore", invalid="ignore")  # the means of a stranger may be anything; decode refuses them
def draw(spec: LatentSpec, raw: bytes, n: int, *, seed: int, temperature: float) -> NDArray[Any]:
    """``n`` latents: float32 (n, *shape), or int64 for codes. ``raw`` is the prior's member.

    Raises:
        OptionError: the model has no prior, or the temperature has no meaning for it.
    """
    prior, shape = spec.prior, (n, *spec.shape)
    if prior.kind == "none":
        raise OptionError(f"this model cannot be sampled: {prior.source}. decode(z) takes latents of your own")
    if prior.kind == "categorical":
        if temperature != 1.0:
            raise OptionError("a table of code probabilities has no temperature: leave it at 1")
        tables = np.frombuffer(raw, dtype="<u4").reshape(prior.components, spec.codebook).astype(np.uint32)
        return choose(tables, n, element_count(spec.shape), seed=seed).reshape(shape)
    noise = np.asarray(np.float32(temperature) * standard_normal(math.prod(shape), seed=seed)).reshape(shape)
    if prior.kind == "standard_normal":
        return noise
    k = prior.components
    weights = np.frombuffer(raw[: 4 * k], dtype="<u4").reshape(1, k).astype(np.uint32)
    means, stds = np.frombuffer(raw[4 * k :], dtype="<f4").astype(np.float32).reshape(2, k, *spec.shape)
    chosen = choose(weights, n, 1, seed=seed)[:, 0]
    return np.asarray(means[chosen] + stds[chosen] * noise, dtype=np.float32)
