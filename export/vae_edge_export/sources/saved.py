"""What libraries save: ``diffusers:FOLDER``, ``pythae:FOLDER``, ``pyod:FILE``, ``pt2:FOLDER``."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vae_edge_runtime import arguments
from vae_edge_runtime.arguments.by_annotation import checked
from vae_edge_runtime.dependencies import require
from vae_edge_runtime.errors import DataError, OptionError
from vae_edge_runtime.storage.files import read_regular
from vae_edge_runtime.text import json_value


@checked
def open_saved(kind: str, path: str | os.PathLike[str], *, trust_pickle: bool = False) -> Any:
    """A model, ready for ``export``.

    Args:
        kind: one of ``KINDS``.
        path: what the library's own saving wrote; of ``pt2`` a folder with encoder.pt2 and decoder.pt2.
        trust_pickle: allow formats that can run code when they are opened.

    Raises:
        OptionError: a pickle that is not trusted, or no such kind. DataError: it cannot be read.
        MissingDependency: the library is not installed.
    """
    arguments.choice("kind", kind, KINDS)
    place = Path(path)
    if not place.exists():
        raise DataError(f"{place} does not exist")
    return _OPENERS[kind](place, trust_pickle)


def _diffusers(folder: Path, trust_pickle: bool) -> Any:
    config = folder / "config.json"
    if not config.is_file():
        inner = folder / "vae"
        hint = f": say diffusers:{inner}" if (inner / "config.json").is_file() else ""
        raise DataError(f"{folder} holds no config.json{hint}")
    name = _json(config).get("_class_name")
    diffusers = require("diffusers", extra=None, why=f"opening {folder}")
    kind = getattr(diffusers, str(name), None)
    if kind is None:
        raise DataError(f"{config} names the class {name!r}, which diffusers {diffusers.__version__} does not have")
    safe = any(folder.glob("*.safetensors"))
    if not safe:
        _need_trust(folder / "*.bin", trust_pickle)
    return _guarded(folder, lambda: kind.from_pretrained(folder, use_safetensors=safe, local_files_only=True))


def _pythae(folder: Path, trust_pickle: bool) -> Any:
    _need_trust(folder / "model.pt", trust_pickle)
    models = require("pythae.models", extra=None, why=f"opening {folder}")
    return _guarded(folder, lambda: models.AutoModel.load_from_folder(str(folder)))


def _pyod(file: Path, trust_pickle: bool) -> Any:
    _need_trust(file, trust_pickle)
    require("pyod", extra=None, why=f"opening {file}")
    joblib = require("joblib", extra=None, why=f"opening {file}")
    return _guarded(file, lambda: joblib.load(file))


class ExportedHalves(nn.Module):
    """Two programs of ``torch.export``; there is no forward in which to measure the posterior's scale."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def encode(self, *feeds: Tensor) -> Any:
        """What encoder.pt2 gives."""
        return self.encoder(*feeds)

    def decode(self, *feeds: Tensor) -> Any:
        """What decoder.pt2 gives."""
        return self.decoder(*feeds)


def _exported_programs(folder: Path, trust_pickle: bool) -> nn.Module:
    halves = []
    for name in ("encoder.pt2", "decoder.pt2"):
        if not (folder / name).is_file():
            raise DataError(f"{folder} holds no {name}; pt2: takes a folder with encoder.pt2 and decoder.pt2")
        _need_trust(folder / name, trust_pickle)  # torch.export.load unpickles what is not a plain tensor
        file = folder / name
        halves.append(_guarded(file, lambda file=file: torch.export.load(file).module()))
    return ExportedHalves(*halves)


def _need_trust(path: Path, trust_pickle: bool) -> None:
    if not trust_pickle:
        raise OptionError(
            f"{path} is opened with pickle, which can run any code: pass --trust-pickle (trust_pickle=True) if you "
            "made it or trust who did"
        )


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json_value(read_regular(path))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise DataError(f"{path} holds no JSON object")
    return found


def _guarded(path: Path, load: Any) -> Any:
    try:
        return load()
    except Exception as error:  # whatever a foreign loader raises
        raise DataError(f"{path} cannot be opened: {type(error).__name__}: {str(error)[:300]}") from error


_OPENERS: dict[str, Callable[[Path, bool], Any]] = {
    "diffusers": _diffusers,
    "pythae": _pythae,
    "pyod": _pyod,
    "pt2": _exported_programs,
}
KINDS = tuple(_OPENERS)
"""What may stand before the colon of a source."""
