"""Turn a trained PyTorch VAE into one verified bundle file."""

from .adapt import AdaptedVae, adapt
from .adapters import Prior
from .config import ExportConfig, ExportReport
from .inspection import Inspection, inspect_model
from .pipeline import export
from .sources import load_weights, open_saved

__all__ = [
    "AdaptedVae",
    "ExportConfig",
    "ExportReport",
    "Inspection",
    "Prior",
    "adapt",
    "export",
    "inspect_model",
    "load_weights",
    "open_saved",
]
