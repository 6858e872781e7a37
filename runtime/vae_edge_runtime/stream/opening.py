"""A stream from a session, a source and options by name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .. import arguments
from ..errors import InputError, OptionError
from ..format.stream_rules import StreamSpec
from .engine import Scoring, Stream
from .options import StreamOptions


def open_stream(vae: Scoring, source: Iterable[Any], **options: Any) -> Stream:
    """Decisions about the rows of a source, as they come; what ``VAE.stream`` calls.

    Args:
        vae: the session that scores, or what stands in for one: see ``Scoring``.
        source: an iterable of rows, of (time in seconds, row), or of ``Rows``; see ``VAE.stream``.
        options: fields of ``StreamOptions``, by name; ``VAE.stream`` explains each.

    Raises:
        InputError: ``source`` cannot be iterated over.
        OptionError: an option out of range or unknown, a conditional model, or a bundle without rules for streams.

    Example:
        >>> from vae_edge_runtime.stream import open_stream
        >>> with open_stream(vae, rows, drift=False) as events:
        ...     [event.index for event in events]
        [0, 1, 2]
    """
    arguments.instance("vae", vae, Scoring, "a session: load(...)")
    chosen, manifest = StreamOptions.named(options), vae.manifest
    length = manifest.input.shape[0] if manifest.input.layout == "time_features" else 1
    stride = length if chosen.stride is None else chosen.stride
    if stride != 1 and length == 1:
        raise OptionError(f"stride is {stride}; it is the step between windows, and this model takes single rows")
    if manifest.condition is not None:
        raise OptionError("a stream has no conditions: score the rows of a conditional model with score()")
    if chosen.impute == "auto" and manifest.input.layout != "time_features":
        raise OptionError("missing cells are imputed in windows only: this model takes rows of another kind")
    heads = arguments.heads(chosen.heads, vae.heads)
    for head in heads:
        arguments.choice("heads", head, vae.heads)
    own = manifest.stream
    guard = chosen.guard if chosen.guard is not None or own is None else own.guard
    alarm = chosen.alarm if chosen.alarm is not None or own is None else own.alarm
    if guard is None or alarm is None:
        raise OptionError("this bundle has no rules for streams: pass guard and alarm, or export it again")
    iterable = isinstance(source, Iterable) or (hasattr(source, "__getitem__") and hasattr(source, "__len__"))
    if not iterable or getattr(source, "ndim", 1) == 0:  # an array without axes is iterable by its type alone
        raise InputError(f"source is a {type(source).__name__}; pass an iterable of rows")
    return Stream(vae, source, chosen, stride=stride, heads=heads, rules=StreamSpec(guard, alarm))
