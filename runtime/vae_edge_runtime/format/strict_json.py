"""JSON text to frozen dataclasses and back, refusing everything the fields do not say.

``json.loads`` alone takes duplicate keys, NaN and 1e999; each is refused here. The
dataclass is the schema: field types are enforced exactly (a bool is no int), unknown and
missing keys are errors, and the encoder writes one canonical text for one object. A field with a
default may be missing, and the encoder leaves it out where it holds that default: a bundle that does
not use what the field is for keeps its bytes, and runtimes that do not know the field read it.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import re
import types
import typing
from typing import Any, TypeVar

from .. import arguments
from ..errors import BundleInvalid, CalibrationError
from ..record import field_types
from .limits import MAX_JSON_DEPTH, MAX_JSON_NUMBER, MAX_MANIFEST_BYTES

T = TypeVar("T")

MAX_BYTES, MAX_DEPTH = MAX_MANIFEST_BYTES, MAX_JSON_DEPTH


def parse(raw: bytes, *, member: str) -> Any:
    """Parse UTF-8 JSON bytes strictly.

    Raises:
        BundleInvalid: not UTF-8, not JSON, over 4 MiB, nested over 16 deep, a duplicate
            key, NaN, or a number that overflows a float.
        OptionError: ``raw`` is something else than bytes.
    """

    def refuse(problem: str) -> BundleInvalid:
        return BundleInvalid(problem, member=member)

    arguments.instance("raw", raw, bytes, "bytes of JSON")
    if len(raw) > MAX_BYTES:
        raise refuse(f"JSON of {len(raw)} bytes; the limit is {MAX_BYTES}")
    depth = deepest = 0
    for byte in _STRING.sub(b"", raw).translate(None, delete=_NOT_BRACKETS):
        depth += 1 if byte in b"[{" else -1
        deepest = max(deepest, depth)
    if deepest > MAX_DEPTH:
        raise refuse(f"JSON nested more than {MAX_DEPTH} deep")

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        members = dict(items)
        if len(members) != len(items):
            seen: set[str] = set()  # counting each key in the list took 40 s for 330,000 of them
            for key, _ in items:
                if key in seen:
                    raise refuse(f"JSON key {key!r:.80} occurs twice")
                seen.add(key)
        return members

    def constant(name: str) -> Any:
        raise refuse(f"JSON holds {name}, which is not a number")

    def short(text: str) -> str:
        if len(text) > MAX_JSON_NUMBER:  # Python itself refuses to convert more than 4,300 digits, or takes long
            raise refuse(
                f"JSON number {text[:20]}... of {len(text)} characters; one of 64 bits needs at most {MAX_JSON_NUMBER}"
            )
        return text

    def integer(text: str) -> int:
        return int(short(text))

    def number(text: str) -> float:
        value = float(short(text))
        if not math.isfinite(value):
            raise refuse(f"JSON number {text[:20]} overflows a float")
        return value

    try:
        return json.loads(
            raw.decode("utf-8", errors="strict"),
            object_pairs_hook=pairs,
            parse_constant=constant,
            parse_float=number,
            parse_int=integer,
        )
    except BundleInvalid:
        raise
    except ValueError as error:  # UnicodeDecodeError, JSONDecodeError, a 5000-digit integer
        raise refuse(f"not valid JSON: {error}") from None


# An unterminated string takes the rest: retrying at each quote in it would be quadratic.
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)', re.DOTALL)
_NOT_TEXT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


def not_text(text: str) -> str | None:
    """The first character that no name in a manifest may hold: an escape of a terminal, half of a surrogate pair."""
    bad = _NOT_TEXT.search(text)
    return bad.group() if bad else None


def dump(value: Any) -> bytes:
    """One canonical UTF-8 text of a dataclass or plain value: sorted keys, no NaN, final newline."""
    text = json.dumps(_without_defaults(value), sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False)
    return text.encode() + b"\n"


def _without_defaults(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_defaults(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [_without_defaults(item) for item in value]
    if not dataclasses.is_dataclass(value):
        return value
    kept = ((field, getattr(value, field.name)) for field in dataclasses.fields(value))
    return {
        field.name: _without_defaults(item) for field, item in kept if not is_optional(field) or item != field.default
    }


def is_optional(field: dataclasses.Field[Any]) -> bool:
    """Whether the key of a field may be missing."""
    return field.default is not dataclasses.MISSING


@functools.cache
def _optional_keys(cls: type) -> frozenset[str]:
    return frozenset(field.name for field in dataclasses.fields(cls) if is_optional(field))


def build(cls: type[T], value: Any, *, member: str, where: str = "") -> T:
    """Turn parsed JSON into an instance of the frozen dataclass ``cls``.

    Raises:
        BundleInvalid: a key is unknown or missing, a type differs, or the class's own
            ``__post_init__`` refused the values; the message names the JSON path.
    """
    if not isinstance(value, dict):
        raise BundleInvalid(f"{where or 'the document'} is not an object", member=member)
    wanted = field_types(cls)  # type: ignore[arg-type]
    missing = wanted.keys() - value.keys() - _optional_keys(cls)  # type: ignore[arg-type]
    for problem, keys in (("unknown", value.keys() - wanted.keys()), ("missing", missing)):
        if keys:
            raise BundleInvalid(f"{problem} key {where + '.' if where else ''}{min(keys):.80}", member=member)
    built = {
        name: _convert(kind, value[name], member, f"{where}.{name}" if where else name)
        for name, kind in wanted.items()
        if name in value
    }
    try:
        return cls(**built)
    except BundleInvalid as error:
        raise BundleInvalid(f"{where or 'the document'}: {error.problem}", member=member) from None
    except CalibrationError as error:  # of a class that is fitted here too, such as the tail
        raise BundleInvalid(f"{where or 'the document'}: {error}", member=member) from None


def _convert(kind: Any, value: Any, member: str, where: str) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind):
        return build(kind, value, member=member, where=where)  # type: ignore[arg-type]
    if origin in (typing.Union, types.UnionType):  # only X | None is used
        if value is None:
            return None
        return _convert(next(a for a in arguments if a is not type(None)), value, member, where)
    if origin is typing.Literal:
        if value in arguments and type(value) is type(arguments[0]):
            return value
        raise BundleInvalid(f"{where} is {value!r:.60}; valid are {', '.join(map(str, arguments))}", member=member)
    if origin is tuple:
        if not isinstance(value, list):
            raise BundleInvalid(f"{where} is not an array", member=member)
        return tuple(_convert(arguments[0], item, member, f"{where}[{i}]") for i, item in enumerate(value))
    if origin is dict:
        if not isinstance(value, dict):
            raise BundleInvalid(f"{where} is not an object", member=member)
        return {
            _convert(str, key, member, f"a key of {where}"): _convert(arguments[1], item, member, f"{where}.{key:.80}")
            for key, item in value.items()
        }
    if kind is float and type(value) is int and abs(value) < 1 << 53:
        return float(value)
    if type(value) is not kind:
        raise BundleInvalid(f"{where} is {type(value).__name__}, not {kind.__name__}", member=member)
    if kind is int and not -(1 << 63) <= value < 1 << 63:
        raise BundleInvalid(f"{where} does not fit 64 bits", member=member)
    if kind is str and (bad := not_text(value)):
        raise BundleInvalid(f"{where} holds the character {bad!a}, which is not text", member=member)
    return value
