"""SOURCE of an export: a run folder, something a library saved, or ``pkg.module:factory``."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from vae_edge_runtime.dependencies import require
from vae_edge_runtime.errors import AdaptError, OptionError, VaeEdgeError
from vae_edge_runtime.format.specs import InputSpec

from . import _console

if TYPE_CHECKING:
    from vae_edge.training import TrainConfig

_SAVED = "diffusers:FOLDER, pythae:FOLDER, pyod:FILE or pt2:FOLDER"
"""``vae_edge_export.sources.KINDS`` in words; to read them here would import torch, and a test compares the two."""

Source = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help=f"A run folder; pkg.module:factory or file.py:factory; {_SAVED}.",
        show_default=False,
    ),
]
Weights = Annotated[
    Path | None, typer.Option(help="Weights for a factory's module: .safetensors, .pt or .ckpt.", show_default=False)
]
WeightsKey = Annotated[
    str | None,
    typer.Option(help="Where in --weights they lie, such as ema_state_dict, if several sets fit.", show_default=False),
]
TrustPickle = Annotated[
    bool, typer.Option("--trust-pickle", help="Open .pt, .ckpt and the like, which can run any code.")
]
Encode = Annotated[
    str | None, typer.Option(help="pkg.module:function (model, x) -> (mean, scale parameter).", show_default=False)
]
Decode = Annotated[str | None, typer.Option(help="pkg.module:function (model, z) -> x_hat.", show_default=False)]
ScaleForm = Annotated[
    str | None,
    typer.Option(
        help="What encode's second value is: logvar, log_std, std, var, softplus; default: measured.",
        show_default=False,
    ),
]

Codebook = Annotated[int | None, typer.Option(min=1, help="Number of codes of a VQ model.")]
Variance = Annotated[
    float | None,
    typer.Option(help="Fixed variance for --likelihood gaussian. Omit it if the decoder returns (mean, logvar)."),
]
Offset = Annotated[str | None, typer.Option(help="x_model = (x - offset) / scale; comma separated.")]
Scale = Annotated[str | None, typer.Option(help="Divisor of the rows; see --offset.", show_default=False)]
Layout = Annotated[str | None, typer.Option(help="nchw or nhwc, for arrays of images.", show_default=False)]
DynamicSize = Annotated[
    bool,
    typer.Option(
        "--dynamic-size", help="Leave height and width of encode and decode free; scores keep the rows' size."
    ),
]
SizeMultiple = Annotated[
    int | None,
    typer.Option(min=1, help="With --dynamic-size: what both are multiples of; default: found.", show_default=False),
]


@dataclass(frozen=True)
class ModelSource:
    """A model, and the export options it brings along.

    Attributes:
        window: rows of a table in one row of the model, where a run folder says so.
        row: that the model takes, where a run folder says so.
    """

    model: Any
    export_options: dict[str, Any]
    window: int | None = None
    row: InputSpec | None = None


def open_source(
    source: str, weights: Path | None, *, trust_pickle: bool = False, weights_key: str | None = None
) -> ModelSource:
    """Load a model; what was done to its weights is said on stderr.

    Raises:
        OptionError: ``source`` is none of the forms, or a pickle is not trusted.
        DataError: the run or the weights do not fit. AdaptError: the factory failed.
    """
    require("torch", extra="export", why="exporting")
    if weights_key is not None and weights is None:
        raise OptionError("--weights-key names a place in a file of weights: pass --weights, too")
    kind, colon, rest = source.partition(":")
    if Path(source).is_dir():
        from vae_edge.training import load_run

        _no_weights(weights, "a run folder")
        run = load_run(source)
        window = run.config.model.input_shape[0] if run.config.layout == "time_features" else None
        return ModelSource(run.model, run.export_options, window, _row_of(run.config))
    from vae_edge_export.sources import KINDS, load_weights, open_saved

    if colon and kind in KINDS:
        _no_weights(weights, f"{kind}:")
        return ModelSource(open_saved(kind, rest, trust_pickle=trust_pickle), {})
    _refuse_files(source)
    model = _built(source, import_object(source, f"a run folder, a factory 'pkg.module:name', or {_SAVED}"))
    if weights is not None:
        from torch import nn

        if not isinstance(model, nn.Module):
            raise AdaptError(f"{source}() gave a {type(model).__name__}, not a torch.nn.Module to load weights into")
        for note in load_weights(model, weights, trust_pickle=trust_pickle, key=weights_key):
            _console.note(note)
    else:
        _console.note(f"no weights given: the weights are those that {source}() sets (--weights loads others)")
    return ModelSource(model, {})


def _row_of(config: TrainConfig) -> InputSpec:
    """What a trained model takes; the lowest and highest value of its rows are not kept in a run."""
    channels, *sides = config.model.input_shape
    shape = (*sides, channels) if config.layout == "nhwc" else config.model.input_shape
    dtype: Literal["uint8", "float32"] = "uint8" if config.scale == (255.0,) else "float32"
    return InputSpec(shape, dtype, config.layout, 0.0, 0.0, config.names)


def _built(source: str, factory: Callable[..., Any]) -> Any:
    """The model that a factory gives; a module that is there already is the model."""
    from torch import nn

    if isinstance(factory, nn.Module):
        return factory
    try:
        model = factory()
    except (VaeEdgeError, KeyboardInterrupt):
        raise
    except BaseException as error:  # exit() in a factory must not look like a success
        needs = isinstance(error, TypeError) and "required" in str(error) and "argument" in str(error)
        remedy = ". A factory takes no arguments: write one, def build(): return ..., and name it" if needs else ""
        raise AdaptError(f"{source}() failed: {type(error).__name__}: {error}{remedy} (-v shows where)") from error
    if model is None or isinstance(model, (tuple, list, dict)) or inspect.isawaitable(model):
        if inspect.iscoroutine(model):
            model.close()
        listed = model if isinstance(model, (tuple, list)) else ()
        items = model.items() if isinstance(model, dict) else enumerate(listed)
        places = [f"[{key!r}]" for key, value in items if isinstance(value, nn.Module)]
        inside = f", and one at {places[0]}" if places else ""
        raise AdaptError(
            f"{source}() gave a {type(model).__name__}, not a torch.nn.Module{inside}: it must return the module alone"
        )
    return model


_FILES = {
    (".pt", ".pth", ".ckpt", ".bin", ".safetensors"): (
        "holds weights, and no code that uses them: name what builds the model, and pass the file beside it, "
        "pkg.module:build --weights {source}"
    ),
    (".py",): "is a module: say what builds the model in it, {source}:NAME",
    (".vaeb",): "is a bundle already: vae-edge info {source} says what is in it",
    (".pt2",): "is one program: save the two halves as encoder.pt2 and decoder.pt2, and say pt2:FOLDER",
    (".onnx", ".tflite", ".engine", ".h5", ".keras"): "is no PyTorch model: an export begins with the PyTorch module",
}
"""Endings of files that people name as SOURCE, to what to do instead."""


def _refuse_files(source: str) -> None:
    suffix = Path(source).suffix.lower()
    for endings, what in _FILES.items():
        if suffix in endings and Path(source).is_file():
            raise OptionError(f"{source} {what.format(source=source)}")


def import_object(text: str, wanted: str) -> Callable[..., Any]:
    """``pkg.module:name`` or ``path/file.py:name`` to the callable it names; the current folder is searched too.

    Raises:
        OptionError: there is no such module or name, its import fails, or it cannot be called.
    """
    module_name, colon, name = text.partition(":")
    if not colon or not name:
        left, dot, right = text.rpartition(".")
        meant = f": write {left}:{right}" if dot and text.replace(".", "_").isidentifier() else ""
        raise OptionError(f"{text!r} is not {wanted}{meant}")
    place = Path.cwd()
    if module_name.endswith(".py"):
        if not Path(module_name).is_file():
            raise OptionError(f"{text}: there is no file {module_name}")
        place, module_name = Path(module_name).resolve().parent, Path(module_name).stem
    if (here := str(place)) not in sys.path:
        sys.path.insert(0, here)  # for good: a factory may import more of the user's modules when it is called
    try:
        imported: Any = importlib.import_module(module_name)
        for part in name.split("."):
            imported = getattr(imported, part)
    except ModuleNotFoundError as error:
        raise OptionError(f"{text}: there is no module {error.name!r} here or in this environment") from error
    except AttributeError as error:
        raise OptionError(f"{text}: {error}") from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # exit() in a module must not look like a success
        raise OptionError(f"{text}: the import failed: {type(error).__name__}: {error} (-v shows where)") from error
    if not callable(imported):
        raise OptionError(f"{text} is a {type(imported).__name__} and cannot be called")
    return imported  # type: ignore[no-any-return]


def halves(encode: str | None, decode: str | None) -> dict[str, Any]:
    """The callables of ``--encode`` and ``--decode``, for ``export``."""
    given = {"encode": encode, "decode": decode}
    return {key: import_object(text, "of the form pkg.module:function") for key, text in given.items() if text}


def _no_weights(weights: Path | None, what: str) -> None:
    if weights is not None:
        raise OptionError(f"{what} brings its own weights: drop --weights")
