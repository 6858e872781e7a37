"""The fastest variant, engine, threads and batch for a bundle on the device at hand, within limits."""

from __future__ import annotations

from .choice import Limits, Timed, choose
from .search import Candidate, TuneReport, tune

__all__ = ["Candidate", "Limits", "Timed", "TuneReport", "choose", "tune"]
