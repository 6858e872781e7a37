"""The page, from the cells of a run: every figure is computed, and ``inspection_text`` has the prose."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import inspection_text as text
from inspection_quotes import QUOTED

Cell = dict[str, Any]
DASH = "–"
DECIDES = "top"
"""The head whose figures stand in the tables beside methods with one score; the table of heads has the others."""
KINDS = ("scratch", "spot", "blur", "missing", "colour")


def page(document: dict[str, Any]) -> str:
    """The document of ``run.document`` as Markdown."""
    cells: list[Cell] = [cell for cell in document["cells"] if cell["method"] in document["methods"]]
    methods = [name for name in document["methods"] if any(cell["method"] == name for cell in cells)]
    parts = [
        text.TITLE,
        text.FRONT,
        *(_measured(cells, methods, document["trained"]) if cells else [text.NOTHING]),
        "## Earlier measurements",
        text.EARLIER,
        "### The default of train conv",
        text.DEFAULT,
        "### Batches of few pictures",
        text.BATCHES,
        "### Augmentation, a cosine, and SSIM in the loss",
        text.OPTIONS,
        "### The maps of colour",
        text.COLOUR,
        "## Beside published figures",
        text.PUBLISHED,
        table(("data", "model", "AUROC", "source"), QUOTED),
        "## How it is measured",
        text.PROTOCOL,
        _arms(document["trained"]),
        text.OWN_DATA,
    ]
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


def _measured(cells: list[Cell], methods: list[str], trained: dict[str, Any]) -> list[str]:
    settings = list(dict.fromkeys(cell["setting"] for cell in cells))
    by_setting = [
        [setting, *(_mean(_of(cells, method, setting), "auroc") for method in methods)] for setting in settings
    ]
    return [
        _made(cells, settings, methods),
        "## In short",
        text.SHORT,
        _summary(_shared(cells, methods), methods),
        _reading(cells),
        "## By material",
        text.BY_MATERIAL,
        table(("material", *methods), by_setting),
        "## By kind of defect",
        text.BY_KIND,
        _by_kind(_shared(cells, methods), methods),
        "## By head",
        text.BY_HEAD,
        _by_head(cells, trained),
    ]


def _shared(cells: list[Cell], methods: list[str]) -> list[Cell]:
    """The cells of materials and seeds that every method was measured on, so that means compare; else all."""
    keys = [{(c["setting"], c["seed"]) for c in cells if c["method"] == method} for method in methods]
    both = set.intersection(*keys)
    return [c for c in cells if (c["setting"], c["seed"]) in both] or cells


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table of Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def _made(cells: list[Cell], settings: list[str], methods: list[str]) -> str:
    wanted = len(settings) * len(methods) * len({cell["seed"] for cell in cells})
    parts = [text.MADE.format(
        date=max(cell["date"] for cell in cells),
        versions=", ".join(f"{name} {version}" for name, version in cells[-1]["versions"].items()),
        seeds=len({cell["seed"] for cell in cells}),
        cells=len(cells),
        **cells[-1]["counts"],
    )]  # fmt: skip
    if len(settings) < 6:
        parts.append(text.MISSING_SETTINGS.format(count=len(settings)))
    if len(cells) < wanted:
        parts.append(text.MISSING_CELLS.format(missing=wanted - len(cells), wanted=wanted))
    if any(cell["quick"] for cell in cells):
        parts.append(text.QUICK)
    return "\n\n".join(parts)


def _summary(cells: list[Cell], methods: list[str]) -> str:
    rows = []
    for method in methods:
        own = _of(cells, method)
        values: list[Callable[[Cell], float | None]] = [
            lambda cell, key=key: _decided(cell)[key]  # type: ignore[misc]
            for key in ("auroc", "average_precision", "recall", "false_positives")
        ]
        values += [lambda cell, key=key: _decided(cell)["pixels"].get(key) for key in ("auroc", "aupr", "pro")]  # type: ignore[misc]
        rows.append([method, len(own), *(_average(value(cell) for cell in own) for value in values)])
    header = ("method", "cells", "AUROC", "AUPR", "recall at 1 %", "false alarms", "pixel AUROC", "pixel AUPR", "PRO")
    return table(header, rows)


def _reading(cells: list[Cell]) -> str:
    """What the table says about the default and the patches, from its own figures."""
    both = [
        (_decided(vae), _decided(other))
        for vae in _of(cells, "vae")
        for other in _of(cells, "patch neighbours", vae["setting"])
        if vae["seed"] == other["seed"]
    ]
    if not both:
        return ""
    better = sum(other["auroc"] > vae["auroc"] for vae, other in both)
    pixels = [_average(figures["pixels"].get("auroc") for figures in side) for side in zip(*both, strict=True)]
    return text.READING.format(better=better, cells=len(both), vae=pixels[0], patches=pixels[1])


def _by_kind(cells: list[Cell], methods: list[str]) -> str:
    rows = []
    for method in methods:
        for name, pick in (
            ("AUROC", lambda figures, kind: figures["by_kind"].get(kind)),
            ("pixel AUROC", lambda figures, kind: figures["pixels_by_kind"].get(kind, {}).get("auroc")),
            ("PRO", lambda figures, kind: figures["pixels_by_kind"].get(kind, {}).get("pro")),
        ):
            line = [_average(pick(_decided(cell), kind) for cell in _of(cells, method)) for kind in KINDS]
            if any(value != DASH for value in line):
                rows.append([method, name, *line])
    return table(("method", "figure", *KINDS), rows)


def _by_head(cells: list[Cell], trained: dict[str, Any]) -> str:
    rows = []
    keys = ("auroc", "average_precision", "recall", "false_positives")
    for method in trained:
        own = _of(cells, method)
        for head in dict.fromkeys(head for cell in own for head in cell["figures"]):
            having = [cell["figures"][head] for cell in own if head in cell["figures"]]
            averages = [_average(of_head[key] for of_head in having) for key in keys]
            rows.append([method, f"`{head}`", *averages])
    return table(("method", "head", "AUROC", "AUPR", "recall at 1 %", "false alarms"), rows)


def _arms(trained: dict[str, Any]) -> str:
    return table(("method", "what", "epochs", "options of train conv", "options of export"), [
        [name, arm["what"], arm["epochs"], _code(arm["train"]), _code(arm["export"])] for name, arm in trained.items()
    ])  # fmt: skip


def _code(words: Sequence[str]) -> str:
    return f"`{' '.join(words)}`" if words else DASH


def _of(cells: list[Cell], method: str, setting: str | None = None) -> list[Cell]:
    return [c for c in cells if c["method"] == method and setting in (None, c["setting"])]


def _decided(cell: Cell) -> dict[str, Any]:
    """The figures of the head ``top``, or of the one score of a method."""
    figures: dict[str, dict[str, Any]] = cell["figures"]
    return figures.get(DECIDES) or next(iter(figures.values()))


def _mean(cells: list[Cell], key: str) -> str:
    return _average(_decided(cell)[key] for cell in cells)


def _average(values: Iterable[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{statistics.fmean(known):.3f}" if known else DASH
