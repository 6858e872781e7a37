"""What is measured: the defaults of ``train conv`` and ``export``, what they were before, and others."""

from __future__ import annotations

import contextlib
import io
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from inspection_cells import Figures, Split, measure_bundle, measure_patches, measure_pyod

from vae_edge.cli import main

HEADS = ("elbo", "top", "peak", "ssim")


@dataclass(frozen=True)
class Trained:
    """Options of the two commands beside the data; ``epochs`` is the length of a training, equal in time for all.

    Attributes:
        what: in a few words, for the page.
    """

    what: str
    epochs: int
    train: tuple[str, ...] = ()
    export: tuple[str, ...] = ()


TRAINED = {
    "vae": Trained("the default now", 20),
    "vae in tiles": Trained(
        "the default now, by tiles of 32 pixels", 9,
        ("--tile", "32", "--overlap", "8"), ("--tile", "32", "--overlap", "8"),
    ),
    "vae before": Trained(
        "the default before: `mse`, 16 latents, 32 channels, 2 halvings, batches of 64, plain maps", 12,
        ("--loss", "mse", "--latent", "16", "--width", "32", "--depth", "2", "--warmup-epochs", "0",
         "--batch-size", "64"),
        ("--map-channels", "plain"),
    ),
}  # fmt: skip
PYOD = {f"PyOD {name}": name for name in ("PCA", "KNN", "IForest", "VAE")}
PATCHES = "patch neighbours"
METHODS = (*TRAINED, PATCHES, *PYOD)
"""In the order in which they are run."""


def measure(method: str, split: Split, seed: int, *, epochs: int | None = None) -> dict[str, Figures]:
    """Figures by head of one method; ``epochs`` shortens a training.

    Raises:
        MissingDependency: PyOD is not installed. RuntimeError: a command failed.
    """
    if method == PATCHES:
        return measure_patches(split, seed)
    if method in PYOD:
        return measure_pyod(split, seed, PYOD[method])
    with tempfile.TemporaryDirectory() as folder:
        return measure_bundle(_bundle(TRAINED[method], split, seed, Path(folder), epochs), split)


def _bundle(arm: Trained, split: Split, seed: int, folder: Path, epochs: int | None) -> Path:
    """What a user gets who runs the two commands."""
    np.save(folder / "training.npy", split.training)
    np.save(folder / "calibration.npy", split.calibration)
    run, bundle = folder / "run", folder / "model.vaeb"
    _command("train", "conv", "--data", folder / "training.npy", "--layout", "nhwc", "--seed", str(seed),
             "--epochs", str(epochs or arm.epochs), *arm.train, "-o", run)  # fmt: skip
    _command("export", run, "--calibration", folder / "calibration.npy", "--heads", ",".join(HEADS), *arm.export,
             "--allow-poor-fit", "-o", bundle)  # fmt: skip
    return bundle


def _command(*words: str | Path) -> None:
    """In this process: a new one spends seconds on importing PyTorch."""
    messages = io.StringIO()
    with contextlib.redirect_stderr(messages), contextlib.redirect_stdout(messages):
        try:
            main([str(word) for word in words])
        except SystemExit as done:
            if done.code:
                raise RuntimeError(
                    f"vae-edge {' '.join(map(str, words))} failed:\n{messages.getvalue()[-2000:]}"
                ) from None
