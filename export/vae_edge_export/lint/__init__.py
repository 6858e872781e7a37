"""What an engine would refuse or get wrong in a bundle, said without the engine and without its hardware."""

from .report import LintReport, lint, lint_model
from .rules import Lint
from .targets import TARGETS, Target

__all__ = ["TARGETS", "Lint", "LintReport", "Target", "lint", "lint_model"]
