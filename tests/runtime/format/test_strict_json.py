from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

import pytest
from cpu_time import least_cpu_s
from hypothesis import given
from hypothesis import strategies as st

from vae_edge_runtime import BundleInvalid
from vae_edge_runtime.format.strict_json import MAX_BYTES, MAX_DEPTH, build, dump, parse


@dataclass(frozen=True)
class Inner:
    n: int


@dataclass(frozen=True)
class Outer:
    text: str
    ratio: float
    on: bool
    kind: Literal["a", "b"]
    maybe: float | None
    many: tuple[Inner, ...]
    named: dict[str, int]


GOOD: dict[str, Any] = {
    "text": "é",
    "ratio": 1.5,
    "on": True,
    "kind": "a",
    "maybe": None,
    "many": [{"n": 1}, {"n": 2}],
    "named": {"x": 3},
}


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        (b"", "not valid JSON"),
        (b'{"a": 1} x', "not valid JSON"),
        (b'{"a": 1,}', "not valid JSON"),
        (b"{'a': 1}", "not valid JSON"),
        (b"\xef\xbb\xbf{}", "not valid JSON"),
        (b"\xff\xfe{\0}\0", "not valid JSON"),
        (b'"\xff"', "not valid JSON"),
        (b'"\n"', "not valid JSON"),
        (b'{"a": 1, "b": 2, "a": 1}', "key 'a' occurs twice"),
        (b'[{"x": {"a": 1, "a": 2}}]', "key 'a' occurs twice"),
        (b'{"a": 1, "\\u0061": 2}', "key 'a' occurs twice"),
        (b"NaN", "NaN, which is not a number"),
        (b"[-Infinity]", "-Infinity, which is not a number"),
        (b"1e999", "1e999 overflows"),
        (b"-1e400", "-1e400 overflows"),
        (b"[" * 17 + b"]" * 17, "more than 16 deep"),
        (b"[" * 100_000, "more than 16 deep"),
        (b'{"a":' * 100_000, "more than 16 deep"),
        (b'["' + b"]" * 200_000 + b'", ' + b"[" * 100_000, "more than 16 deep"),
        (b'["\\"' + b"]" * 200_000 + b'", ' + b"[" * 100_000, "more than 16 deep"),
        (b'["\\\\", ' + b"[" * 100_000, "more than 16 deep"),
        (b"9" * 5000, "not valid JSON|64 bits"),
        (b" " * (MAX_BYTES + 1), "the limit is 4194304"),
    ],
)
def test_refused(raw: bytes, problem: str) -> None:
    with pytest.raises(BundleInvalid, match=problem) as caught:
        parse(raw, member="m.json")
    assert caught.value.member == "m.json"
    assert len(str(caught.value)) < 200


def test_brackets_inside_strings_are_no_nesting() -> None:
    text = "[{" * 100 + '\\"' + "]" * 300
    assert parse(json.dumps({text: [text]}).encode(), member="m") == {text: [text]}
    deepest: Any = 1
    for _ in range(MAX_DEPTH):
        deepest = [deepest]
    assert parse(json.dumps(deepest).encode(), member="m") == deepest


@pytest.mark.parametrize("unit", [b'"', b'\\"', b'"\\', b'"\\"', b"\\", b"[", b'{"a', b'"\n'])
def test_the_largest_document_is_refused_in_linear_time(unit: bytes) -> None:
    def refuse(size: int) -> None:
        with pytest.raises(BundleInvalid):
            parse((b'"' + unit * size)[:size], member="m")

    assert least_cpu_s(lambda: refuse(MAX_BYTES)) <= 24 * least_cpu_s(lambda: refuse(MAX_BYTES // 8)) + 0.01


numbers = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
texts = st.text(st.characters(codec="utf-8"))
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


@given(value=values)
def test_what_is_dumped_is_what_is_parsed_and_the_text_is_one(value: Any) -> None:
    raw = dump(value)
    assert parse(raw, member="m") == value
    assert dump(parse(raw, member="m")) == raw


@given(raw=st.binary(max_size=60) | st.text(alphabet='{}[]",:0123456789.eE+-\\utrnNaIl \n').map(str.encode))
def test_any_bytes_are_parsed_as_the_standard_does_or_refused(raw: bytes) -> None:
    try:
        found = parse(raw, member="m")
    except BundleInvalid:
        return
    assert found == json.loads(raw)


def test_dump_refuses_nan() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        dump({"x": float("nan")})


def test_a_document_becomes_the_dataclass_and_back() -> None:
    outer = build(Outer, GOOD, member="m")
    assert outer == Outer("é", 1.5, True, "a", None, (Inner(1), Inner(2)), {"x": 3})
    assert build(Outer, parse(dump(outer), member="m"), member="m") == outer


def test_a_whole_number_serves_as_a_float() -> None:
    found = build(Outer, GOOD | {"ratio": 2, "maybe": -3}, member="m")
    assert (found.ratio, type(found.ratio), found.maybe, type(found.maybe)) == (2.0, float, -3.0, float)


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("text", 1, "text is int, not str"),
        ("text", None, "text is NoneType, not str"),
        ("text", "a\x1b[2J", r"text holds the character '\\x1b', which is not text"),
        ("text", "a\u202eb", r"text holds the character '\\u202e'"),
        ("text", "\ud800", r"text holds the character '\\ud800'"),
        ("text", "\0", "text holds the character"),
        ("ratio", True, "ratio is bool, not float"),
        ("ratio", "1", "ratio is str, not float"),
        ("ratio", 1 << 60, "ratio is int, not float"),
        ("ratio", None, "ratio is NoneType, not float"),
        ("on", 1, "on is int, not bool"),
        ("kind", "c", "kind is 'c'; valid are a, b"),
        ("kind", ["a"], "kind is .*; valid are a, b"),
        ("kind", None, "kind is None; valid are a, b"),
        ("maybe", "x", "maybe is str, not float"),
        ("many", {}, "many is not an array"),
        ("many", [{"n": 1}, {"n": 1.0}], r"many\[1\]\.n is float, not int"),
        ("many", [{"n": True}], r"many\[0\]\.n is bool, not int"),
        ("many", [{"n": 1 << 63}], r"many\[0\]\.n does not fit 64 bits"),
        ("many", [{}], r"missing key many\[0\]\.n"),
        ("many", [{"n": 1, "m": 2}], r"unknown key many\[0\]\.m"),
        ("many", [3], r"many\[0\] is not an object"),
        ("named", [], "named is not an object"),
        ("named", {"x": "3"}, r"named\.x is str, not int"),
        ("named", {"\x1b": 3}, "a key of named holds the character"),
    ],
)
def test_a_value_of_another_type_is_refused_by_its_path(key: str, value: Any, problem: str) -> None:
    with pytest.raises(BundleInvalid, match=problem):
        build(Outer, GOOD | {key: value}, member="m")


def test_a_document_that_is_no_object_is_refused() -> None:
    for value in ([], None, 1, "x"):
        with pytest.raises(BundleInvalid, match="the document is not an object"):
            build(Outer, value, member="m")
