"""Standard normal noise that is the same, bit for bit, in every language and on every device.

Philox4x64-10 (Salmon et al., SC 2011, as in ``numpy.random.Philox``) gives 64-bit words; word w
becomes the uniform u = (floor(w / 2**11) + 0.5) / 2**53, but at most 1 - 2**-53; the normal is the
inverse distribution function of u by ``quantile.normal_quantile`` in float64, rounded once to
float32. ``docs/concepts.md`` holds test vectors.
"""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

from ..arguments import row_count
from ..errors import OptionError

_DROPPED_BITS = np.uint64(11)
_THREAD = threading.local()
_NOTHING = np.zeros(4, dtype=np.uint64)


def standard_normal(count: int, *, seed: int, stream: int = 0) -> NDArray[np.float32]:
    """The first ``count`` standard normal values of a (seed, stream) pair, float32 (count,).

    Args:
        count: of values.
        seed, stream: whole numbers from 0 to 2**64 - 1; the two words of Philox's key.

    Raises:
        OptionError: one of them is no whole number, or out of range.

    >>> standard_normal(3, seed=7).tolist() == standard_normal(5, seed=7)[:3].tolist()
    True
    """
    from .quantile import rounded_normal_quantile  # not at the top: whoever draws nothing pays nothing at start

    words = philox_words(count, seed=seed, stream=stream)
    return rounded_normal_quantile(((words >> _DROPPED_BITS).astype(np.float64) + 0.5) * 2.0**-53)


def philox_words(count: int, *, seed: int, stream: int = 0) -> NDArray[np.uint64]:
    """The first ``count`` 64-bit words of a (seed, stream) pair, uint64 (count,).

    Raises:
        OptionError: as ``standard_normal``.
    """
    for name, value in (("seed", seed), ("stream", stream)):
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not 0 <= int(value) < 1 << 64:
            raise OptionError(f"{name} is {value!r}; it must be a whole number from 0 to 2**64 - 1")
    count = row_count("count", count, low=0, bytes_per_row=8)
    key = np.array([seed, stream], dtype=np.uint64)
    generator = _generator()
    generator.state = {
        "bit_generator": "Philox",
        "state": {"counter": _NOTHING, "key": key},
        "buffer": _NOTHING,
        "buffer_pos": len(_NOTHING),  # empty
        "has_uint32": 0,
        "uinteger": 0,
    }
    return np.asarray(generator.random_raw(count), dtype=np.uint64)


def _generator() -> np.random.Philox:
    """That of this thread: to set one back takes 2 us, to make one 14."""
    philox: np.random.Philox | None = getattr(_THREAD, "philox", None)
    if philox is None:
        philox = _THREAD.philox = np.random.Philox(0)
    return philox
