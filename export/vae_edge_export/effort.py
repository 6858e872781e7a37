"""How many rows a check may spend on a model that takes long for each: in multiplications, the same on every machine.

A check of a graph needs few rows: every operation runs for every pixel of every row, so a graph that computes
something else differs on the first. More rows show rounding in more places. A network for large pictures takes 10**12
multiplications and more for one row, and 64 rows would be hours.
"""

from __future__ import annotations

CHECK_MULTIPLICATIONS = 4 * 10**12
"""Of one check: 64 rows of 6 * 10**10 multiplications, 12 times what the colour model of the benchmarks takes."""
COMPARED_ROWS = 64


def rows_affordable(multiplications: int, *, most: int, least: int = 2) -> int:
    """How many of ``most`` rows of so many multiplications each one check looks at; at least ``least``.

    Example:
        >>> rows_affordable(10**10, most=64), rows_affordable(18 * 10**11, most=64)
        (64, 2)
    """
    return min(most, max(least, CHECK_MULTIPLICATIONS // max(1, multiplications)))


def is_costly(multiplications: int) -> bool:
    """Whether fewer rows are compared than for other models."""
    return rows_affordable(multiplications, most=COMPARED_ROWS) < COMPARED_ROWS


def in_words(multiplications: int, compared: int, *, scored: bool = True, doubled: bool = True) -> str:
    """What was reduced for a costly model, and what still holds.

    Args:
        compared: rows, in float64 where ``doubled``. scored: whether the bundle has scores.
    """
    rows = f"{compared} in float64" if doubled else f"{compared}"
    said = (
        f"one row takes {multiplications / 1e9:.3g} billion multiplications, so checks look at fewer rows: {rows} "
        "in place of more, and black and far too large ones as made-up rows in place of six kinds. Every "
        "operation of a graph still runs at every pixel of them"
    )
    return f"{said}, and every calibration and held-out row is still scored" if scored else said
