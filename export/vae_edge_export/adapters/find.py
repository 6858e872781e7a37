"""The notebook VAE: its halves found by the spellings people use, and said aloud.

One candidate is an answer. More than one, or none, is an error that lists what there is and
shows the line to write.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from vae_edge_runtime.errors import AdaptError

from .recipe import BY_NAME, PASSED, Decode, Encode, Recipe, called

ENCODERS = ("encoder", "enc", "encoder_net", "inference_net", "inference_network", "recognition", "q_net", "g_a")
_DECODERS = ("decoder", "dec", "decoder_net", "generator", "generative_net", "generative_network", "p_net", "g_s")
_BEFORE = r"(?:z|fc|to|q|hidden2|encoder|enc|lin|linear|conv|layer|head|dense)?_?"
_AFTER = r"_?(?:z|layer|head|fc|linear|lin|net|conv|out|proj)?"
_MEAN_HEAD = re.compile(rf"{_BEFORE}(?:mu|mean|means|loc){_AFTER}")
_SCALE_HEAD = re.compile(
    rf"{_BEFORE}(?:log_?vars?|log_?variance|variance|vars?|log_?sigmas?|sigma|log_?std|std|log_?scale|scale){_AFTER}"
)
_ENCODE_LINE = "encode=lambda m, x: m.YOUR_METHOD(x)"
_DECODE_LINE = "decode=lambda m, z: m.YOUR_METHOD(z)"


def find(model: nn.Module, *, encode: Encode | None, decode: Decode | None) -> Recipe:
    """A recipe for a module of no known library; halves the user gave are taken as they are.

    Raises:
        AdaptError: a half is missing, or more than one could be meant.
    """
    notes = []
    # A function of the user's may leave out what stands beside the row: decode=lambda m, z: m.paint(z).
    encode, decode = (half and _as_far_as_taken(half) for half in (encode, decode))
    if encode is None:
        encode, note = _find_encode(model)
        notes.append(note)
    if decode is None:
        decode, note = _find_decode(model)
        notes.append(note)
    return Recipe(PASSED if not notes else BY_NAME, model, encode, decode, forward=forward_of, notes=tuple(notes))


def _as_far_as_taken(half: Callable[..., Any]) -> Callable[..., Any]:
    return lambda m, first, *beside: called(half, m, first, *beside)


def forward_of(m: Any, x: Tensor, *condition: Tensor) -> Any:
    """What a module of no known library gives for rows and their condition."""
    return m(x, *condition)


def _find_encode(model: nn.Module) -> tuple[Encode, str]:
    method = callable(getattr(model, "encode", None)) and not isinstance(getattr(model, "encode", None), nn.Module)
    name = "encode" if method else _only_one(model, ENCODERS, "encode", _ENCODE_LINE)
    heads = _heads(model)
    what = f"{'method' if method else 'module'} '{name}'"
    if heads is None:
        return lambda m, x, *c: called(getattr(m, name), x, *c), f"encode: its {what}"
    mean, scale = heads

    def encode(m: Any, x: Tensor, *condition: Tensor) -> Any:
        h = called(getattr(m, name), x, *condition)
        if not isinstance(h, Tensor):
            return h  # it has applied its heads itself
        head = getattr(m, mean)
        h = h.flatten(1) if isinstance(head, nn.Linear) and h.ndim > 2 else h
        if method and not _waits_for(head, h, name):
            return h
        return head(h), getattr(m, scale)(h)

    note = f"encode: its {what}"
    return encode, note + ("" if method else f", then the heads '{mean}' and '{scale}'")


def _waits_for(head: nn.Module, h: Tensor, method: str) -> bool:
    """Whether what a method returned is the input of a head, not its output, by the sizes of both.

    Raises:
        AdaptError: it could be either.
    """
    size = h.shape[1] if h.ndim > 1 else 0
    takes, gives = (
        getattr(head, f"{side}_features", getattr(head, f"{side}_channels", None)) for side in ("in", "out")
    )
    if takes == gives == size:
        raise AdaptError(
            f"{method} returns one tensor of {size} values, and the heads take and give {size}: say whether they come "
            f"after it, encode=lambda m, x: (m.mean_head(h), m.scale_head(h)) for h = m.{method}(x)"
        )
    return takes is None or takes == size


def _find_decode(model: nn.Module) -> tuple[Decode, str]:
    attribute = getattr(model, "decode", None)
    if callable(attribute) and not isinstance(attribute, nn.Module):
        return lambda m, z, *c: called(m.decode, z, *c), "decode: its method 'decode'"
    name = _only_one(model, _DECODERS, "decode", _DECODE_LINE)
    return lambda m, z, *c: called(getattr(m, name), z, *c), f"decode: its module '{name}'"


def _heads(model: nn.Module) -> tuple[str, str] | None:
    children = [name for name, _ in model.named_children()]
    means = [name for name in children if _MEAN_HEAD.fullmatch(name.lower())]
    scales = [name for name in children if _SCALE_HEAD.fullmatch(name.lower())]
    if not means or not scales:
        return None
    if len(means) > 1 or len(scales) > 1:
        raise AdaptError(
            f"{type(model).__name__} has more than one pair of heads ({', '.join(means)}; {', '.join(scales)}): say "
            f"which with encode=lambda m, x: (m.{means[0]}(h), m.{scales[0]}(h)) for h = m.encoder(x)"
        )
    return means[0], scales[0]


def _only_one(model: nn.Module, names: tuple[str, ...], what: str, line: str) -> str:
    present = [name for name in (what, *names) if callable(getattr(model, name, None))]
    if len(present) == 1:
        return present[0]
    if present:
        raise AdaptError(
            f"{type(model).__name__} has {' and '.join(map(repr, present))}, each of which could {what}: "
            f"say which, with {line.replace('YOUR_METHOD', present[0])}"
        )
    hints = ("enc", "dec", "mu", "mean", "var", "latent", "posterior", "generat", "sample")
    similar = [n for n in dir(type(model)) if not n.startswith("_") and any(w in n.lower() for w in hints)]
    similar += [n for n, _ in model.named_children() if n not in similar]
    listed = f" (it has: {', '.join(similar[:8])})" if similar else ""
    if inside := [name for name, part in model.named_modules() if name and _has_both_halves(part)]:
        line = " or ".join(line.replace("m.YOUR_METHOD", f"m.{name}.{what}") for name in inside[:3])
        listed = f"; its {' and '.join(inside[:3])} {'has' if len(inside) == 1 else 'have'} both halves"
    raise AdaptError(f"{type(model).__name__} has no method '{what}'{listed}: pass {line}")


def _has_both_halves(module: nn.Module) -> bool:
    return all(callable(getattr(type(module), half, None)) for half in ("encode", "decode"))
