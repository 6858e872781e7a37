"""``train``: rows in, a run folder out; reproducible, resumable, killable."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vae_edge.models import build
from vae_edge_export.config import ExportConfig
from vae_edge_export.heads import DataUnits
from vae_edge_runtime.errors import DataError, InputError, OptionError
from vae_edge_runtime.inputs import finite_rows

from . import run_folder
from .config import EpochReport, TrainConfig, TrainResult
from .losses import annealed_beta, kl_nats, kl_with_free_bits, reconstruction_nats

_MAX_GRADIENT_NORM = 100.0
"""In nats per row; only a runaway step is longer."""


def train(
    config: TrainConfig,
    x: NDArray[Any],
    *,
    out: str | Path,
    resume: bool = False,
    force: bool = False,
    progress: Callable[[EpochReport], None] | None = None,
) -> TrainResult:
    """Train a reference VAE on raw rows.

    After every epoch the folder holds a complete checkpoint, the best weights so far and the
    metrics, so Ctrl-C or a power cut costs the running epoch only; a resumed run gives the
    weights of one that was never stopped.

    Args:
        config: see ``TrainConfig``.
        x: (n, *row_shape) uint8 or float32 raw rows, normal ones for anomaly detection.
        out: the run folder; made if absent.
        resume: go on from the folder's checkpoint; the config must be the same but for ``epochs``.
        force: start over in a folder that holds a run.
        progress: called after every epoch.

    Raises:
        InputError: rows do not fit the config, or hold NaN.
        OptionError: the folder holds a run and neither ``resume`` nor ``force`` is given.
        DataError: nothing to resume, or the loss became NaN.
    """
    folder = Path(out)
    started = (folder / run_folder.CONFIG).exists()
    if started and not (resume or force):
        raise OptionError(
            f"{folder} holds a run; pass resume=True (--resume) or force=True (--force), or another folder"
        )
    rows = _model_rows(config, x)
    training, validation = _split(len(rows), config)
    with _deterministic(config.seed):
        model = build(config.model)
    optimiser = torch.optim.Adam(model.parameters(), lr=config.learning_rate)
    epochs: list[EpochReport] = []
    if resume:
        _same_training(run_folder.read_config(folder), config, folder)
        checkpoint = run_folder.read_checkpoint(folder)
        run_folder.restore(checkpoint, model, optimiser)
        epochs = list(checkpoint.epochs)
    folder.mkdir(parents=True, exist_ok=True)
    run_folder.write_config(folder, config)
    stopped_early = _out_of_patience(epochs, config)
    while len(epochs) < config.epochs and not stopped_early:
        epochs.append(_epoch(model, optimiser, rows, training, validation, config, len(epochs) + 1))
        if epochs[-1] is _best(epochs):
            run_folder.write_weights(folder, model)
        run_folder.write_checkpoint(folder, model, optimiser, epochs)
        run_folder.write_metrics(folder, epochs)
        if progress:
            progress(epochs[-1])
        stopped_early = _out_of_patience(epochs, config)
    best = _best(epochs)
    return TrainResult(folder, best.epoch, best.validation_loss, tuple(epochs), stopped_early)


def _model_rows(config: TrainConfig, x: NDArray[Any]) -> Tensor:
    if not isinstance(x, np.ndarray) or x.dtype not in (np.uint8, np.float32) or x.ndim < 2:
        have = f"{x.dtype} {x.shape}" if isinstance(x, np.ndarray) else type(x).__name__
        raise InputError(f"the training rows are {have}; pass (n, *row_shape) of uint8 or float32")
    if not finite_rows(x).all():
        raise InputError(
            f"training row {int(np.flatnonzero(~finite_rows(x))[0])} holds NaN or infinity: drop such rows"
        )
    shape = config.model.input_shape
    raw_shape = (*shape[1:], shape[0]) if config.layout == "nhwc" else shape
    if x.shape[1:] != raw_shape:
        raise InputError(f"a row has shape {x.shape[1:]}, the model takes {raw_shape} in layout '{config.layout}'")
    units = DataUnits(ExportConfig(layout=config.layout, offset=config.offset, scale=config.scale), shape)
    rows = units.to_model(torch.from_numpy(np.array(x)))
    if config.model.likelihood == "bernoulli" and not 0 <= float(rows.min()) <= float(rows.max()) <= 1:
        raise InputError(
            f"a bernoulli likelihood needs values in [0, 1], these reach from {float(rows.min()):g} to "
            f"{float(rows.max()):g}: set offset and scale, or take the mse or gaussian likelihood"
        )
    return rows.contiguous()


def _split(n: int, config: TrainConfig) -> tuple[Tensor, Tensor]:
    order = torch.randperm(n, generator=_generator(config.seed, 0))
    held = max(1, round(n * config.validation))
    if n - held < 2:
        raise InputError(
            f"{n} rows are too few to train on: bring at least {math.ceil(2 / (1 - config.validation)) + 1}"
        )
    return order[held:], order[:held]


def _epoch(
    model: nn.Module,
    optimiser: torch.optim.Adam,
    rows: Tensor,
    training: Tensor,
    validation: Tensor,
    config: TrainConfig,
    epoch: int,
) -> EpochReport:
    start = time.perf_counter()
    # Everything random in an epoch follows from (seed, epoch): resuming needs no generator state.
    generator = _generator(config.seed, epoch)
    beta = annealed_beta(config, epoch)
    order = training[torch.randperm(len(training), generator=generator)]
    model.train()
    total = 0.0
    for chosen in _batches(order, config.batch_size):
        x = rows[chosen]
        mean, logvar, x_logvar, x_hat = model(x, _noise(len(x), config, generator))
        loss = reconstruction_nats(x, x_hat, x_logvar, config).mean()
        loss = loss + beta * kl_with_free_bits(mean, logvar, config.free_bits)
        if not math.isfinite(loss.item()):
            raise DataError(
                f"the loss became {loss.item()} in epoch {epoch}: lower the learning rate "
                f"(now {config.learning_rate:g}), check offset and scale, or anneal the KL term"
            )
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), _MAX_GRADIENT_NORM * math.sqrt(config.model.elements))
        optimiser.step()
        total += loss.item() * len(x)
    reconstruction, kl = _validate(model, rows, validation, config)
    return EpochReport(
        epoch=epoch,
        train_loss=total / len(order),
        validation_loss=reconstruction + kl,
        reconstruction=reconstruction,
        kl=kl,
        seconds=time.perf_counter() - start,
    )


def _batches(order: Tensor, size: int) -> Iterator[Tensor]:
    for start in range(0, len(order), size):
        if len(order) - start > 1 or start == 0:  # batch norm has no variance of one row
            yield order[start : start + size]


def _validate(model: nn.Module, rows: Tensor, validation: Tensor, config: TrainConfig) -> tuple[float, float]:
    """Mean reconstruction and KL of the validation rows, with the same noise in every epoch."""
    generator = _generator(config.seed, -1)
    model.eval()
    reconstruction = kl = 0.0
    with torch.no_grad():
        for start in range(0, len(validation), 256):
            x = rows[validation[start : start + 256]]
            mean, logvar, x_logvar, x_hat = model(x, _noise(len(x), config, generator))
            reconstruction += reconstruction_nats(x, x_hat, x_logvar, config).sum().item()
            kl += kl_nats(mean, logvar).sum().item()
    return reconstruction / len(validation), kl / len(validation)


def _noise(n: int, config: TrainConfig, generator: torch.Generator) -> Tensor:
    return torch.randn(n, config.model.latent_dim, generator=generator)


def _generator(seed: int, epoch: int) -> torch.Generator:
    return torch.Generator().manual_seed((seed * 1_000_003 + epoch) % (1 << 63))


def _best(epochs: list[EpochReport]) -> EpochReport:
    return min(epochs, key=lambda e: (e.validation_loss, e.epoch))


def _out_of_patience(epochs: list[EpochReport], config: TrainConfig) -> bool:
    # While beta still grows the loss may rise for a good reason.
    counted = [e for e in epochs if e.epoch > config.anneal_epochs]
    return config.patience > 0 and bool(counted) and epochs[-1].epoch - _best(counted).epoch >= config.patience


def _same_training(old: TrainConfig, new: TrainConfig, folder: Path) -> None:
    from dataclasses import fields

    changed = [f.name for f in fields(new) if f.name != "epochs" and getattr(old, f.name) != getattr(new, f.name)]
    if changed:
        raise OptionError(
            f"{folder} was trained with another {changed[0]} ({getattr(old, changed[0])}): resume with the same options"
        )


@contextmanager
def _deterministic(seed: int) -> Iterator[None]:
    """Initial weights from ``seed``; torch's global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
