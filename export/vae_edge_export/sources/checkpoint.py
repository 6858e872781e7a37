"""Where the weights of one model lie in a file: under a name of its author's, behind a prefix, raw or averaged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from vae_edge_runtime.errors import DataError

_USUAL = ("state_dict", "model_state_dict", "model", "weights")
"""Names of a state dict in a checkpoint that are not worth a note."""
_DEEPEST = 3
_AVERAGED = ("ema", "averag", "swa", "shadow")


@dataclass(frozen=True, eq=False)
class Place:
    """One set of tensors in a file that fits a model.

    Attributes:
        name: the keys on the way to it and the prefix of its names, joined by dots; empty: the file itself.
        prefix: that was taken off its names. others: tensors beside it that were left out.
    """

    name: str
    prefix: str
    tensors: dict[str, Tensor]
    others: int


def fitting_place(content: Any, wanted: Mapping[str, Any], key: str | None, path: Path) -> tuple[Place, list[str]]:
    """The one place in a checkpoint that fits a model, and what to say about it.

    Args:
        content: what the file holds. wanted: the model's state dict.
        key: name of the place, where the user chose one.

    Raises:
        DataError: none fits; or several do, with different values, and ``key`` names none of them.
    """
    dicts = [(keys, tensors) for keys, tensors in _state_dicts(content)]
    if not dicts:
        raise DataError(f"{path} holds {_in_words(content)} and no state dict: save model.state_dict()")
    places = [place for keys, tensors in dicts for place in _fitting(keys, tensors, wanted)]
    if key is not None:
        chosen = [place for place in places if place.name == key]
        if not chosen:
            raise DataError(f"{path} has no weights that fit the model under {key!r}; {_what_fits(places, dicts)}")
        return chosen[0], [f"weights of {key!r} were taken"]
    if not places:
        raise DataError(f"{path} does not fit the model: {_closest(dicts, wanted)}")
    first, *more = places
    if any(not _equal(first.tensors, other.tensors) for other in more):
        options = " or ".join(f"--weights-key {place.name or '.'}" for place in places)
        raise DataError(
            f"{path} holds {len(places)} sets of weights that fit the model and differ; averaged ones (EMA) are "
            f"usually those to use. Say which with {options} (in Python key=)"
        )
    return first, _notes(first, content)


def _state_dicts(
    content: Any, keys: tuple[str, ...] = (), depth: int = 0
) -> Iterator[tuple[tuple[str, ...], dict[str, Tensor]]]:
    """Every mapping of names to tensors in a checkpoint, with the keys on the way to it."""
    if isinstance(content, nn.Module):
        content = content.state_dict()
    if not isinstance(content, Mapping) or depth > _DEEPEST:
        return
    if tensors := {
        name: value for name, value in content.items() if isinstance(name, str) and isinstance(value, Tensor)
    }:
        yield keys, tensors
    for name, value in content.items():
        if isinstance(name, str) and not isinstance(value, Tensor):
            yield from _state_dicts(value, (*keys, name), depth + 1)


def _fitting(keys: tuple[str, ...], tensors: dict[str, Tensor], wanted: Mapping[str, Any]) -> list[Place]:
    """Places in one state dict: all of it, or what lies under a prefix."""
    prefixes = {""}
    if wanted:
        first = min(wanted)
        prefixes |= {name[: -len(first)] for name in tensors if name.endswith(f".{first}")}
    places = []
    for prefix in sorted(prefixes):
        others = len(tensors) - len(wanted)
        if all(_same_shape(tensors.get(prefix + name), value) for name, value in wanted.items()) and (
            prefix or not others
        ):
            name = ".".join(filter(None, (*keys, prefix.rstrip("."))))
            places.append(Place(name, prefix, {name: tensors[prefix + name] for name in wanted}, others))
    return places


def _same_shape(tensor: Tensor | None, value: Any) -> bool:
    if tensor is None or is_lazy(value):  # a lazy layer takes any shape, and has none to compare
        return tensor is not None
    return not isinstance(value, Tensor) or tensor.shape == value.shape


def _equal(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    return all(torch.equal(tensor.to(b[name].dtype), b[name]) for name, tensor in a.items())


def _notes(place: Place, content: Any) -> list[str]:
    notes = []
    if place.prefix or place.name not in ("", *_USUAL):
        others = f"; {place.others} other tensors were left out" if place.prefix and place.others else ""
        notes.append(f"weights lie under '{place.prefix or place.name}'{others}")
    if isinstance(content, Mapping):
        top = place.name.partition(".")[0]
        averaged = [str(k) for k in content if k != top and any(w in str(k).lower() for w in _AVERAGED)]
        if averaged:
            notes.append(
                f"'{averaged[0]}' beside them, which may hold averaged weights, has another form and was not read"
            )
    return notes


def _what_fits(places: list[Place], dicts: list[tuple[tuple[str, ...], dict[str, Tensor]]]) -> str:
    if places:
        return "those that fit are " + ", ".join(place.name or "." for place in places)
    return "state dicts lie under " + ", ".join(".".join(keys) or "." for keys, _ in dicts[:8])


def _closest(dicts: list[tuple[tuple[str, ...], dict[str, Tensor]]], wanted: Mapping[str, Any]) -> str:
    """In words, what keeps the state dict that shares most names from fitting."""
    keys, tensors = max(dicts, key=lambda item: len(item[1].keys() & wanted.keys()))
    where = f" (of '{'.'.join(keys)}')" if keys else ""
    missing, unexpected = sorted(wanted.keys() - tensors.keys()), sorted(tensors.keys() - wanted.keys())
    if missing or unexpected:
        return f"missing {listed(missing)}; unexpected {listed(unexpected)}{where}"
    other = [
        f"{name} is {tuple(tensors[name].shape)} and the model's {tuple(value.shape)}"
        for name, value in wanted.items()
        if not _same_shape(tensors[name], value)
    ]
    return f"{listed(other)}{where}"


def _in_words(content: Any) -> str:
    if isinstance(content, Mapping) and content:
        return f"a {type(content).__name__} with {listed([repr(key) for key in content])}"
    return f"a {type(content).__name__}"


def listed(names: list[str], most: int = 5) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return (", ".join(names[:most]) or "none") + more
