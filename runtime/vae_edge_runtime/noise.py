"""Standard normal noise that is the same, bit for bit, in every language and on every device.

Philox4x64-10 (Salmon et al., SC 2011, as in ``numpy.random.Philox``) gives 64-bit words; word w
becomes the uniform u = (floor(w / 2**11) + 0.5) / 2**53; the normal is the inverse distribution
function of u by algorithm AS 241, PPND16 (Wichura, Applied Statistics 37, 1988), in float64,
rounded once to float32. Only +, -, *, / and sqrt touch the value, in a written-down order, and
the logarithm is our own from the same operations: libm's may differ in the last bit.
``docs/concepts.md`` holds test vectors.
"""

from __future__ import annotations

import math
import threading
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from .errors import OptionError

F64 = NDArray[np.float64]
Number = TypeVar("Number", float, F64)
Terms = tuple[float, ...]  # of a polynomial, the constant one first

_LN2_HIGH = 6.93147180369123816490e-01  # ln 2 in two parts, the first with 21 zero bits at its end
_LN2_LOW = 1.90821492927058770002e-10


# AS 241 PPND16, numerators and denominators.
_CENTRE = (
    (3.3871328727963666080e0, 1.3314166789178437745e2, 1.9715909503065514427e3, 1.3731693765509461125e4,
     4.5921953931549871457e4, 6.7265770927008700853e4, 3.3430575583588128105e4, 2.5090809287301226727e3),
    (1.0, 4.2313330701600911252e1, 6.8718700749205790830e2, 5.3941960214247511077e3,
     2.1213794301586595867e4, 3.9307895800092710610e4, 2.8729085735721942674e4, 5.2264952788528545610e3),
)  # fmt: skip
_MIDDLE = (
    (1.42343711074968357734e0, 4.63033784615654529590e0, 5.76949722146069140550e0, 3.64784832476320460504e0,
     1.27045825245236838258e0, 2.41780725177450611770e-1, 2.27238449892691845833e-2, 7.74545014278341407640e-4),
    (1.0, 2.05319162663775882187e0, 1.67638483018380384940e0, 6.89767334985100004550e-1,
     1.48103976427480074590e-1, 1.51986665636164571966e-2, 5.47593808499534494600e-4, 1.05075007164441684324e-9),
)  # fmt: skip
_TAIL = (
    (6.65790464350110377720e0, 5.46378491116411436990e0, 1.78482653991729133580e0, 2.96560571828504891230e-1,
     2.65321895265761230930e-2, 1.24266094738807843860e-3, 2.71155556874348757815e-5, 2.01033439929228813265e-7),
    (1.0, 5.99832206555887937690e-1, 1.36929880922735805310e-1, 1.48753612908506148525e-2,
     7.86869131145613259100e-4, 1.84631831751005468180e-5, 1.42151175831644588870e-7, 2.04426310338993978564e-15),
)  # fmt: skip
_SERIES: Terms = tuple(1.0 / k for k in range(1, 25, 2))

_FEW = 32
"""Up to so many values Python's floats are faster than arrays (measured: 16 values take 19 us instead of 41)."""

_SQRT_HALF = 0.7071067811865476


def _arrays(terms: Terms) -> tuple[F64, ...]:
    """Without a dimension: what numpy takes fastest beside an array."""
    return tuple(np.array(value) for value in terms)


_AS_ARRAYS = {pair: (_arrays(pair[0]), _arrays(pair[1])) for pair in (_CENTRE, _MIDDLE, _TAIL)}
_SERIES_AS_ARRAYS = _arrays(_SERIES)
_THREAD = threading.local()
_NOTHING = np.zeros(4, dtype=np.uint64)


def standard_normal(count: int, *, seed: int, stream: int = 0) -> NDArray[np.float32]:
    """The first ``count`` standard normal values of a (seed, stream) pair, float32 (count,).

    Args:
        seed, stream: whole numbers from 0 to 2**64 - 1; the two words of Philox's key.

    Raises:
        OptionError: seed or stream is outside that range, or not a whole number.

    >>> standard_normal(3, seed=7).tolist() == standard_normal(5, seed=7)[:3].tolist()
    True
    """
    words = philox_words(count, seed=seed, stream=stream)
    uniform = ((words >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
    return normal_quantile(uniform).astype(np.float32)


def philox_words(count: int, *, seed: int, stream: int = 0) -> NDArray[np.uint64]:
    """The first ``count`` 64-bit words of a (seed, stream) pair, uint64 (count,).

    Raises:
        OptionError: as ``standard_normal``.
    """
    for name, value in (("seed", seed), ("stream", stream)):
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not 0 <= int(value) < 1 << 64:
            raise OptionError(f"{name} is {value!r}; it must be a whole number from 0 to 2**64 - 1")
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
    found: np.random.Philox | None = getattr(_THREAD, "philox", None)
    if found is None:
        found = _THREAD.philox = np.random.Philox(0)
    return found


def normal_quantile(p: F64) -> F64:
    """Inverse of the standard normal distribution function, (n,), for 0 < p < 1 (AS 241, PPND16)."""
    if len(p) <= _FEW:
        return np.array([_quantile_of_one(value) for value in p.tolist()], np.float64)
    q = p - 0.5
    out = np.empty_like(p)
    centre = np.abs(q) <= 0.425
    inner, outer = q[centre], ~centre
    out[centre] = inner * _ratio(_AS_ARRAYS[_CENTRE], 0.180625 - inner * inner)
    q_outer, p_outer = q[outer], p[outer]
    if not len(q_outer):
        return out
    low = q_outer < 0
    r = np.sqrt(-_log(np.where(low, p_outer, 1.0 - p_outer)))
    magnitude = _ratio(_AS_ARRAYS[_MIDDLE], r - 1.6)
    far = r > 5.0
    if far.any():  # one value in 36 billion
        magnitude[far] = _ratio(_AS_ARRAYS[_TAIL], r[far] - 5.0)
    out[outer] = np.where(low, -magnitude, magnitude)
    return out


def _quantile_of_one(p: float) -> float:
    """``normal_quantile`` by the same operations in the same order, and so the same bits."""
    q = p - 0.5
    if abs(q) <= 0.425:
        return q * _ratio(_CENTRE, 0.180625 - q * q)
    mantissa, exponent = math.frexp(p if q < 0 else 1.0 - p)
    if mantissa < _SQRT_HALF:
        mantissa, exponent = mantissa * 2.0, exponent - 1
    r = math.sqrt(-_log_of_parts(mantissa, float(exponent), _SERIES))
    magnitude = _ratio(_TAIL, r - 5.0) if r > 5.0 else _ratio(_MIDDLE, r - 1.6)
    return -magnitude if q < 0 else magnitude


def _ratio(terms: tuple[tuple[Number, ...], tuple[Number, ...]], r: Number) -> Number:
    """One polynomial of r over the other."""
    return _horner(terms[0], r) / _horner(terms[1], r)


def _horner(terms: tuple[Number, ...], r: Number) -> Number:
    """A polynomial of r, one number or (n,)."""
    total = terms[-1] * r
    for term in terms[-2:0:-1]:
        total += term  # two roundings: neither Python nor numpy fuses them
        total *= r
    total += terms[0]
    return total


def _log(x: F64) -> F64:
    """Natural logarithm of positive normal numbers, (n,)."""
    mantissa, exponent = np.frexp(x)  # mantissa in [0.5, 1)
    small = mantissa < _SQRT_HALF
    mantissa = np.where(small, mantissa * 2.0, mantissa)
    return _log_of_parts(mantissa, exponent.astype(np.float64) - small, _SERIES_AS_ARRAYS)


def _log_of_parts(mantissa: Number, exponent: Number, series: tuple[Number, ...]) -> Number:
    """ln(m * 2**e) = e ln 2 + 2 artanh((m-1)/(m+1)), m in [0.707, 1.414)."""
    s = (mantissa - 1.0) / (mantissa + 1.0)
    # |s| < 0.1716, so the term after 1/23 is below 2**-60 of the sum.
    return exponent * _LN2_HIGH + (2.0 * s * _horner(series, s * s) + exponent * _LN2_LOW)
