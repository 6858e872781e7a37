"""``train``: rows in, a run folder out; reproducible, resumable, killable."""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vae_edge.models import build
from vae_edge_export.config import ExportConfig
from vae_edge_export.doors import raw_rows, refuse_constant
from vae_edge_export.graphs.modules import DataUnits
from vae_edge_export.rows import check_finite, check_raw_rows, check_unit_interval, model_shape
from vae_edge_runtime.arguments.by_annotation import checked
from vae_edge_runtime.errors import DataError, InputError, OptionError

from . import run_files, run_folder
from .augmentation import Units, augmented
from .config import EpochReport, TrainConfig, TrainResult
from .losses import annealed_beta, kl_nats, kl_with_free_bits, reconstruction_nats
from .schedules import share_of_rate
from .structure import structure_loss, structure_of
from .units import default_units

_SETTLING_BATCHES = 16
"""That statistics of batch norm are taken from after each epoch; a forward pass of each."""
_MAX_GRADIENT_NORM = 100.0
"""In nats per row; only a runaway step is longer."""


@checked
def train(
    config: TrainConfig,
    x: Any,
    *,
    out: str | os.PathLike[str],
    resume: bool = False,
    force: bool = False,
    progress: Callable[[EpochReport], None] | None = None,
) -> TrainResult:
    """Train a reference VAE on raw rows.

    After every epoch the folder holds a complete checkpoint, the best weights so far and the
    metrics, so Ctrl-C or a power cut costs the running epoch only; a resumed run gives the
    weights of one that was never stopped. Nothing is written before the first epoch is
    complete: until then a run that ``force`` replaces is whole.

    Args:
        config: see ``TrainConfig``.
        x: (n, *row_shape) raw rows, normal ones for anomaly detection: an array or tensor of uint8, float32 or
            float64, a data frame, or an iterable of batches.
        out: the run folder; made if absent.
        resume: go on from the folder's checkpoint; rows and config must be the same but for ``epochs``.
        force: start over in a folder that holds a run.
        progress: called after every epoch.

    Raises:
        InputError: rows do not fit the config, hold NaN, or one value only in a column.
        OptionError: the folder holds a run and neither ``resume`` nor ``force`` is given, or both are.
        DataError: nothing to resume, or the loss became NaN or infinite.
        StorageError: the folder cannot be written to.
    """
    folder = Path(out)
    if resume and force:
        raise OptionError("resume goes on with a run, force starts over: pass one of them")
    _refuse_run(folder, resume=resume, force=force)
    x = raw_rows(x, layout=config.layout, names=config.names, what="training data").x
    _check_rows(config, x)
    training, validation = _split(len(x), config)
    config, rows = _model_rows(config, x)
    refuse_constant(x, config.layout, config.names)
    digest = _digest(x)
    if not resume:
        run_files.make(folder)
    with run_files.locked(folder):
        _refuse_run(folder, resume=resume, force=force)  # another training may have ended since
        run_files.settle(folder)
        return _train(config, rows, (training, validation), folder, digest, resume=resume, progress=progress)


def _refuse_run(folder: Path, *, resume: bool, force: bool) -> None:
    if run_files.holds_run(folder) and not (resume or force):
        raise OptionError(
            f"{folder} holds a run; pass resume=True (--resume) or force=True (--force), or another folder"
        )


def _train(
    config: TrainConfig,
    rows: Tensor,
    split: tuple[Tensor, Tensor],
    folder: Path,
    digest: str,
    *,
    resume: bool,
    progress: Callable[[EpochReport], None] | None,
) -> TrainResult:
    """The epochs of a folder that is this training's own."""
    with _deterministic(config.seed):
        model = build(config.model)
    optimiser = torch.optim.Adam(model.parameters(), lr=config.learning_rate)
    epochs: list[EpochReport] = []
    if resume:
        old, checkpoint = run_folder.read_config(folder), run_folder.read_checkpoint(folder)
        if checkpoint.rows_sha256 != digest:
            raise DataError(f"{folder} was trained on other rows: resume with the same ones, or start another run")
        _same_training(old, config, folder)
        run_folder.restore(checkpoint, model, optimiser)
        epochs = list(checkpoint.epochs)
        run_folder.write_config(folder, config)
    units, structure = Units.of(config, rows) if config.augment else None, structure_of(config, rows)
    stopped_early = _out_of_patience(epochs, config)
    while len(epochs) < config.epochs and not stopped_early:
        epochs.append(_epoch(model, optimiser, rows, *split, config, len(epochs) + 1, units, structure))
        first = len(epochs) == 1
        if first:
            run_folder.write_config(folder, config, new=True)
        if epochs[-1] is _best(epochs):
            run_folder.write_weights(folder, model, new=first)
        run_folder.write_checkpoint(folder, model, optimiser, epochs, digest, new=first)
        run_folder.write_metrics(folder, epochs, new=first)
        if first:
            run_files.commit_new_run(folder)
        if progress:
            progress(epochs[-1])
        stopped_early = _out_of_patience(epochs, config)
    best = _best(epochs)
    return TrainResult(folder, best.epoch, best.validation_loss, tuple(epochs), stopped_early)


def _check_rows(config: TrainConfig, x: NDArray[Any]) -> None:
    check_raw_rows(x, "training data")
    check_finite(x, "training")
    row_shape, wanted = x.shape[1:], config.model.input_shape
    if len(row_shape) != len(wanted) or model_shape(row_shape, config.layout) != wanted:
        raise InputError(
            f"a row has shape {row_shape} in layout '{config.layout}'; in model layout it must be {wanted}"
        )


def _model_rows(config: TrainConfig, x: NDArray[Any]) -> tuple[TrainConfig, Tensor]:
    """The config with its offset and scale settled, and the rows in model units."""
    offset, scale = config.offset, config.scale
    if offset is None or scale is None:
        offset, scale = default_units(x, config.layout, config.model.likelihood)
    units = DataUnits(ExportConfig(layout=config.layout, offset=offset, scale=scale), config.model.input_shape)
    rows = units.to_model(torch.from_numpy(np.array(x)))
    if config.model.likelihood == "bernoulli":
        check_unit_interval(rows)
    return replace(config, offset=offset, scale=scale), rows.contiguous()


def _digest(x: NDArray[Any]) -> str:
    return hashlib.sha256(np.ascontiguousarray(x).data).hexdigest()


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
    units: Units | None,
    structure: nn.Module | None,
) -> EpochReport:
    start = time.perf_counter()
    # Everything random in an epoch follows from (seed, epoch): resuming needs no generator state.
    generator = _generator(config.seed, epoch)
    beta = annealed_beta(config, epoch)
    order = training[torch.randperm(len(training), generator=generator)]
    model.train()
    total, seen = 0.0, 0
    batches = list(_batches(order, config.batch_size))
    for i, chosen in enumerate(batches):
        x = rows[chosen]
        if units is not None:
            x = augmented(x, config.augment, units, generator)
        for group in optimiser.param_groups:
            group["lr"] = config.learning_rate * share_of_rate(config, (epoch - 1) * len(batches) + i, len(batches))
        mean, logvar, x_logvar, x_hat = model(x, _noise(len(x), config, generator))
        loss = reconstruction_nats(x, x_hat, x_logvar, config).mean()
        loss = loss + beta * kl_with_free_bits(mean, logvar, config.free_bits)
        if structure is not None:
            loss = loss + structure_loss(x, x_hat, structure, config).mean()
        _refuse_non_finite(loss.item(), "loss", epoch, config)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), _MAX_GRADIENT_NORM * math.sqrt(config.model.elements))
        optimiser.step()
        total, seen = total + loss.item() * len(x), seen + len(x)
    _settle_batch_norm(model, rows, batches[:_SETTLING_BATCHES], config, generator)
    reconstruction, kl = _validate(model, rows, validation, config)
    # The last step of an epoch can break the weights after its own loss was taken.
    _refuse_non_finite(reconstruction + kl, "validation loss", epoch, config)
    return EpochReport(
        epoch=epoch,
        train_loss=total / seen,
        validation_loss=reconstruction + kl,
        reconstruction=reconstruction,
        kl=kl,
        seconds=time.perf_counter() - start,
    )


def _settle_batch_norm(
    model: nn.Module, rows: Tensor, batches: list[Tensor], config: TrainConfig, generator: torch.Generator
) -> None:
    """Means and variances of batch norm from batches through the weights as they are now.

    Its running averages remember ten steps: where an epoch has four, the validation loss is that of another network.
    """
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over the batches
    with torch.no_grad():
        for chosen in batches:
            model(rows[chosen], _noise(len(chosen), config, generator))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def _refuse_non_finite(loss: float, what: str, epoch: int, config: TrainConfig) -> None:
    if not math.isfinite(loss):
        raise DataError(
            f"the {what} became {loss} in epoch {epoch}: lower the learning rate "
            f"(now {config.learning_rate:g}), check offset and scale, or anneal the KL term"
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
    changed = [f.name for f in fields(new) if f.name != "epochs" and getattr(old, f.name) != getattr(new, f.name)]
    if not changed and new.schedule == "cosine" and old.epochs != new.epochs:
        raise OptionError(
            f"{folder} was trained with a cosine that ends with epoch {old.epochs}, and its learning rates are of "
            f"that length: resume with as many epochs, or start over with --force"
        )
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
