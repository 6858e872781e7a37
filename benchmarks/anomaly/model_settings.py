"""Which model is trained on which family of data: fixed once, by training loss or by custom, never by a test figure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from public_data import Family

from vae_edge.models import ModelConfig
from vae_edge.training import TrainConfig
from vae_edge_export import ExportConfig
from vae_edge_runtime.format.heads import HeadName
from vae_edge_runtime.format.specs import Layout

RATE = 0.05
"""False-positive rate asked for, everywhere: the smallest data sets leave 24 rows behind a threshold."""
_HEADS: tuple[HeadName, ...] = (
    "elbo", "reconstruction", "kl", "peak", "mahalanobis", "typicality", "reconstruction_probability", "iwae",
    "fisher", "harmonic", "ranks",
)  # fmt: skip
_SMALL_PICTURE_HEADS: tuple[HeadName, ...] = (*_HEADS[:4], "gradient", *_HEADS[4:])
_GARMENT_HEADS: tuple[HeadName, ...] = (
    *_HEADS[:4],
    "top",
    "ssim",
    "gradient",
    "mahalanobis",
    "typicality",
    *_HEADS[8:],
)
_PICTURE_HEADS: tuple[HeadName, ...] = (*_HEADS[:4], "top", "ssim", "gradient", *_HEADS[4:])


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One model of a family; batches of 64 and beta 1 where nothing else is said.

    Attributes:
        epochs: at most; the weights of the best validation loss are kept.
        patience: epochs without a better one before stopping.
        variance: of a gaussian likelihood; None: learned, one for every element.
        heads: of the bundle. ``top`` is ``peak`` where 1 % of the elements is one of them.
    """

    kind: Literal["conv", "mlp", "sequence"]
    likelihood: Literal["mse", "bernoulli", "gaussian"]
    latent: int
    width: int
    epochs: int
    layout: Layout
    heads: tuple[HeadName, ...] = _HEADS
    depth: int = 2
    patience: int = 20
    batch_size: int = 64
    learning_rate: float = 1e-3
    beta: float = 1.0
    variance: float | None = None

    @property
    def name(self) -> str:
        """Of the model, in tables."""
        fixed = "" if self.variance is None else f" of variance {self.variance:g}"
        return f"{self.kind}, {self.likelihood}{fixed}"

    def training(self, row_shape: tuple[int, ...], seed: int) -> TrainConfig:
        """How to train it on rows of this shape, channels last where they are pictures."""
        shape = (row_shape[-1], *row_shape[:-1]) if self.layout == "nhwc" else row_shape
        model = ModelConfig(
            kind=self.kind, input_shape=shape, latent_dim=self.latent, width=self.width, depth=self.depth,
            likelihood=self.likelihood, variance=self.variance,
        )  # fmt: skip
        return TrainConfig(
            model=model, layout=self.layout, epochs=self.epochs, batch_size=self.batch_size,
            learning_rate=self.learning_rate, beta=self.beta, patience=self.patience, seed=seed,
        )  # fmt: skip

    def export(self, options: dict[str, object]) -> ExportConfig:
        """How to export it; ``options`` are those of the run."""
        return replace(ExportConfig(heads=self.heads, false_positive_rate=RATE), **options)  # type: ignore[arg-type]

    def shortened(self) -> Setting:
        """Two epochs, to see that everything runs."""
        return replace(self, epochs=2)


_TABLE = Setting(kind="mlp", likelihood="mse", latent=8, width=128, epochs=100, layout="features", batch_size=128)
_GARMENT = Setting(
    kind="mlp", likelihood="bernoulli", latent=16, width=256, depth=1, epochs=20, layout="nhwc", heads=_GARMENT_HEADS
)

SETTINGS: dict[Family, tuple[Setting, ...]] = {
    "tables": (_TABLE, replace(_TABLE, likelihood="gaussian", latent=4)),
    "windows": (
        Setting(kind="sequence", likelihood="mse", latent=4, width=16, epochs=100, layout="time_features"),
    ),
    "small pictures": (
        Setting(kind="mlp", likelihood="bernoulli", latent=8, width=128, epochs=100, layout="nhwc",
                heads=_SMALL_PICTURE_HEADS),
    ),
    "pictures": (
        Setting(kind="conv", likelihood="bernoulli", latent=8, width=8, epochs=40, layout="nhwc",
                heads=_PICTURE_HEADS, batch_size=32, patience=8),
    ),
    "garments": (_GARMENT,),
}  # fmt: skip
