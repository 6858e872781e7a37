"""The standard normal quantile: exactly as specified, and a quicker way to the same float32.

``normal_quantile`` is the specification: algorithm AS 241, PPND16 (Wichura, Applied Statistics 37, 1988), in
float64. Only +, -, *, / and sqrt touch the value, in a written-down order, and the logarithm is our own from the
same operations: libm's may differ in the last bit.

``rounded_normal_quantile`` is that rounded once to float32. Any float64 computation of the same ratios lies within
``_MARGIN`` of it; where everything that near rounds to one float32, that float32 is the specified one, whatever
libm, BLAS or fused operations made of the last bits (Ziv's rounding test, ACM TOMS 17, 1991). The few others,
one in four million, are computed as specified.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

_LN2_HIGH = 6.93147180369123816490e-01  # ln 2 in two parts, the first with 21 zero bits at its end
_LN2_LOW = 1.90821492927058770002e-10


# AS 241 PPND16, numerators and denominators (2, 8), the constant terms first.
_CENTRE = np.array((
    (3.3871328727963666080e0, 1.3314166789178437745e2, 1.9715909503065514427e3, 1.3731693765509461125e4,
     4.5921953931549871457e4, 6.7265770927008700853e4, 3.3430575583588128105e4, 2.5090809287301226727e3),
    (1.0, 4.2313330701600911252e1, 6.8718700749205790830e2, 5.3941960214247511077e3,
     2.1213794301586595867e4, 3.9307895800092710610e4, 2.8729085735721942674e4, 5.2264952788528545610e3),
))  # fmt: skip
_MIDDLE = np.array((
    (1.42343711074968357734e0, 4.63033784615654529590e0, 5.76949722146069140550e0, 3.64784832476320460504e0,
     1.27045825245236838258e0, 2.41780725177450611770e-1, 2.27238449892691845833e-2, 7.74545014278341407640e-4),
    (1.0, 2.05319162663775882187e0, 1.67638483018380384940e0, 6.89767334985100004550e-1,
     1.48103976427480074590e-1, 1.51986665636164571966e-2, 5.47593808499534494600e-4, 1.05075007164441684324e-9),
))  # fmt: skip
_TAIL = np.array((
    (6.65790464350110377720e0, 5.46378491116411436990e0, 1.78482653991729133580e0, 2.96560571828504891230e-1,
     2.65321895265761230930e-2, 1.24266094738807843860e-3, 2.71155556874348757815e-5, 2.01033439929228813265e-7),
    (1.0, 5.99832206555887937690e-1, 1.36929880922735805310e-1, 1.48753612908506148525e-2,
     7.86869131145613259100e-4, 1.84631831751005468180e-5, 1.42151175831644588870e-7, 2.04426310338993978564e-15),
))  # fmt: skip
_SERIES = 1.0 / np.arange(1.0, 25.0, 2.0)

_SQRT_HALF = 0.7071067811865476
_LARGEST = 1.0 - 2.0**-53

_MARGIN = 1e-14
"""Relative; two ways to compute one value differ by less than a fifth of it (measured over the whole range)."""
_FEW = 160
"""Up to so many values the standard library's quantile, one by one, is faster than arrays (measured)."""
_AT_ONCE = 4096
"""Values whose powers stay in a core's own cache, and whose product BLAS does not split between threads."""


def rounded_normal_quantile(p: F64) -> F32:
    """``normal_quantile`` of p in (0, 1], (n,), rounded to float32; 1 counts as the largest number below it.

    >>> rounded_normal_quantile(np.array([0.5, 0.975])).tolist()
    [0.0, 1.959964036941528]
    """
    if len(p) <= _FEW:
        nearly = _one_by_one(p)
    else:
        nearly = np.concatenate([_at_once(p[at : at + _AT_ONCE]) for at in range(0, len(p), _AT_ONCE)])
    rounded = (nearly * (1.0 + _MARGIN)).astype(np.float32)
    unclear = rounded != (nearly * (1.0 - _MARGIN)).astype(np.float32)  # what is not a number is unclear too
    if unclear.any():
        rounded[unclear] = normal_quantile(np.minimum(p[unclear], _LARGEST))
    return rounded


def _one_by_one(p: F64) -> F64:
    """Quantiles within ``_MARGIN``; not a number where p is 1."""
    quantile = _library_quantile()
    return np.array([quantile(value) if value < 1.0 else np.nan for value in p.tolist()], np.float64)


@cache
def _library_quantile() -> Callable[[float], float]:
    from statistics import NormalDist  # 7 ms, which who only scores never pays

    return NormalDist().inv_cdf


def _at_once(p: F64) -> F64:
    """Quantiles within ``_MARGIN``; not a number beyond 6.66 standard deviations, one value in 36 billion."""
    q = p - 0.5
    values: F64 = q * _ratio_by_powers(_CENTRE, 0.180625 - q * q)  # meaningless outside, and overwritten
    outer = np.flatnonzero(np.abs(q) > 0.425)
    if len(outer):
        q_outer, p_outer = q[outer], p[outer]
        r = np.sqrt(-np.log(np.maximum(np.minimum(p_outer, 1.0 - p_outer), 2.0**-54)))
        magnitude = _ratio_by_powers(_MIDDLE, r - 1.6)
        magnitude[r > 5.0] = np.nan
        values[outer] = np.copysign(magnitude, q_outer)
    return values


def _ratio_by_powers(terms: F64, r: F64) -> F64:
    """One polynomial over the other, terms (2, 8), as one product of matrices."""
    powers = np.empty((8, len(r)))
    powers[0], powers[1] = 1.0, r
    np.multiply(r, r, out=powers[2])
    np.multiply(powers[1:3], powers[2], out=powers[3:5])
    np.multiply(powers[1:4], powers[4], out=powers[5:8])
    over, under = terms @ powers
    ratio: F64 = over / under
    return ratio


def normal_quantile(p: F64) -> F64:
    """Inverse of the standard normal distribution function, (n,), for 0 < p < 1 (AS 241, PPND16)."""
    q = p - 0.5
    out = np.empty_like(p)
    centre = np.abs(q) <= 0.425
    inner, outer = q[centre], ~centre
    out[centre] = inner * _ratio(_CENTRE, 0.180625 - inner * inner)
    q_outer, p_outer = q[outer], p[outer]
    if not len(q_outer):
        return out
    low = q_outer < 0
    r = np.sqrt(-_log(np.where(low, p_outer, 1.0 - p_outer)))
    magnitude = _ratio(_MIDDLE, r - 1.6)
    far = r > 5.0
    if far.any():  # one value in 36 billion
        magnitude[far] = _ratio(_TAIL, r[far] - 5.0)
    out[outer] = np.where(low, -magnitude, magnitude)
    return out


def _ratio(terms: F64, r: F64) -> F64:
    """One polynomial of r over the other, terms (2, 8), term by term as specified."""
    return _horner(terms[0], r) / _horner(terms[1], r)


def _horner(terms: F64, r: F64) -> F64:
    """A polynomial of r, (n,)."""
    total: F64 = terms[-1] * r
    for term in terms[-2:0:-1]:
        total += term  # two roundings: numpy does not fuse them
        total *= r
    total += terms[0]
    return total


def _log(x: F64) -> F64:
    """Natural logarithm of positive normal numbers, (n,): ln(m * 2**e) = e ln 2 + 2 artanh((m-1)/(m+1))."""
    mantissa, exponent = np.frexp(x)  # mantissa in [0.5, 1)
    small = mantissa < _SQRT_HALF
    mantissa = np.where(small, mantissa * 2.0, mantissa)  # in [0.707, 1.414)
    power = exponent.astype(np.float64) - small
    s = (mantissa - 1.0) / (mantissa + 1.0)
    # |s| < 0.1716, so the term after 1/23 is below 2**-60 of the sum.
    return power * _LN2_HIGH + (2.0 * s * _horner(_SERIES, s * s) + power * _LN2_LOW)
