"""A run folder: config.json, weights.safetensors, metrics.jsonl, checkpoint.safetensors. No pickle."""

from __future__ import annotations

import dataclasses
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save
from torch import Tensor, nn

from vae_edge.models import ModelConfig, build
from vae_edge_runtime.arguments.by_annotation import checked
from vae_edge_runtime.errors import DataError
from vae_edge_runtime.storage.files import write_atomic
from vae_edge_runtime.text import json_value

from . import run_files
from .config import EpochReport, TrainConfig
from .run_files import CHECKPOINT, CONFIG, METRICS, WEIGHTS

CONFIG_VERSION = 1
"""Of ``config.json``, its key ``schema_version``."""


@dataclass(frozen=True)
class Run:
    """A trained model, and how to export it.

    Attributes:
        model: in eval mode, with the best epoch's weights.
        export_options: keyword arguments of ``ExportConfig``.
    """

    model: nn.Module
    config: TrainConfig
    export_options: dict[str, Any]


@checked
def load_run(folder: str | os.PathLike[str]) -> Run:
    """Read a run folder that ``train`` has written.

    Args:
        folder: with ``config.json`` and ``weights.safetensors``.

    Raises:
        DataError: it is no run folder, or its files do not fit together.
        OptionError: ``folder`` is no path.
    """
    folder = Path(folder)
    config = read_config(folder)
    with torch.random.fork_rng(devices=[]):  # build draws weights that are replaced at once
        model = build(config.model)
    try:
        weights = run_files.read(folder, WEIGHTS)
        if read_config(folder) != config:
            raise DataError(f"{folder} was replaced by another training while it was read: open it again")
        model.load_state_dict(load(weights))
    except FileNotFoundError:
        raise DataError(f"{folder} holds no {WEIGHTS}: the training did not finish its first epoch") from None
    except OSError as error:
        raise DataError(f"{folder / WEIGHTS} cannot be read ({error.strerror})") from error
    except (SafetensorError, RuntimeError) as error:
        raise DataError(f"{folder / WEIGHTS} does not fit {CONFIG}: {error}") from error
    return Run(model.eval(), config, export_options(config))


def export_options(config: TrainConfig) -> dict[str, Any]:
    """What ``ExportConfig`` needs to know of a training."""
    return {
        "likelihood": config.model.likelihood,
        "variance": config.model.variance,
        "logits": config.model.likelihood == "bernoulli",
        "layout": config.layout,
        "offset": config.offset,
        "scale": config.scale,
        "names": config.names,
    }


def read_config(folder: Path) -> TrainConfig:
    """Parse ``config.json``.

    Raises:
        DataError: it is absent, not JSON, of another schema version, or has other keys.
    """
    path = folder / CONFIG
    try:
        plain = json_value(run_files.read(folder, CONFIG).decode("utf-8"))
        if plain.pop("schema_version") != CONFIG_VERSION:
            raise DataError(f"{path} was written by another version of vae-edge: train again")
        model = plain.pop("model")
        model["input_shape"] = tuple(model["input_shape"])
        tuples = {name: tuple(plain[name]) for name in ("offset", "scale", "names")}
        tuples["augment"] = tuple(plain.get("augment", ()))  # absent in runs of earlier days
        return TrainConfig(model=ModelConfig(**model), **(plain | tuples))
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(f"{folder} is no run folder: it has no {CONFIG}; make one with 'vae-edge train'") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path} is not a training config: {error}") from error


def write_config(folder: Path, config: TrainConfig, *, new: bool = False) -> None:
    """Write ``config.json``; ``new``, here and below: of a run that ``commit_new_run`` will put in place."""
    plain = {"schema_version": CONFIG_VERSION, **dataclasses.asdict(config)}
    text = json.dumps(plain, indent=1, sort_keys=True) + "\n"
    write_atomic(run_files.path_of(folder, CONFIG, new=new), [text.encode()])


def write_weights(folder: Path, model: nn.Module, *, new: bool = False) -> None:
    """Write ``weights.safetensors``."""
    write_atomic(run_files.path_of(folder, WEIGHTS, new=new), [save(_contiguous(model.state_dict()))])


def write_metrics(folder: Path, epochs: list[EpochReport], *, new: bool = False) -> None:
    """Write ``metrics.jsonl``, a line per epoch."""
    lines = [json.dumps(dataclasses.asdict(epoch)) + "\n" for epoch in epochs]
    write_atomic(run_files.path_of(folder, METRICS, new=new), ["".join(lines).encode()])


@dataclass(frozen=True)
class Checkpoint:
    """State after whole epochs; with the config it decides everything that follows."""

    tensors: dict[str, Tensor]
    epochs: list[EpochReport]
    rows_sha256: str


def write_checkpoint(
    folder: Path,
    model: nn.Module,
    optimiser: torch.optim.Adam,
    epochs: list[EpochReport],
    rows_sha256: str,
    *,
    new: bool = False,
) -> None:
    """Write weights, Adam's moments, the history and which rows they are of, in one atomic step."""
    names = [name for name, _ in model.named_parameters()]
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    for index, state in optimiser.state_dict()["state"].items():
        tensors |= {f"adam.{names[index]}.{key}": torch.as_tensor(value) for key, value in state.items()}
    metadata = {"epochs": json.dumps([dataclasses.asdict(epoch) for epoch in epochs]), "rows_sha256": rows_sha256}
    write_atomic(run_files.path_of(folder, CHECKPOINT, new=new), [save(_contiguous(tensors), metadata=metadata)])


def read_checkpoint(folder: Path) -> Checkpoint:
    """Read what ``write_checkpoint`` wrote.

    Raises:
        DataError: there is none, or it is damaged.
    """
    path = folder / CHECKPOINT
    if not path.is_file():
        raise DataError(f"{folder} holds no {CHECKPOINT} to resume from: start over with --force")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
            epochs = [EpochReport(**e) for e in json_value(metadata["epochs"])]
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return Checkpoint(tensors, epochs, metadata["rows_sha256"])
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path} is damaged ({error}): start over with --force") from error


def restore(checkpoint: Checkpoint, model: nn.Module, optimiser: torch.optim.Adam) -> None:
    """Put a checkpoint's state into a model and its optimiser.

    Raises:
        DataError: it belongs to another architecture.
    """
    try:
        prefix = "model."
        weights = {k[len(prefix) :]: v for k, v in checkpoint.tensors.items() if k.startswith(prefix)}
        model.load_state_dict(weights)
        state = {}
        for index, (name, _) in enumerate(model.named_parameters()):
            prefix = f"adam.{name}."
            state[index] = {k[len(prefix) :]: v for k, v in checkpoint.tensors.items() if k.startswith(prefix)}
        optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
    except (RuntimeError, ValueError, KeyError) as error:
        raise DataError(f"the checkpoint does not fit this model: {error}") from error


def _contiguous(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().contiguous().clone() for name, value in tensors.items()}
