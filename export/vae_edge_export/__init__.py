"""Turn a trained PyTorch VAE into one verified bundle file."""

from .adapt import AdaptedVae, adapt
from .adapters import Prior
from .config import ExportConfig, ExportReport
from .pipeline import export

__all__ = ["AdaptedVae", "ExportConfig", "ExportReport", "Prior", "adapt", "export"]
