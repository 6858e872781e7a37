"""Models without known names: their forward is traced once, and cut at the noise it draws, or at its codes."""

from .second_try import adapt_or_cut

__all__ = ["adapt_or_cut"]
