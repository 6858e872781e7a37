"""The page, from the document of a run: every figure is computed, and the prose that reads them is beside it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import page_text as text
from model_settings import Setting
from over_seeds import DASH, Method, Spread, methods
from quoted_figures import QUOTED, SOURCES

HEADER = ("model", "head", "AUROC", "AUPR", "FPR@95TPR", "F1", "FPR")
TIME_HEADER = (
    "series", "model", "head", "range precision", "range recall", "range F1", "events found", "false alarms",
    "point-wise F1", "point-adjusted F1",
)  # fmt: skip
SUMMARY_HEADS = ("elbo", "reconstruction", "mahalanobis", "iwae", "harmonic")
OTHERS = ("IsolationForest", "PCA", "PyOD VAE")
SETTINGS_HEADER = (
    "family", "model", "latent", "width", "depth", "epochs", "patience", "batch", "learning rate", "beta",
)  # fmt: skip
QUOTED_HEADER = ("data set", "head", "model", "here", "quoted", "reads", "source")

_METRICS = (("auroc",), ("aupr",), ("fpr_at_95_tpr",), ("f1",), ("false_positive_rate",))


def page(document: dict[str, Any]) -> str:
    """The document of ``run.collect`` as Markdown."""
    found, made = methods(document["figures"]), document["made"]
    parts = [
        _front(document),
        "## In short: AUROC",
        _summary(found),
        text.MEANING.strip(),
        "## Beside quoted figures",
        text.QUOTED_TEXT,
        _quoted(found),
        "\n".join(f"- {key}: {source}" for key, source in SOURCES.items()),
        "## How it was measured",
        text.PROTOCOL.format(**made),
        *_settings(document),
        *_problems(document),
        "## Over time",
        text.TIME_TEXT,
        _over_time(found),
        "## All figures",
        text.ALL_TEXT.format(**made),
        *(_data_set(name, [m for m in found if m.data_set == name]) for name in document["data_sets"]),
    ]
    return "\n\n".join(parts) + "\n"


def _front(document: dict[str, Any]) -> str:
    made = document["made"]
    versions = ", ".join(f"{name} {version}" for name, version in made["versions"].items())
    parts = [text.FRONT.format(**{**made, "versions": versions, "minutes": f"{made['cpu_seconds'] / 60:.0f}"})]
    if made["quick"]:
        parts.append(text.QUICK)
    if document["left_out"]:
        parts.append("\n".join(f"- Left out: {what}." for what in document["left_out"]))
    return "\n\n".join(parts)


def _summary(found: list[Method]) -> str:
    by_key = {(m.data_set, m.model, m.head): m for m in found}
    rows = []
    for name, model in dict.fromkeys((m.data_set, m.model) for m in found if m.head):
        own = [_cell(by_key.get((name, model, head))) for head in SUMMARY_HEADS]
        others = [_cell(by_key.get((name, other, ""))) for other in OTHERS]
        rows.append([name, model, *own, *others])
    return table(("data set", "model", *SUMMARY_HEADS, *OTHERS), rows)


def _cell(method: Method | None) -> str:
    return DASH if method is None else str(method.spread("auroc"))


def _quoted(found: list[Method]) -> str:
    rows = []
    for quoted in QUOTED:
        for method in found:
            if (method.data_set, method.head) == (quoted.data_set, quoted.head):
                here = method.spread("auroc")
                reads = verdict(here, quoted.auroc)
                rows.append(
                    [quoted.data_set, quoted.head, method.model, str(here), f"{quoted.auroc:g}", reads, quoted.source]
                )
    return table(QUOTED_HEADER, rows)


def verdict(here: Spread, quoted: float) -> str:
    """How a figure of three seeds stands to one that was quoted: within twice its spread, above, or below.

    The quoted figures have three decimals, so 0.0005 is always allowed.
    """
    difference = here.mean - quoted
    if math.isnan(here.sd):
        return "one seed"
    if abs(difference) <= 2 * here.sd + 0.0005:
        return "within the spread"
    return f"{'above' if difference > 0 else 'below'} by {abs(difference):.3f}"


def _settings(document: dict[str, Any]) -> list[str]:
    rows, members = [], []
    for family, settings in document["settings"].items():
        names = [name for name, its in document["data_sets"].items() if its == family]
        if not names:
            continue
        members.append(f"- *{family}*: {', '.join(names)}")
        for s in settings:
            numbers = (s["latent"], s["width"], s["depth"], s["epochs"], s["patience"], s["batch_size"])
            rates = (f"{s['learning_rate']:g}", f"{s['beta']:g}")
            rows.append([family, Setting(**s).name, *map(str, numbers), *rates])
    return [table(SETTINGS_HEADER, rows), "\n".join(members), text.CHOICE]


def _problems(document: dict[str, Any]) -> list[str]:
    if not document["problems"]:
        return [text.NO_REFUSAL]
    return [text.REFUSALS, "\n".join(f"- {problem}" for problem in document["problems"])]


def _over_time(found: list[Method]) -> str:
    rows = []
    for m in found:
        if m.runs[0]["over_time"] is None:
            continue
        events = m.runs[0]["over_time"]["events"]
        rows.append([
            m.data_set, m.model, m.head or DASH,
            *(m.spread("over_time", "range_based", key).short for key in ("precision", "recall")),
            m.f1_over_time("range_based").short,
            f"{m.spread('over_time', 'events_found').short} of {events}",
            m.spread("over_time", "false_alarms").short,
            m.f1_over_time("point_wise").short,
            m.f1_over_time("point_adjusted").short,
        ])  # fmt: skip
    return table(TIME_HEADER, rows) if rows else "The data of NAB was not given."


def _data_set(name: str, found: list[Method]) -> str:
    first = found[0]
    counts = ", ".join(f"{_rounded(first, key)} {words}" for key, words in (
        ("normal", "normal"), ("anomalous", "anomalous rows tested"), ("calibration", "behind a threshold of a bundle"),
    ))  # fmt: skip
    parts = len({run["part"] for run in first.runs})
    mean = f"; means over {parts} classes" if parts > 1 else ""
    rows = [[m.model, m.head or DASH, *(str(m.spread(*path)) for path in _METRICS)] for m in found]
    return f"### {name}\n\n{counts}{mean}.\n\n{table(HEADER, rows)}"


def _rounded(method: Method, key: str) -> str:
    return f"{method.spread(key).mean:,.0f}"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines).replace("| --- |", "|---|").replace(" --- |", "---|")
