"""vae-edge: a trained VAE goes in, one verified bundle comes out, and a light runtime runs it.

Importing this module imports nothing else: what is asked of it is imported then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vae_edge_export import (
        ExportConfig,
        ExportReport,
        GenerationReport,
        Inspection,
        Prior,
        export,
        export_for_generation,
        inspect_model,
    )
    from vae_edge_runtime import Scorer, __version__, load, recalibrate, verify

    from .unpacking import unpack

__all__ = [
    "ExportConfig",
    "ExportReport",
    "GenerationReport",
    "Inspection",
    "Prior",
    "Scorer",
    "__version__",
    "export",
    "export_for_generation",
    "inspect_model",
    "load",
    "recalibrate",
    "unpack",
    "verify",
]

_FROM_RUNTIME = {"Scorer", "__version__", "load", "recalibrate", "verify"}
_FROM_EXPORT = {
    "ExportConfig", "ExportReport", "GenerationReport", "Inspection", "Prior", "export", "export_for_generation",
    "inspect_model",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _FROM_RUNTIME:
        import vae_edge_runtime

        return getattr(vae_edge_runtime, name)
    if name == "unpack":
        from .unpacking import unpack

        return unpack
    if name not in _FROM_EXPORT:
        raise AttributeError(f"module 'vae_edge' has no attribute {name!r}")
    from vae_edge_runtime.dependencies import require

    require("torch", extra="export", why="exporting")
    import vae_edge_export

    return getattr(vae_edge_export, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
