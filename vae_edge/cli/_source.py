"""SOURCE of an export: a run folder, or ``pkg.module:factory``."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vae_edge_runtime._require import require
from vae_edge_runtime.errors import AdaptError, DataError, OptionError

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class ModelSource:
    """A model, and the export options it brings along."""

    model: nn.Module
    export_options: dict[str, Any]


def open_source(source: str, weights: Path | None) -> ModelSource:
    """Load a model.

    Raises:
        OptionError: ``source`` is neither a run folder nor of the form module:name.
        DataError: the run or the weights do not fit. AdaptError: the factory gives no module.
    """
    require("torch", extra="export", why="exporting")
    if Path(source).is_dir():
        from vae_edge.training import load_run

        if weights is not None:
            raise OptionError("a run folder brings its own weights: drop --weights")
        run = load_run(source)
        return ModelSource(run.model, run.export_options)
    from torch import nn

    model = import_object(source, "a run folder, or a factory 'pkg.module:name'")()
    if not isinstance(model, nn.Module):
        raise AdaptError(f"{source}() gave a {type(model).__name__}, not a torch.nn.Module")
    if weights is not None:
        _load_weights(model, weights)
    return ModelSource(model, {})


def import_object(text: str, wanted: str) -> Callable[..., Any]:
    """``pkg.module:name`` to the callable it names; the current folder is searched too.

    Raises:
        OptionError: there is no such module or name, or it cannot be called.
    """
    module_name, colon, name = text.partition(":")
    if not colon or not name:
        raise OptionError(f"{text!r} is not {wanted}")
    sys.path.insert(0, str(Path.cwd()))
    try:
        found: Any = importlib.import_module(module_name)
        for part in name.split("."):
            found = getattr(found, part)
    except ModuleNotFoundError as error:
        raise OptionError(f"{text}: there is no module {error.name!r} here or in this environment") from error
    except AttributeError as error:
        raise OptionError(f"{text}: {error}") from error
    finally:
        sys.path.pop(0)
    if not callable(found):
        raise OptionError(f"{text} is a {type(found).__name__} and cannot be called")
    return found  # type: ignore[no-any-return]


def _load_weights(model: nn.Module, path: Path) -> None:
    safetensors = require("safetensors.torch", extra="export", why="reading weights")
    if path.suffix != ".safetensors":
        raise OptionError(f"{path} is no .safetensors file; other formats can run code when they are opened")
    try:
        state = safetensors.load(path.read_bytes())
        result = model.load_state_dict(state, strict=False)
    except Exception as error:
        raise DataError(f"{path} does not fit the model: {error}") from error
    if result.missing_keys or result.unexpected_keys:
        missing, unexpected = (", ".join(keys[:5]) or "none" for keys in (result.missing_keys, result.unexpected_keys))
        raise DataError(f"{path} does not fit the model: missing {missing}; unexpected {unexpected}")
