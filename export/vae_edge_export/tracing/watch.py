"""One run of a model in PyTorch before it is traced: what in it depends on its inputs, and what on weights alone.

Weights and buffers are constants of a trained model. A tracer does not know their values, so it stops at
``if self.initialized:`` and at a matrix inverse of a parameter. Here the model runs once, the storages that its inputs
reach are followed, and whatever they do not reach has a value that the trace can use (``steer``).
"""

from __future__ import annotations

import ast
import linecache
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from .torch_state import kept_rng, slow_attention
from .user_lines import Lines, is_users

QUESTIONS = frozenset(
    "__bool__ __int__ __float__ __index__ item tolist is_nonzero equal allclose numpy".split()  # noqa: SIM905
)
"""Functions that turn a tensor into a Python value."""
_OF_WEIGHTS = frozenset(
    """
    inverse pinverse matrix_exp matrix_power det logdet slogdet cholesky cholesky_solve cholesky_inverse qr svd lu
    lu_solve triangular_solve lstsq nonzero unique argwhere masked_select where lgamma digamma polygamma erfinv i0 i1
    median nanmedian kthvalue mode cumprod cummax cummin logcumsumexp searchsorted histc bincount trapz trapezoid
    householder_product orgqr stft istft
    """.split()  # noqa: SIM905
)
"""Functions without an export, or with a shape that depends on values; computed here where weights decide them."""
_ONLY_SAYS = frozenset("warn warning error info debug print log critical exception".split())  # noqa: SIM905

Key = tuple[str, str]


@dataclass(frozen=True)
class Answer:
    """What a function gave; ``known`` where a trace may take it for a constant."""

    value: Any
    known: bool


@dataclass
class Watched:
    """What one run showed.

    Attributes:
        answers: per function and line, in the order of the calls.
        lines: operation to the line that first ran it.
        checks: lines of checks on values that only raise, which are left out of a graph.
    """

    answers: dict[Key, list[Answer]] = field(default_factory=lambda: defaultdict(list))
    lines: dict[str, str] = field(default_factory=dict)
    checks: dict[str, None] = field(default_factory=dict)


def watch(module: nn.Module, rows: Sequence[Tensor]) -> Watched:
    """Run ``module`` on a copy of ``rows``."""
    copies = [row.clone() for row in rows]
    reached = _Reached(copies)
    with kept_rng(), slow_attention(), torch.no_grad(), reached, _Ask(reached) as ask:
        module(*copies)
    watched: Watched = ask.watched
    watched.lines = reached.of
    return watched


def key_of(function: Any) -> Key:
    """Name of a function and the user's line that calls it."""
    return getattr(function, "__name__", ""), line_at_work()


def line_at_work() -> str:
    """file:line of the innermost running frame that is the user's."""
    frame = sys._getframe(1)
    while frame is not None:
        if is_users(frame.f_code.co_filename):
            return f"{frame.f_code.co_filename}:{frame.f_lineno}"
        frame = frame.f_back  # type: ignore[assignment]
    return ""


def is_of_weights(name: str) -> bool:
    """Whether a function is worth computing where only weights go into it."""
    return name in _OF_WEIGHTS or name.startswith("linalg_")


class _Reached(Lines):  # type: ignore[no-untyped-call]
    """Follows the storages that inputs, or random numbers, flow into."""

    def __init__(self, inputs: Sequence[Tensor]) -> None:
        super().__init__()
        self._storages = {_storage(tensor) for tensor in inputs}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operation."""
        given = [leaf for leaf in tree_leaves((args, kwargs or {})) if isinstance(leaf, Tensor)]
        if func._schema.name.startswith("aten::lift"):  # torch.tensor(…): new, at an address that may have been used
            self._storages -= {_storage(tensor) for tensor in given}
        reached = any(self.reaches(tensor) for tensor in given) or torch.Tag.nondeterministic_seeded in func.tags
        result = super().__torch_dispatch__(func, types, args, kwargs)
        made = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        if reached:
            self._storages |= {_storage(tensor) for tensor in made}
            if func._schema.is_mutable:
                written = zip(func._schema.arguments, args, strict=False)
                for argument, value in written:
                    if argument.alias_info is not None and argument.alias_info.is_write:
                        self._storages |= {_storage(leaf) for leaf in tree_leaves(value) if isinstance(leaf, Tensor)}
        else:  # a new storage at the address of one that is gone
            self._storages -= {_storage(tensor) for tensor in made} - {_storage(tensor) for tensor in given}
        return result

    def reaches(self, tensor: Tensor) -> bool:
        """Whether the inputs have an influence on this tensor."""
        return _storage(tensor) in self._storages


def _storage(tensor: Tensor) -> int:
    try:
        return int(tensor.untyped_storage()._cdata)
    except (RuntimeError, NotImplementedError):  # sparse, quantised: never known
        return 0


class _Ask(TorchFunctionMode):
    """Notes what functions gave whose result a trace may want to know."""

    def __init__(self, reached: _Reached) -> None:
        super().__init__()
        self.reached, self.watched = reached, Watched()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one function."""
        result = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "")
        if name in QUESTIONS:
            given = [leaf for leaf in tree_leaves((args, kwargs or {})) if isinstance(leaf, Tensor)]
            known = not any(self.reached.reaches(tensor) for tensor in given)
            line = line_at_work()
            if not known and name != "numpy" and only_raises(line):
                self.watched.checks[line] = None
                known = True
            self.watched.answers[name, line].append(Answer(result, known))
        elif is_of_weights(name):
            made = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
            known = bool(made) and not any(self.reached.reaches(tensor) for tensor in made)
            self.watched.answers[key_of(func)].append(Answer(result if known else None, known))
        return result


def only_raises(line: str) -> bool:
    """Whether what is asked at ``file:line`` is an assertion, or decides between raising and going on."""
    file, _, number = line.rpartition(":")
    return bool(file) and int(number) in _checks_in(file)


@lru_cache(maxsize=64)
def _checks_in(file: str) -> frozenset[int]:
    """Line numbers of the tests of all checks in a source file."""
    try:
        tree = ast.parse("".join(linecache.getlines(file)))
    except SyntaxError:
        return frozenset()
    lines: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Assert) or (isinstance(node, ast.If) and (_stops(node.body) or _stops(node.orelse))):
            lines |= set(range(node.test.lineno, (node.test.end_lineno or node.test.lineno) + 1))
    return frozenset(lines)


def _stops(body: list[ast.stmt]) -> bool:
    """Whether statements do nothing but say something, or raise."""
    return bool(body) and all(isinstance(step, ast.Raise) or _says(step) for step in body)


def _says(step: ast.stmt) -> bool:
    if not isinstance(step, ast.Expr) or not isinstance(step.value, ast.Call):
        return False
    called = step.value.func
    name = called.attr if isinstance(called, ast.Attribute) else called.id if isinstance(called, ast.Name) else ""
    return name in _ONLY_SAYS
