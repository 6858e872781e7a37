"""Turn a trained PyTorch VAE into one verified bundle file.

Without torch and onnx the modules that are numpy alone, such as ``agreement``, can still be imported.
"""

from typing import Any as _Any

try:
    from .adapters import Prior
    from .config import ExportConfig, ExportReport
    from .generation.export import GenerationReport, export_for_generation
    from .inspection import Inspection, inspect_model
    from .pipeline import export
    from .sources import load_weights, open_saved
except ModuleNotFoundError as _error:
    if _error.name not in ("torch", "onnx", "onnxscript", "safetensors"):
        raise
    _missing: str = _error.name

    def __getattr__(name: str) -> _Any:
        from vae_edge_runtime.errors import MissingDependency

        if name in __all__:
            raise MissingDependency(_missing, extra="export", why="exporting")
        raise AttributeError(f"module 'vae_edge_export' has no attribute {name!r}")


__all__ = [
    "ExportConfig",
    "ExportReport",
    "GenerationReport",
    "Inspection",
    "Prior",
    "export",
    "export_for_generation",
    "inspect_model",
    "load_weights",
    "open_saved",
]
