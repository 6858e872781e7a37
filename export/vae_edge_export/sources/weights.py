"""Trained weights into a module: safetensors, state dicts, Lightning checkpoints."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vae_edge_runtime.arguments.by_annotation import checked
from vae_edge_runtime.dependencies import require
from vae_edge_runtime.errors import DataError, OptionError

from .checkpoint import fitting_place

WRAPPERS = {"OptimizedModule": "_orig_mod", "DataParallel": "module", "DistributedDataParallel": "module"}
"""Class of what torch.compile and data parallelism put around a model, to the attribute that holds the model."""
_NO_WEIGHTS = {
    b"version https://git-lfs": "is a pointer of Git LFS to the file, and not the file: run git lfs pull",
    b"<!DOCTYPE": "is a web page: the download gave another answer than the file",
    b"<html": "is a web page: the download gave another answer than the file",
}
"""How a file begins that holds no weights at all, to what it is."""
PICKLES = (".pt", ".pth", ".ckpt", ".bin")


@checked
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
    while (inner := WRAPPERS.get(type(model).__name__)) is not None:
        model = getattr(model, inner)
    _check_content(path)
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
    # Weights on the meta device have no memory to copy into.
    model.load_state_dict(place.tensors, assign=any(value.is_meta for value in model.state_dict().values()))
    return (*notes, *more)


def _check_content(path: Path) -> None:
    """Raise DataError for a file that is no weights of any kind, with what it is."""
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except OSError:  # the reader of its kind says it
        return
    if not head:
        raise DataError(f"{path} cannot be read: it is empty")
    for begin, what in _NO_WEIGHTS.items():
        if head.lstrip().startswith(begin):
            raise DataError(f"{path} {what}")


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
