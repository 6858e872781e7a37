"""Trained weights into a module: safetensors, state dicts, Lightning checkpoints."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vae_edge_runtime.dependencies import require
from vae_edge_runtime.errors import DataError, OptionError

from .checkpoint import fitting_place

PICKLES = (".pt", ".pth", ".ckpt", ".bin")


def load_weights(
    model: nn.Module, path: str | os.PathLike[str], *, trust_pickle: bool = False, key: str | None = None
) -> tuple[str, ...]:
    """Load weights into ``model``; every tensor of the model must be there, with its shape.

    Args:
        path: ``.safetensors``, or ``.pt``, ``.pth``, ``.ckpt``, ``.bin``: a state dict, or a checkpoint
            that holds one (Lightning's ``state_dict``).
        trust_pickle: allow the latter; even then only tensors are read if that is enough.
        key: where in the file the weights lie, such as ``ema_state_dict`` or ``state_dict.vae``, in a file
            with several sets of weights that fit.

    Returns:
        What was done to make them fit, a line each; empty where nothing was.

    Raises:
        OptionError: a pickle that is not trusted, or a suffix nobody knows.
        DataError: the file cannot be read, or does not fit the model.
    """
    path = Path(path)
    notes: list[str] = []
    if path.suffix == ".safetensors":
        content: Any = _read_safetensors(path)
    elif path.suffix in PICKLES:
        content, opened_whole = read_pickle(path, trust_pickle=trust_pickle)
        if opened_whole:
            notes.append(f"{path} holds more than tensors: it was opened as a pickle, which can run code")
    else:
        raise OptionError(f"{path}: weights end with .safetensors, or {', '.join(PICKLES)} with --trust-pickle")
    place, more = fitting_place(content, model.state_dict(), key, path)
    model.load_state_dict(place.tensors)
    return (*notes, *more)


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
        tensors: dict[str, Tensor] = safetensors.load(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path} cannot be opened: {error.strerror or error}") from error
    except Exception as error:
        raise DataError(f"{path} cannot be read as safetensors: {error}") from error
    return tensors
