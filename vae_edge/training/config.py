"""What a training may be told, and what it tells back; no torch here."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from vae_edge.models.config import ModelConfig
from vae_edge_runtime import arguments
from vae_edge_runtime.errors import OptionError
from vae_edge_runtime.format.specs import Layout

Schedule = Literal["constant", "cosine"]
AUGMENTATIONS = ("shift", "brightness", "left-right", "up-down")
"""Ways to change a training picture; ``augmentation`` has the code of each."""
_SMALLEST_FOR_SSIM = 11
_LARGEST = (1 << 63) - 1
"""Of whole numbers: torch's generators take seeds of 64 bits."""

_FLOAT32 = 3.4e38


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Everything that decides the weights; with the same rows, machine and number of threads, every bit of them.

    Attributes:
        model: the architecture; its ``input_shape`` is in model layout.
        layout, names: of the raw rows, as in ``ExportConfig``.
        offset, scale: raw rows to model units, (x - offset) / scale; one of them alone leaves the
            other neutral. Both None: ``train`` chooses (see ``default_units``) and writes its choice down.
        warmup_epochs: the learning rate grows linearly from 0, step by step, over these epochs.
        schedule: after the warm-up the learning rate stays (``constant``), or falls to 0 over the other epochs
            (``cosine``); a run with a cosine is resumed with the same ``epochs``.
        augment: how training pictures are changed anew in each epoch, of ``AUGMENTATIONS``; validation rows stay.
        perceptual: weight of 1 - SSIM of the reconstruction of pictures, in nats per element (``structure_loss``).
        beta: weight of the KL term (Higgins et al. 2017); 1 is the ELBO.
        anneal_epochs: beta grows linearly from 0 over this many epochs.
        free_bits: nats of KL per latent dimension that cost nothing (Kingma et al. 2016).
        patience: epochs without a better validation loss before stopping; 0 never stops.
        validation: fraction of rows kept out for that.
    """

    model: ModelConfig
    layout: Layout = "any"
    offset: tuple[float, ...] | None = None
    scale: tuple[float, ...] | None = None
    names: tuple[str, ...] = ()
    epochs: int = 30
    batch_size: int = 64
    learning_rate: float = 1e-3
    warmup_epochs: int = 0
    schedule: Schedule = "constant"
    augment: tuple[str, ...] = ()
    perceptual: float = 0.0
    beta: float = 1.0
    anneal_epochs: int = 0
    free_bits: float = 0.0
    patience: int = 0
    validation: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        arguments.instance("model", self.model, ModelConfig, "a ModelConfig")
        arguments.choice("layout", self.layout, get_args(Layout))
        for name, low in (
            ("epochs", 1),
            ("batch_size", 1),
            ("anneal_epochs", 0),
            ("warmup_epochs", 0),
            ("patience", 0),
            ("seed", 0),
        ):
            self._settle(name, arguments.whole_number(name, getattr(self, name), low=low, high=_LARGEST))
        arguments.choice("schedule", self.schedule, get_args(Schedule))
        for name in ("learning_rate", "beta", "free_bits", "validation", "perceptual"):
            self._settle(name, arguments.number(name, getattr(self, name)))
        for name in ("offset", "scale"):
            if getattr(self, name) is not None:
                self._settle(name, arguments.numbers(name, getattr(self, name)))
        self._settle("names", arguments.words("names", self.names))
        self._settle("augment", tuple(dict.fromkeys(arguments.words("augment", self.augment))))
        for way in self.augment:
            arguments.choice("augment", way, AUGMENTATIONS)
        if self.model.kind != "conv" and (self.augment or self.perceptual):
            raise OptionError(f"augment and perceptual are for pictures, of a conv model; this is {self.model.kind}")
        if not 0 <= self.perceptual < math.inf:
            raise OptionError(f"perceptual is {self.perceptual}; it is a weight from 0, and finite")
        if self.perceptual and min(self.model.input_shape[1:]) < _SMALLEST_FOR_SSIM:
            raise OptionError(f"perceptual compares windows of 11 x 11 pixels; pictures are {self.model.input_shape}")
        if not (self.learning_rate > 0 and 0 <= self.beta <= _FLOAT32 and 0 <= self.free_bits <= _FLOAT32):
            raise OptionError("learning_rate must be positive, beta and free_bits not negative, all numbers of float32")
        if not 0 < self.validation < 1:
            raise OptionError(f"validation is {self.validation}; it is a fraction between 0 and 1")
        if self.model.kind == "conv" and self.batch_size < 2:
            raise OptionError("a conv model normalises over the batch: batch_size must be at least 2")
        if self.offset is None and self.scale is not None:
            self._settle("offset", (0.0,) * len(self.scale))
        elif self.scale is None and self.offset is not None:
            self._settle("scale", (1.0,) * len(self.offset))
        offset, scale = self.offset or (0.0,), self.scale or (1.0,)
        if len(offset) != len(scale) or not all(map(math.isfinite, (*offset, *scale))) or min(scale) <= 0:
            raise OptionError("offset and scale need one length and finite values, and scale is positive")

    def _settle(self, name: str, value: object) -> None:
        """The checked value in place of the given one: a number of numpy is no number of JSON."""
        object.__setattr__(self, name, value)


@dataclass(frozen=True)
class EpochReport:
    """Means per row over one epoch, in nats; ``train_loss`` holds beta, free bits and ``perceptual``, the rest do not.

    ``validation_loss`` is the negative ELBO at one noise sample per row, the same in every epoch.
    """

    epoch: int
    train_loss: float
    validation_loss: float
    reconstruction: float
    kl: float
    seconds: float


@dataclass(frozen=True)
class TrainResult:
    """Where the run lies, and the epoch whose weights were kept."""

    folder: Path
    best_epoch: int
    best_validation_loss: float
    epochs: tuple[EpochReport, ...]
    stopped_early: bool
