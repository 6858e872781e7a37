"""What ATen operations mean for a cut: which draw noise, which read a shape only, which keep z = mean + std * noise."""

from __future__ import annotations

from typing import Any

from torch import fx

from ..tracing.user_lines import bare_name

NORMAL = frozenset(("randn", "randn_like", "normal_functional", "normal"))
"""Operations that draw a normal noise; ``normal`` may take its mean and standard deviation as tensors."""
OTHER_RANDOM = frozenset(
    """
    rand rand_like uniform uniform_functional bernoulli bernoulli_functional exponential exponential_functional
    geometric geometric_functional cauchy cauchy_functional log_normal log_normal_functional randint randint_like
    multinomial poisson random random_functional standard_gamma randperm
    """.split()  # noqa: SIM905
)
LIKE = {"zeros_like": 0.0, "ones_like": 1.0, "empty_like": 0.0, "new_zeros": 0.0, "new_ones": 1.0, "new_empty": 0.0}
"""Operations that take a shape or a type from a tensor and no value, with the value that they give."""
CREATES = {"zeros": 0.0, "ones": 1.0, "empty": 0.0}
RESHAPES = frozenset(
    "view reshape unsafe_view unsqueeze squeeze flatten unflatten clone contiguous alias detach to_copy expand".split()  # noqa: SIM905
)
PASSES = frozenset(("clone", "contiguous", "alias", "detach", "lift_fresh_copy"))


def name_of(node: fx.Node) -> str:
    """Bare name of a node's operation, such as ``addcmul``; ``getitem`` of a tuple's; empty for a placeholder."""
    if node.op != "call_function":
        return ""
    target = str(node.target)
    return bare_name(target) if target.startswith("aten.") else getattr(node.target, "__name__", target)


def reads_values_of(node: fx.Node) -> list[fx.Node]:
    """Inputs whose values a node depends on, not their shape alone."""
    name = name_of(node)
    if name in ("sym_size", "size") or name in LIKE or name == "full_like" or name == "new_full":
        return []
    if name in ("randn_like", "normal_functional"):
        return []
    return list(node.all_input_nodes)


def is_dropout(node: fx.Node) -> bool:
    """Whether a node is a dropout layer, which an export leaves out."""
    if name_of(node) == "getitem":
        source, at = node.args
        return bool(at == 0 and isinstance(source, fx.Node) and name_of(source) == "native_dropout")
    return name_of(node) in ("dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout")


def kept_by_dropout(node: fx.Node) -> fx.Node:
    """What a dropout layer gets, which is what it gives where nothing is dropped."""
    layer: Any = node.args[0] if name_of(node) == "getitem" else node
    return layer.args[0]  # type: ignore[no-any-return]
