"""Reference VAEs: plain, correct, and exported through the same door as anybody else's."""

from .config import ModelConfig, build

__all__ = ["ModelConfig", "build"]
