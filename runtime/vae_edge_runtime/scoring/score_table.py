"""Scores as lines of text: CSV and JSON Lines, the same from either command line."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from ..errors import CalibrationError
from .inputs import Status
from .plain import plain
from .results import Scores

Columns = Mapping[str, Sequence[Any] | NDArray[Any]]


def score_columns(ids: Sequence[str], scores: Scores) -> dict[str, Sequence[Any] | NDArray[Any]]:
    """The columns of a score table; what a row or the bundle does not have is None or NaN.

    Heads beyond the default one add a column each, and one of p-values.
    """
    unknown = [None] * len(ids)
    try:
        decided: Sequence[Any] = [bool(d) if ok else None for d, ok in zip(scores.is_anomaly, scores.ok, strict=True)]
    except CalibrationError:
        decided = unknown
    try:
        p_values: Sequence[Any] = scores.p_value.tolist()
    except CalibrationError:
        p_values = unknown
    columns: dict[str, Sequence[Any] | NDArray[Any]] = {
        "row_id": ids,
        "score": scores.score,
        "reconstruction": scores.reconstruction,
        "kl": unknown if scores.kl is None else scores.kl,
        "p_value": p_values,
        "is_anomaly": decided,
        "status": [Status(int(s)).name.lower() for s in scores.status],
    }
    for head, further in tuple(scores.heads.items())[1:]:
        columns.setdefault(head, further.score)
        columns[f"{head}_p_value"] = further.p_value if further.calibrated else unknown
    return columns


def to_csv(columns: Columns) -> str:
    """One header line, then a line per row; a value that is absent or not finite is an empty cell."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in to_rows(columns):
        writer.writerow(["" if v is None else str(v).lower() if isinstance(v, bool) else v for v in row.values()])
    return text.getvalue()


def to_rows(columns: Columns) -> list[dict[str, Any]]:
    """Rows as plain dicts for JSON; NaN and infinity become None."""
    values = {name: [plain(value) for value in column] for name, column in columns.items()}
    return [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]
