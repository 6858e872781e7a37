"""Run a VAE bundle with numpy and one inference engine.

>>> from vae_edge_runtime import load
>>> vae = load("pump.vaeb")                  # doctest: +SKIP
>>> vae.score(frames).is_anomaly             # doctest: +SKIP
"""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

from ._version import __version__
from .errors import (
    AdaptError,
    BackendError,
    BundleCorrupt,
    BundleError,
    BundleInvalid,
    BundleTooNew,
    CalibrationError,
    CompressedCorrupt,
    CompressedCut,
    CompressedError,
    CompressedTooNew,
    DataError,
    DeadlineExceeded,
    DecoderMismatch,
    ExportFailed,
    FitFailed,
    GateFailed,
    GraphRefused,
    InputError,
    MissingDependency,
    NotExported,
    OptionError,
    PairMismatch,
    ParityFailed,
    ProviderUnavailable,
    SessionClosed,
    StorageError,
    VaeEdgeError,
    VerdictFailed,
)
from .format.bundle import Bundle
from .format.manifest import Manifest
from .sampling.noise import standard_normal
from .scoring.inputs import Status
from .scoring.results import HeadScores, Posterior, Scores, SessionInfo
from .session import VAE, load
from .statistics.conformal import ScoreSketch, samples_needed

if _TYPE_CHECKING:
    from .codec.parts import Decompressed
    from .recalibration import Recalibration, ThresholdChange, recalibrate
    from .scoring.anatomy import Anatomy
    from .stream import Event, Stream
    from .table_scorer import Scorer
    from .verification import GoldenCheck, Verification, verify

__all__ = [
    "VAE",
    "AdaptError",
    "Anatomy",
    "BackendError",
    "Bundle",
    "BundleCorrupt",
    "BundleError",
    "BundleInvalid",
    "BundleTooNew",
    "CalibrationError",
    "CompressedCorrupt",
    "CompressedCut",
    "CompressedError",
    "CompressedTooNew",
    "DataError",
    "DeadlineExceeded",
    "DecoderMismatch",
    "Decompressed",
    "Event",
    "ExportFailed",
    "FitFailed",
    "GateFailed",
    "GoldenCheck",
    "GraphRefused",
    "HeadScores",
    "InputError",
    "Manifest",
    "MissingDependency",
    "NotExported",
    "OptionError",
    "PairMismatch",
    "ParityFailed",
    "Posterior",
    "ProviderUnavailable",
    "Recalibration",
    "ScoreSketch",
    "Scorer",
    "Scores",
    "SessionClosed",
    "SessionInfo",
    "Status",
    "StorageError",
    "Stream",
    "ThresholdChange",
    "VaeEdgeError",
    "VerdictFailed",
    "Verification",
    "__version__",
    "load",
    "recalibrate",
    "samples_needed",
    "standard_normal",
    "verify",
]

# A device that only scores imports none of these: module by name, read at the first use.
_LAZY = {
    "Anatomy": "scoring.anatomy",
    "Decompressed": "codec.parts",
    "Event": "stream",
    "GoldenCheck": "verification",
    "Recalibration": "recalibration",
    "Scorer": "table_scorer",
    "Stream": "stream",
    "ThresholdChange": "recalibration",
    "Verification": "verification",
    "recalibrate": "recalibration",
    "verify": "verification",
}


def __getattr__(name: str) -> _Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(_import_module(f"{__name__}.{_LAZY[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
