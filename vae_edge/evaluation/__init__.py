"""How good scores and decisions are, on labelled rows: AUROC and its like, ranges of time, pixels."""

from .report import Evaluation, HeadFigures, evaluate, judge
from .scored import ScoredRows, score_rows

__all__ = ["Evaluation", "HeadFigures", "ScoredRows", "evaluate", "judge", "score_rows"]
