"""Reference VAEs: plain, correct, and exported through the same door as anybody else's."""

from ._build import build
from .config import ModelConfig

__all__ = ["ModelConfig", "build"]
