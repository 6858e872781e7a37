"""Run a VAE bundle with numpy and one inference engine.

>>> from vae_edge_runtime import load
>>> vae = load("pump.vaeb")                  # doctest: +SKIP
>>> vae.score(frames).is_anomaly             # doctest: +SKIP
"""

from ._version import __version__
from .errors import (
    AdaptError,
    BackendError,
    BundleCorrupt,
    BundleError,
    BundleInvalid,
    BundleTooNew,
    CalibrationError,
    DataError,
    ExportFailed,
    FitFailed,
    GateFailed,
    GraphRefused,
    InputError,
    MissingDependency,
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
from .scoring.anatomy import Anatomy
from .scoring.inputs import Status
from .scoring.results import HeadScores, Posterior, Scores, SessionInfo
from .session import VAE, load
from .statistics.conformal import ScoreSketch, samples_needed
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
    "DataError",
    "ExportFailed",
    "FitFailed",
    "GateFailed",
    "GoldenCheck",
    "GraphRefused",
    "HeadScores",
    "InputError",
    "Manifest",
    "MissingDependency",
    "OptionError",
    "PairMismatch",
    "ParityFailed",
    "Posterior",
    "ProviderUnavailable",
    "ScoreSketch",
    "Scores",
    "SessionClosed",
    "SessionInfo",
    "Status",
    "StorageError",
    "VaeEdgeError",
    "VerdictFailed",
    "Verification",
    "__version__",
    "load",
    "samples_needed",
    "standard_normal",
    "verify",
]
