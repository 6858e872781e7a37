"""Results as plain values: what ``json.dumps(..., allow_nan=False)`` takes, and every JSON reader reads."""

from __future__ import annotations

import enum
import math
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from .inputs import Status
from .results import HeadScores, Scores


def plain(value: Any) -> Any:
    """``value`` of dicts, sequences, arrays and scalars without what JSON lacks.

    NaN and infinity become None, an enumeration its name in lower case, a path its text. A float32 is written with
    the fewest decimals that give the same float32 back.
    """
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)) or (isinstance(value, np.ndarray) and value.ndim):
        return [plain(item) for item in value]
    if isinstance(value, enum.Enum):
        return value.name.lower()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, np.float32):
        value = float(str(value))
    elif isinstance(value, (np.generic, np.ndarray)):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def head_columns(scores: HeadScores, scored: Any) -> dict[str, Any]:
    """Score, decision and p-value of n rows by one head; None where a row, or the bundle, has none.

    Args:
        scores: of the head.
        scored: (n,) bool, which rows have a score.
    """
    decided = None
    if scores.threshold is not None:
        decided = [bool(d) if ok else None for d, ok in zip(scores.is_anomaly, scored, strict=True)]
    return {
        "threshold": plain(scores.threshold),
        "score": plain(scores.score),
        "p_value": plain(scores.p_value) if scores.calibrated else None,
        "is_anomaly": decided,
    }


def scores_columns(scores: Scores, *, maps: bool) -> dict[str, Any]:
    """``Scores.to_dict``."""
    columns = {
        "rows": len(scores),
        "status": [Status(int(status)).name.lower() for status in scores.status],
        **head_columns(scores, scores.ok),
        "reconstruction": plain(scores.reconstruction),
        "kl": plain(scores.kl),
        "heads": {head: head_columns(further, scores.ok) for head, further in scores.heads.items()},
    }
    return columns | ({"map": plain(scores.map)} if maps else {})
