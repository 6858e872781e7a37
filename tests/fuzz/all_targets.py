"""Every target by its name, which is that of its folder in the corpus."""

from __future__ import annotations

from data_targets import DATA_TARGETS
from session_targets import SESSION_TARGETS
from targets import TARGETS as READER_TARGETS
from targets import Target

TARGETS: dict[str, Target] = {**READER_TARGETS, **DATA_TARGETS, **SESSION_TARGETS}
