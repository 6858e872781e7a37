"""The door: every call into a user's model goes through here, and every exception of it comes out typed.

A model is foreign code. It may raise anything at any call, ``SystemExit`` included, and print what it likes. Behind
the door there is one error, which names the half, the rows, the line of the model and what to do.
"""

from __future__ import annotations

import dataclasses
import io
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn

from vae_edge_runtime.errors import AdaptError, VaeEdgeError

from ..adapters import Decode, Encode, Recipe, recipe_or_reason
from ..tracing.user_lines import is_users
from .refusing_layer import RefusingLayer, refusing_layer

_ROWS: ContextVar[str] = ContextVar("rows", default="rows")


@contextmanager
def on(rows: str) -> Iterator[None]:
    """Name the rows that the model is run on meanwhile, for its errors: "probe rows of the kind 'large'"."""
    token = _ROWS.set(rows)
    try:
        yield
    finally:
        _ROWS.reset(token)


@contextmanager
def door(describe: Callable[[BaseException], AdaptError]) -> Iterator[None]:
    """Turn whatever foreign code raises into one typed error, and keep what it prints off stdout.

    Args:
        describe: the foreign exception to the error to raise. Errors of ours and Ctrl-C pass as they are.
    """
    try:
        with redirect_stdout(sys.stderr or io.StringIO()):
            yield
    except (VaeEdgeError, KeyboardInterrupt):
        raise
    except BaseException as error:  # SystemExit of a model must not end the tool as if it had succeeded
        raise describe(error) from error


@contextmanager
def reading(what: str) -> Iterator[None]:
    """The door around work on what a model returned or keeps, where its own code may run, too."""
    with door(lambda error: AdaptError(f"{what} failed{place_of(error)}: {in_words(error)}{_memory(error)}")):
        yield


def recipe_of(model: Any, *, encode: Encode | None = None, decode: Decode | None = None) -> Recipe:
    """``recipe_for`` behind the door: a property of the model may raise when it is looked at."""
    with reading("looking for the halves of the model"):
        return recipe_or_reason(model, encode=encode, decode=decode)


def guarded(recipe: Recipe) -> Recipe:
    """The recipe with its three functions behind the door."""
    forward = recipe.forward
    return dataclasses.replace(
        recipe,
        encode=_guarded("encode", recipe.encode),
        decode=_guarded("decode", recipe.decode),
        forward=_guarded("forward", forward) if forward is not None else None,
    )


def _guarded(what: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def call(module: nn.Module, *values: Any) -> Any:
        if (
            torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None
        ):  # the tracer has a door of its own
            return function(module, *values)
        with door(lambda error: failed(what, module, values, error)):
            return function(module, *values)

    return call


def failed(what: str, module: nn.Module, feeds: tuple[Any, ...], error: BaseException) -> AdaptError:
    """A function of the model that raised: which one, on which rows, at which line, and what to do."""
    flat = [value for feed in feeds for value in (feed if isinstance(feed, (list, tuple)) else [feed])]
    shapes = " and ".join(str(tuple(feed.shape)) for feed in flat if isinstance(feed, Tensor))
    layer = refusing_layer(module, error) if what in ("encode", "forward") else None
    if layer is not None and (taken := layer.refused_rows(tuple(flat[0].shape))):
        return AdaptError(
            f"{what} failed on {_ROWS.get()} of shape {shapes}: {taken}. Its layer {layer.said} refused them"
            f"{place_of(error)}",
            explained=True,
        )
    remedy = _remedy(what, error, layer, beside=len(feeds) > 1)
    return AdaptError(f"{what} failed on {_ROWS.get()} of shape {shapes}{place_of(error)}: {in_words(error)}{remedy}")


def foreign(error: BaseException) -> BaseException:
    """The model's own exception behind an error of the door; any other error is itself."""
    return error.__cause__ if isinstance(error, AdaptError) and error.__cause__ is not None else error


def raised_by_the_model(error: AdaptError) -> bool:
    """Whether an error comes from the model, not from a check of ours."""
    return error.__cause__ is not None


def place_of(error: BaseException) -> str:
    """`` at file:line in function`` of the innermost line of the user's, or nothing."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if is_users(frame.filename)]
    return f" at {frames[-1].filename}:{frames[-1].lineno} in {frames[-1].name}" if frames else ""


def in_words(error: BaseException) -> str:
    """Type and text; the text may be missing, and long."""
    try:
        text = str(error).strip()
    except Exception:  # a __str__ of the user's
        text = ""
    return f"{type(error).__name__}: {text[:500]}" if text else type(error).__name__


def _memory(error: BaseException) -> str:
    text = in_words(error).lower()
    if isinstance(error, MemoryError) or "can't allocate memory" in text or "out of memory" in text:
        return ": this machine has too little memory for these rows; export smaller rows, or on a larger machine"
    return ""


def _remedy(what: str, error: BaseException, layer: RefusingLayer | None, *, beside: bool) -> str:
    text = in_words(error)
    if memory := _memory(error):
        return memory
    if isinstance(error, SystemExit):
        return ": the model ends the program; take exit() out of it"
    if "cuda" in text.lower() or "different device" in text.lower():
        return ": code inside it asks for a GPU; take devices from its inputs (x.device), export runs on the CPU"
    if "missing" in text and "positional argument" in text:
        if what == "decode":
            return (
                ": it takes more than the latent. What the encoder kept (skip connections, pooling indices, sizes) "
                "must be part of the code: encode=lambda m, x: torch.cat([code, kept.flatten(1)], 1), and a decode= "
                "that cuts them apart. A label beside the row belongs to both: encode=lambda m, x, label: m.encode(x)"
            )
        return ": if it is a conditional model, pass condition=, one per row"
    if "out of range" in text or "Class values must be" in text or "out of bounds" in text:
        return ": an index inside it has no entry; a column of codes must hold whole numbers from 0, fewer than entries"
    if "found invalid values" in text:  # of a torch distribution
        return (
            ". A parameter of its distribution left its domain: check that the rows are prepared as in training "
            "(--offset, --scale)"
        )
    if what == "encode" and any(word in text for word in ("shape", "size", "dimension", "channels")):
        if layer is None:
            return ""
        return (
            f". Its layer {layer.said} takes {layer.takes}, not {list(layer.given)}: check shape and layout of the rows"
        )
    if what == "decode":
        if beside:
            return ". If forward joins latent and condition before it, write that, decode=lambda m, z, c: …"
        return ". If something comes before it in forward, write that, decode=lambda m, z: …"
    return ": run the model by hand on rows of this shape, or write the half with encode= and decode="
