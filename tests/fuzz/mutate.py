"""Damage to bytes, from a seeded generator: what a parser meets on a bad day, and what an attacker would try."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Sequence
from typing import Any

NUMBERS = (0, 1, 2, 3, 7, 16, 63, 64, 127, 128, 255, 256, 1 << 15, 1 << 16, 1 << 20, 1 << 28, (1 << 31) - 1, 1 << 31,
           1 << 32, (1 << 53) + 1, (1 << 63) - 1, 1 << 63, (1 << 64) - 1, -1, -2, -(1 << 31), -(1 << 63))  # fmt: skip
TOKENS = (b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\", b"null", b"true", b"NaN", b"1e999", b"-0", b"\x1b[2J",
          b"\xff", b"\xef\xbb\xbf", b"\r", b"\n", b"\0", b"9" * 400, b"1e-400", b"PK\x03\x04", b"../")  # fmt: skip


def flip(raw: bytearray, rng: random.Random) -> None:
    """One bit."""
    if raw:
        raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)


def cut(raw: bytearray, rng: random.Random) -> None:
    """A piece is missing."""
    start = rng.randrange(len(raw) + 1)
    del raw[start : start + rng.choice((1, 2, 8, 64, len(raw)))]


def insert(raw: bytearray, rng: random.Random) -> None:
    """A token, or a number in the bytes of a varint or of a fixed field."""
    at = rng.randrange(len(raw) + 1)
    number = rng.choice(NUMBERS) % (1 << 64)
    raw[at:at] = rng.choice((rng.choice(TOKENS), number.to_bytes(8, "little"), str(number).encode(), varint(number)))


def replace(raw: bytearray, rng: random.Random) -> None:
    """A number over what is there."""
    if raw:
        at = rng.randrange(len(raw))
        new = rng.choice((varint(rng.choice(NUMBERS) % (1 << 64)), bytes([rng.randrange(256)]), rng.choice(TOKENS)))
        raw[at : at + len(new)] = new


def repeat(raw: bytearray, rng: random.Random) -> None:
    """A piece once more, or many times."""
    start = rng.randrange(len(raw) + 1)
    piece = raw[start : start + rng.choice((1, 4, 16, 64))]
    at = rng.randrange(len(raw) + 1)
    raw[at:at] = piece * rng.choice((1, 2, 50))


def varint(value: int) -> bytes:
    """As protobuf writes a number."""
    out = b""
    while value >= 0x80:
        out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
    return out + bytes([value])


STEPS: Sequence[Callable[[bytearray, random.Random], None]] = (flip, cut, insert, replace, repeat)


def mutated(seeds: Sequence[bytes], rng: random.Random, *, longest: int = 1 << 16) -> bytes:
    """One of the seeds after one to six steps; sometimes the head of one and the tail of another."""
    raw = bytearray(rng.choice(seeds))
    if rng.random() < 0.1:
        other = rng.choice(seeds)
        raw = raw[: rng.randrange(len(raw) + 1)] + other[rng.randrange(len(other) + 1) :]
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        rng.choice(STEPS)(raw, rng)
    return bytes(raw[:longest])


_VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 0.5, -0.0, 1e308, 1 << 31, 1 << 62, 1 << 64, -(1 << 63), 10**40, "", "x", "../x",
    "\x1b[2J", "\0", "9" * 50, [], {}, [None], [[]], [0] * 70, {"x": 0},
)  # fmt: skip


def mutated_json(seeds: Sequence[bytes], rng: random.Random) -> bytes:
    """One of the seeds, a JSON document, with one to four values changed: it stays JSON, so it is looked into."""
    document = json.loads(rng.choice(seeds))
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        places = _places(document)
        holder, key = rng.choice(places)
        step = rng.random()
        if step < 0.5:
            holder[key] = copy.deepcopy(rng.choice(_VALUES))
        elif step < 0.7:
            holder[key] = _near(holder[key], rng)
        elif step < 0.8:
            del holder[key]
        elif step < 0.9:
            other, place = rng.choice(places)
            holder[key] = json.loads(json.dumps(other[place])) if isinstance(other, dict) or place < len(other) else 0
        elif isinstance(holder, list):
            holder[key:key] = [copy.deepcopy(holder[key]) for _ in range(rng.choice((1, 2, 70)))]
        else:
            holder[rng.choice(("x", "", *holder))] = copy.deepcopy(holder[key])
    return json.dumps(document).encode()


def _near(value: Any, rng: random.Random) -> Any:
    """A value of the same kind."""
    if isinstance(value, bool) or value is None:
        return not value
    if isinstance(value, (int, float)):
        return rng.choice((-value, value + 1, value - 1, value * 2, value / 2, rng.choice(NUMBERS)))
    if isinstance(value, str):
        return mutated([value.encode("utf-8", "surrogatepass")], rng).decode("utf-8", "replace")
    return rng.choice(([], {}, None))


def _places(document: Any) -> list[tuple[Any, Any]]:
    """Every value of a document, as what holds it and its key there."""
    places: list[tuple[Any, Any]] = []
    waiting = [document]
    while waiting:
        holder = waiting.pop()
        keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
        places += [(holder, key) for key in keys]
        waiting += [holder[key] for key in keys if isinstance(holder[key], (dict, list))]
    return places
