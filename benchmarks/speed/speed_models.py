"""Three VAEs with one task each, their data, and their bundles: what the benchmark times.

Weights are trained for seconds on synthetic rows from fixed seeds: enough that scores rank anomalies and that
reduced variants can be judged; speed does not depend on it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from plain_models import MODELS
from torch import Tensor, nn

from vae_edge_export import ExportConfig, export
from vae_edge_export.config import Precision

Rows = NDArray[Any]


@dataclass(frozen=True)
class Subject:
    """One model and its task.

    Attributes:
        rows: (normal?, n, rng) to raw rows. divisor: raw rows over it are what the model takes.
        batch: the larger batch that is timed. calls, rounds: timed calls of a turn, and turns.
        normal: rows of each class to judge variants on. latent: shape of one latent.
        steps, batch_trained: of the training. variants: of its bundle.
    """

    name: str
    title: str
    make: Callable[[], nn.Module]
    rows: Callable[[bool, int, np.random.Generator], Rows]
    divisor: float
    latent: tuple[int, ...]
    batch: int
    calls: int
    rounds: int
    normal: int
    calibration: int
    steps: int
    batch_trained: int
    config: Mapping[str, Any]
    variants: tuple[Precision, ...] = ("fp32", "int8-cpu")

    @property
    def logits(self) -> bool:
        """The decoder gives logits of pixels in [0, 1]."""
        return bool(self.config.get("logits"))


def _windows(normal: bool, n: int, rng: np.random.Generator) -> Rows:
    time = np.arange(100)[None, :, None] / 100
    speed = np.random.default_rng(1).uniform(1, 6, 38)
    x = np.sin(2 * np.pi * (speed * time + rng.uniform(size=(n, 1, 1)))) * rng.uniform(0.7, 1.3, (n, 1, 1))
    if not normal:  # one sensor in four drifts
        x = x + (rng.uniform(size=(n, 1, 38)) < 0.25) * time * rng.uniform(0.3, 1.5, (n, 1, 1))
    return (x + 0.1 * rng.normal(size=x.shape)).astype(np.float32)


def _blobs(normal: bool, n: int, rng: np.random.Generator, size: int, colours: int) -> Rows:
    y, x = np.mgrid[:size, :size] / size
    found = np.zeros((n, size, size, colours), np.float32)
    for _ in range(3):
        at_y, at_x, width = (rng.uniform(*span, (n, 1, 1)) for span in ((0.2, 0.8), (0.2, 0.8), (0.05, 0.15)))
        blob = np.exp(-(((y - at_y) / width) ** 2) - ((x - at_x) / width) ** 2)
        found += (blob[..., None] * rng.uniform(0.3, 1, (n, 1, 1, colours))).astype(np.float32)
    if not normal:  # a scratch
        where = np.abs(y - rng.uniform(0.2, 0.8, (n, 1, 1)) - 0.5 * (x - 0.5)) < 0.012
        found = np.where(where[..., None], rng.uniform(0.4, 1, (n, 1, 1, 1)), found)
    return np.clip(255 * found + rng.normal(0, 3, found.shape), 0, 255).astype(np.uint8)


_IMAGES = {"layout": "nhwc", "scale": (255.0,), "output_dtype": "uint8"}
_LOGITS = {**_IMAGES, "likelihood": "bernoulli", "logits": True}
SUBJECTS = (
    Subject(
        name="windows", title="sensor windows, 100 x 38, MLP", make=MODELS["windows"], rows=_windows, divisor=1.0,
        latent=(16,), batch=32, calls=6, rounds=20, normal=1000, calibration=400, steps=400, batch_trained=64,
        config={"layout": "time_features"},
    ),
    Subject(
        name="grey", title="grey images, 64 x 64, convolutions", make=MODELS["grey"],
        rows=lambda normal, n, rng: _blobs(normal, n, rng, 64, 1), divisor=255.0,
        latent=(32,), batch=32, calls=6, rounds=20, normal=1000, calibration=400, steps=300, batch_trained=32,
        config=_LOGITS,
    ),
    Subject(
        name="colour", title="colour images, 3 x 256 x 256, residual", make=MODELS["colour"],
        rows=lambda normal, n, rng: _blobs(normal, n, rng, 256, 3), divisor=255.0,
        latent=(4, 32, 32), batch=8, calls=2, rounds=8, normal=1000, calibration=128, steps=60, batch_trained=4,
        config=_IMAGES,
    ),
)  # fmt: skip


def to_model(subject: Subject, rows: Rows) -> Tensor:
    """Raw rows as the model takes them."""
    x = torch.from_numpy(np.ascontiguousarray(rows)).float() / subject.divisor
    return x.permute(0, 3, 1, 2).contiguous() if x.ndim == 4 else x


def trained(subject: Subject, folder: Path) -> Any:
    """The model with its weights, trained once and kept in ``folder``."""
    torch.manual_seed(0)
    model: Any = subject.make()
    path = folder / f"{subject.name}.pt"
    if path.exists():
        model.load_state_dict(torch.load(path, weights_only=True))
        return model.eval()
    rng = np.random.default_rng(0)
    optimiser = torch.optim.Adam(model.parameters(), 2e-3)
    for _ in range(subject.steps):
        x = to_model(subject, subject.rows(True, subject.batch_trained, rng))
        mean, logvar = model.encode(x)
        rebuilt = model.decode(mean + torch.randn_like(mean) * (0.5 * logvar).exp())
        if subject.logits:
            loss = nn.functional.binary_cross_entropy_with_logits(rebuilt, x, reduction="sum")
        else:
            loss = (rebuilt - x).square().sum()
        loss = loss + 0.5 * (mean.square() + logvar.exp() - 1 - logvar).sum()
        optimiser.zero_grad()
        (loss / len(x)).backward()
        optimiser.step()
    torch.save(model.state_dict(), path)
    return model.eval()


def bundle(subject: Subject, folder: Path, say: Callable[[str], object]) -> Path:
    """The bundle of a subject, made once and kept in ``folder``."""
    path = folder / f"{subject.name}.vaeb"
    if not path.exists():
        say(f"{subject.name}: training")
        model = trained(subject, folder)
        rows = subject.rows(True, subject.calibration, np.random.default_rng(1))
        config = ExportConfig(name=subject.name, precisions=subject.variants, **subject.config)

        def step(what: str) -> None:
            say(f"{subject.name}: {what}")

        export(model, path, calibration=rows, config=config, scale_form="logvar", progress=step)
    return path
