"""What a user may say about an export, and what an export says back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from vae_edge_runtime.errors import OptionError
from vae_edge_runtime.manifest import Calibration, Parity, Verdict
from vae_edge_runtime.specs import Layout, Likelihood

_CHOICES = {
    "likelihood": get_args(Likelihood),
    "layout": get_args(Layout),
    "output_dtype": ("float32", "uint8"),
    "transform": ("identity", "sqrt"),
}


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """Options of an export; every one has a default.

    Attributes:
        name, version, licence, source, description, metrics: the model card.
        release: counts up with every bundle that replaces another.
        likelihood: what the decoder's output means: ``mse``, ``bernoulli`` (probabilities of
            values in [0, 1]), ``gaussian``, ``laplace``, ``beta`` ((alpha, beta) of values in [0, 1]),
            ``categorical`` (logits (n, classes, *row_shape) of whole numbers from 0).
        variance: of ``gaussian``; None: the decoder gives (mean, logvar).
        logits: of ``bernoulli``: the decoder gives logits, and ``decode`` turns them into
            probabilities. Better than probabilities, which have no digits left near 0 and 1.
        reconstruction_weight, kl_weight: of the score; 1 and 1 is the negative ELBO. kl_weight None:
            1 where the model has a KL in closed form, else there is none.
        transform: ``sqrt``: the score is the root of that sum, a distance where it is one of squares.
        offset, scale: x_model = (x - offset) / scale; one value, or one per channel or feature.
        layout: of raw rows; images in ``nhwc`` are turned to NCHW inside the graph.
        names: of the features, for tables and windows.
        output_dtype: of ``decode``: ``uint8`` rounds and saturates at 0 and 255.
        false_positive_rate: what the calibrated threshold stands for.
        threshold: one the model brings along, instead of the calibrated one.
        parity_rtol: largest relative difference from PyTorch of any output on real rows.
        min_rank_correlation, max_flipped_fraction, max_auroc_change: the verdict gate.
        golden_rows: rows of the self-test in the bundle.
    """

    name: str = "vae"
    version: str = "1"
    licence: str = "unspecified"
    source: str = ""
    description: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    release: int = 1
    likelihood: Likelihood = "mse"
    variance: float | None = None
    logits: bool = False
    reconstruction_weight: float = 1.0
    kl_weight: float | None = None
    transform: Literal["identity", "sqrt"] = "identity"
    offset: tuple[float, ...] = (0.0,)
    scale: tuple[float, ...] = (1.0,)
    layout: Layout = "any"
    names: tuple[str, ...] = ()
    output_dtype: Literal["float32", "uint8"] = "float32"
    false_positive_rate: float = 0.01
    threshold: float | None = None
    parity_rtol: float = 1e-4
    min_rank_correlation: float = 0.9999
    max_flipped_fraction: float = 0.0
    max_auroc_change: float = 0.0005
    golden_rows: int = 4

    def __post_init__(self) -> None:
        for name, valid in _CHOICES.items():
            if getattr(self, name) not in valid:
                raise OptionError(f"{name} is {getattr(self, name)!r}; valid are {', '.join(valid)}")
        if self.variance is not None and (self.likelihood != "gaussian" or self.variance <= 0):
            raise OptionError("variance is for likelihood='gaussian', and positive")
        if self.logits and self.likelihood != "bernoulli":
            raise OptionError("logits is for likelihood='bernoulli'")
        if min(self.scale) <= 0 or len(self.offset) != len(self.scale):
            raise OptionError(f"offset {self.offset} and scale {self.scale} need one length, and scale is positive")
        kl_weight = self.kl_weight or 0.0
        if min(self.reconstruction_weight, kl_weight) < 0 or self.reconstruction_weight + kl_weight == 0:
            raise OptionError("the weights of the score must not be negative, nor both 0")
        if self.reconstruction_weight == 0:
            # Measured on shifted data: KL alone ranks anomalies as more normal (AUROC 0.28).
            raise OptionError("a score of KL alone inverts under shift: give reconstruction_weight a positive value")
        if self.transform == "sqrt" and self.likelihood != "mse":
            raise OptionError("transform 'sqrt' is for likelihood 'mse': the others can be negative")
        if self.threshold is not None and not math.isfinite(self.threshold):
            raise OptionError(f"threshold is {self.threshold}; it must be a finite number")
        if self.release < 1 or self.golden_rows < 1:
            raise OptionError("release and golden_rows start at 1")


@dataclass(frozen=True)
class ExportReport:
    """What was measured; ``to_dict`` for JSON.

    Attributes:
        weight_bytes: of the weights the graphs need, each counted once.
        stored_weight_bytes: of weights in the bundle; equal where each is stored once.
        parity: per "graph.output".
        evidence: what was found in the model, and how.
        seconds: per stage.
    """

    path: Path
    size_bytes: int
    weight_bytes: int
    stored_weight_bytes: int
    bundle_id: str
    pair_id: str
    parity: dict[str, Parity]
    verdict: Verdict
    calibration: Calibration
    evidence: tuple[str, ...]
    seconds: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self) | {"path": str(self.path)}
