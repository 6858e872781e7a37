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

    factory = import_object(source, "a run folder, or a factory 'pkg.module:name'")
    try:
        model = factory()
    except Exception as error:
        raise AdaptError(f"{source}() failed: {type(error).__name__}: {error} (-v shows where)") from error
    if not isinstance(model, nn.Module):
        raise AdaptError(f"{source}() gave a {type(model).__name__}, not a torch.nn.Module")
    if weights is not None:
        _load_weights(model, weights)
    return ModelSource(model, {})


def import_object(text: str, wanted: str) -> Callable[..., Any]:
    """``pkg.module:name`` to the callable it names; the current folder is searched too.

    Raises:
        OptionError: there is no such module or name, its import fails, or it cannot be called.
    """
    module_name, colon, name = text.partition(":")
    if not colon or not name:
        raise OptionError(f"{text!r} is not {wanted}")
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)  # for good: a factory may import more of the user's modules when it is called
    try:
        found: Any = importlib.import_module(module_name)
        for part in name.split("."):
            found = getattr(found, part)
    except ModuleNotFoundError as error:
        raise OptionError(f"{text}: there is no module {error.name!r} here or in this environment") from error
    except AttributeError as error:
        raise OptionError(f"{text}: {error}") from error
    except Exception as error:
        raise OptionError(f"{text}: the import failed: {type(error).__name__}: {error} (-v shows where)") from error
    if not callable(found):
        raise OptionError(f"{text} is a {type(found).__name__} and cannot be called")
    return found  # type: ignore[no-any-return]


def _load_weights(model: nn.Module, path: Path) -> None:
    safetensors = require("safetensors.torch", extra="export", why="reading weights")
    if path.suffix != ".safetensors":
        raise OptionError(f"{path} is no .safetensors file; other formats can run code when they are opened")
    try:
        result = model.load_state_dict(safetensors.load(path.read_bytes()), strict=False)
    except OSError as error:
        raise DataError(f"{path} cannot be opened: {error.strerror or error}") from error
    except Exception as error:
        raise DataError(f"{path} does not fit the model: {error}") from error
    if result.missing_keys or result.unexpected_keys:
        missing, unexpected = _listed(result.missing_keys), _listed(result.unexpected_keys)
        raise DataError(f"{path} does not fit the model: missing {missing}; unexpected {unexpected}")


def _listed(keys: list[str], most: int = 5) -> str:
    more = f" and {len(keys) - most} more" if len(keys) > most else ""
    return (", ".join(keys[:most]) or "none") + more
