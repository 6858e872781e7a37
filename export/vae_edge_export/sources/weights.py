"""Trained weights into a module: safetensors, state dicts, Lightning checkpoints."""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vae_edge_runtime.dependencies import require
from vae_edge_runtime.errors import DataError, OptionError

PICKLES = (".pt", ".pth", ".ckpt", ".bin")
_NESTED = ("state_dict", "model_state_dict", "model", "weights")


def load_weights(model: nn.Module, path: str | os.PathLike[str], *, trust_pickle: bool = False) -> tuple[str, ...]:
    """Load weights into ``model``; every tensor of the model must be there, with its shape.

    Args:
        path: ``.safetensors``, or ``.pt``, ``.pth``, ``.ckpt``, ``.bin``: a state dict, or a checkpoint
            that holds one (Lightning's ``state_dict``).
        trust_pickle: allow the latter; even then only tensors are read if that is enough.

    Returns:
        What was done to make them fit, a line each; empty where nothing was.

    Raises:
        OptionError: a pickle that is not trusted, or a suffix nobody knows.
        DataError: the file cannot be read, or does not fit the model.
    """
    path = Path(path)
    notes: list[str] = []
    if path.suffix == ".safetensors":
        found = _read_safetensors(path)
    elif path.suffix in PICKLES:
        found, opened_whole = read_pickle(path, trust_pickle=trust_pickle)
        if opened_whole:
            notes.append(f"{path} holds more than tensors: it was opened as a pickle, which can run code")
        found = _state_dict(found, path)
    else:
        raise OptionError(f"{path}: weights end with .safetensors, or {', '.join(PICKLES)} with --trust-pickle")
    wanted = model.state_dict()
    tensors, fitted = _without_prefix(found, wanted.keys())
    notes += fitted
    missing, unexpected = sorted(wanted.keys() - tensors.keys()), sorted(tensors.keys() - wanted.keys())
    if missing or unexpected:
        raise DataError(f"{path} does not fit the model: missing {_listed(missing)}; unexpected {_listed(unexpected)}")
    other = [
        f"{name} is {tuple(tensors[name].shape)} and the model's {tuple(tensor.shape)}"
        for name, tensor in wanted.items()
        if isinstance(tensor, Tensor) and tensors[name].shape != tensor.shape
    ]
    if other:
        raise DataError(f"{path} does not fit the model: {_listed(other)}")
    model.load_state_dict(tensors)
    return tuple(notes)


def read_pickle(path: Path, *, trust_pickle: bool) -> tuple[Any, bool]:
    """The object in a torch file, and whether it took a full unpickling.

    Raises:
        OptionError: it is not trusted. DataError: it cannot be read.
    """
    if not trust_pickle:
        raise OptionError(
            f"{path} is a pickle, and opening one can run any code: pass --trust-pickle (trust_pickle=True) if you "
            "made it or trust who did, or save the weights as .safetensors"
        )
    try:
        return torch.load(path, map_location="cpu", weights_only=True), False
    except OSError as error:
        raise DataError(f"{path} cannot be opened: {error.strerror or error}") from error
    except Exception:  # more than tensors in it, or damaged: the full reader tells them apart
        try:
            return torch.load(path, map_location="cpu", weights_only=False), True
        except ModuleNotFoundError as error:
            raise DataError(f"{path} needs the module {error.name!r} to be opened, which is not here") from error
        except (pickle.UnpicklingError, EOFError, RuntimeError, ValueError, AttributeError, KeyError) as error:
            raise DataError(f"{path} cannot be read as a torch file: {error}") from error


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    safetensors = require("safetensors.torch", extra="export", why="reading weights")
    try:
        found: dict[str, Tensor] = safetensors.load(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path} cannot be opened: {error.strerror or error}") from error
    except Exception as error:
        raise DataError(f"{path} cannot be read as safetensors: {error}") from error
    return found


def _state_dict(found: Any, path: Path) -> dict[str, Tensor]:
    if isinstance(found, nn.Module):
        found = found.state_dict()
    for name in _NESTED:
        if isinstance(found, Mapping) and isinstance(found.get(name), Mapping):
            found = found[name]
            break
    if not isinstance(found, Mapping) or not found or not all(isinstance(v, Tensor) for v in found.values()):
        kind = type(found).__name__
        raise DataError(f"{path} holds a {kind} and no state dict: save model.state_dict()")
    return dict(found)


def _without_prefix(found: dict[str, Tensor], wanted: Any) -> tuple[dict[str, Tensor], list[str]]:
    """A checkpoint of a module that held the model: the one prefix under which all of it lies is taken off."""
    wanted = set(wanted)
    if wanted <= found.keys() or not wanted:
        return found, []
    first = min(wanted)
    prefixes = {name[: -len(first)] for name in found if name.endswith(f".{first}")}
    fitting = [prefix for prefix in prefixes if all(prefix + name in found for name in wanted)]
    if len(fitting) != 1:
        return found, []
    prefix = fitting[0]
    others = len(found) - len(wanted)
    note = f"weights lie under '{prefix}'" + (f"; {others} other tensors were left out" if others else "")
    return {name: found[prefix + name] for name in wanted}, [note]


def _listed(names: list[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return (", ".join(names[:most]) or "none") + more
