"""A trace with what is known beforehand: values of weights are given, checks left out, functions rewritten."""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from .rewrites import REWRITES, Selections
from .watch import QUESTIONS, Key, Watched, is_of_weights, key_of


class Steered(nn.Module):
    """A module that is traced with what one run of it showed."""

    def __init__(self, module: nn.Module, watched: Watched) -> None:
        super().__init__()
        self.module, self.watched = module, watched

    def forward(self, *rows: Tensor) -> Any:
        """What the module gives."""
        if torch.compiler.is_dynamo_compiling():  # it follows bytecode, and no mode
            return self.module(*rows)
        with _Steering(self.watched):
            return self.module(*rows)


class _Steering(TorchFunctionMode):
    """Answers questions about values, gives constants, and puts other functions in place of some."""

    def __init__(self, watched: Watched) -> None:
        super().__init__()
        self.watched = watched
        self.selections = Selections()
        self._asked: Counter[Key] = Counter()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one function, or what stands for it."""
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name in QUESTIONS:
            answer = self._answer(func)
            return answer.value if answer is not None and answer.known else func(*args, **kwargs)
        if is_of_weights(name):
            answer = self._answer(func)
            if answer is not None and answer.known and not _has_symbols(args, kwargs):
                return answer.value
        rewrite = REWRITES.get(name)
        if rewrite is not None:
            result = rewrite(self.selections, *args, **kwargs)
            if result is not NotImplemented:
                return result
        return self.selections.follow(func, args, kwargs, func(*args, **kwargs))

    def _answer(self, func: Any) -> Any:
        key = key_of(func)
        answers = self.watched.answers.get(key, [])
        at = self._asked[key]
        self._asked[key] += 1
        return answers[at] if at < len(answers) else None


def _has_symbols(args: Any, kwargs: Any) -> bool:
    """Whether a size that goes in depends on the batch, which a constant would freeze."""
    leaves = tree_leaves((args, kwargs))
    sizes = [size for leaf in leaves if isinstance(leaf, Tensor) for size in leaf.shape]
    return any(isinstance(value, (torch.SymInt, torch.SymFloat, torch.SymBool)) for value in (*leaves, *sizes))
