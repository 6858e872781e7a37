"""Models out of files: weights for a module, folders that libraries save, exported programs.

Nothing here opens a pickle unless it is trusted in so many words: opening one can run any code.
"""

from .saved import KINDS, open_saved
from .weights import load_weights

__all__ = ["KINDS", "load_weights", "open_saved"]
