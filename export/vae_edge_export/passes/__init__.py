"""Graph clean-up between the exporter and the bundle: one pass per file, each exact."""

from .sequence import clean_up, finish_fp32

__all__ = ["clean_up", "finish_fp32"]
