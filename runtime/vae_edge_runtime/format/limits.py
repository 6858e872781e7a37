"""Every limit of what a bundle may ask for, in one place; ``docs/limits.md`` lists them for users."""

from __future__ import annotations

from collections.abc import Iterable

IR_VERSION_MAX = 10
OPSET_MIN, OPSET_MAX = 17, 18
MAX_BUNDLE_BYTES = (1 << 31) - 1
MAX_MEMBERS = 4096
MAX_MANIFEST_BYTES = 4 << 20
MAX_JSON_DEPTH = 16
MAX_JSON_NUMBER = 64
"""Characters of one number: more than any float64 or 64-bit integer needs."""
MAX_VARIANTS = 16
MAX_PARTS = 64
"""Of one graph."""
MAX_FIELDS = 1 << 17
"""Of one protobuf message: each costs some 100 bytes of this process before anything is known of it."""
MAX_NODES = 1 << 16
MAX_INITIALIZERS = 1 << 16
MAX_RANK = 16
"""Dimensions of a tensor, so also values of a literal shape."""
MAX_TENSOR_ELEMENTS = (1 << 31) - 1
"""Of an initializer."""
MAX_ELEMENTS = 1 << 28
"""Of a tensor that a graph makes, for one row."""
MOST_ROWS = 64
"""Of one run of an engine."""
MAX_KNOWN_ELEMENTS = 4096
"""Of a tensor whose values the scanner works out."""
MAX_WINDOW = 1 << 16
"""Of a kernel, stride, dilation or padding along one axis."""


def product(sizes: Iterable[int], limit: int) -> int:
    """The product of sizes, a size of 0 counting as 1, or the first partial product above ``limit``.

    200,000 factors of 2^62 took minutes when multiplied to the end.

    >>> product([1 << 62] * 200_000, 1 << 28) == 1 << 62
    True
    """
    count = 1
    for size in sizes:
        count *= max(abs(size), 1)
        if count > limit:
            break
    return count
