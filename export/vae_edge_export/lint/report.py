"""What an engine would refuse or get wrong in a bundle, said without the engine and without its hardware."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

import onnx

from vae_edge_runtime.errors import OptionError
from vae_edge_runtime.format.bundle import Bundle

from .dla import dla_share
from .rules import RULES, Lint
from .targets import TARGETS, Target


@dataclass(frozen=True)
class LintReport:
    """What was found in the graphs of a bundle, for one target.

    Attributes:
        lints: errors would stop or falsify a run; warnings cost speed or digits.
        dla: per "variant/graph" a sentence about NVIDIA's deep learning accelerator; empty where the target has none.
        graphs: how many were looked at.
    """

    target: str
    lints: tuple[Lint, ...]
    dla: dict[str, str]
    graphs: int

    @property
    def ok(self) -> bool:
        """Whether there is no error."""
        return all(lint.level != "error" for lint in self.lints)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self) | {"ok": self.ok}


def lint(path: str | os.PathLike[str], target: str, *, variant: str | None = None) -> LintReport:
    """Look at every graph of a bundle, or of one variant, with the eyes of a target.

    Raises:
        OptionError: no such target or variant.
        BundleError: the file is refused.
    """
    if target not in TARGETS:
        raise OptionError(f"target is {target!r}; valid are {', '.join(TARGETS)}")
    lints: list[Lint] = []
    dla: dict[str, str] = {}
    graphs = 0
    with Bundle.open(path) as bundle:
        variants = bundle.manifest.variants
        if variant is not None and variant not in variants:
            raise OptionError(f"variant is {variant!r}; this bundle has {', '.join(variants)}")
        for name in [variant] if variant is not None else list(variants):
            for graph in variants[name].graphs:
                model = onnx.load_model_from_string(bundle.graph(name, graph))
                place = f"{name}/{graph}"
                graphs += 1
                lints += lint_model(model, TARGETS[target], place=place)
                if TARGETS[target].dla:
                    dla[place] = dla_share(model)
    return LintReport(target, tuple(lints), dla, graphs)


def lint_model(model: onnx.ModelProto, target: Target, *, place: str) -> list[Lint]:
    """Every rule on one graph; ``place`` names it in what is found. Findings alike are counted, not repeated."""
    lints = [lint for rule in RULES for lint in rule(model, target, place)]
    alike = Counter((lint.level, lint.rule, lint.what) for lint in lints)
    shown: list[Lint] = []
    for lint in lints:
        count = alike.pop((lint.level, lint.rule, lint.what), 0)
        if count:
            node = f"{lint.node} and {count - 1} more" if count > 1 else lint.node
            shown.append(Lint(lint.level, lint.rule, lint.place, node, lint.what, lint.remedy))
    return shown
