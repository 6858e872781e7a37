"""How long a call computes, for tests that compare one input with a larger one.

A limit in seconds fails on a slow, a busy or an emulated machine, and proves little on a fast one. Tests of linear
time compare two inputs on the machine that they run on.
"""

from __future__ import annotations

import time
from collections.abc import Callable


def least_cpu_s(call: Callable[[], object], repeats: int = 3) -> float:
    """CPU seconds that this process needs for ``call``, all its threads together: the least of ``repeats`` calls."""
    taken = []
    for _ in range(repeats):
        start = time.process_time()
        call()
        taken.append(time.process_time() - start)
    return min(taken)
