from __future__ import annotations

import os
import pickle
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from numpy.typing import NDArray

from vae_edge_runtime import OptionError
from vae_edge_runtime.arguments.by_annotation import check_fields, checked, fitted

PATH = str | os.PathLike[str]


class Odd:
    pass


@pytest.mark.parametrize(
    ("kind", "value", "plain"),
    [
        (float, 1, 1.0),
        (float, np.float32(0.5), 0.5),
        (int, np.uint8(3), 3),
        (bool, np.True_, True),
        (str, np.str_("a"), "a"),
        (int | None, None, None),
        (tuple[str, ...], ["a", "b"], ("a", "b")),
        (tuple[str, ...], np.array(["a", "b"]), ("a", "b")),
        (tuple[str, ...], dict.fromkeys("ba").keys(), ("b", "a")),
        (Sequence[str], (each for each in "ba"), ("b", "a")),
        (tuple[float, ...], np.arange(2), (0.0, 1.0)),
        (tuple[int, int], [3, np.int64(4)], (3, 4)),
        (tuple[tuple[int, ...], ...], [[1], [2, 3]], ((1,), (2, 3))),
        (Sequence[str] | str, "ab", "ab"),
        (Sequence[str] | str, ["ab"], ("ab",)),
        (Mapping[str, float], {"a": np.float64(1)}, {"a": 1.0}),
        (Literal["on", "off"], "on", "on"),
        (PATH, Path("a"), Path("a")),
        (PATH | None, None, None),
        (Any, 3, 3),
    ],
)
def test_what_fits_is_passed_on_in_plain_form(kind: Any, value: Any, plain: Any) -> None:
    found = fitted("x", value, kind)
    assert found == plain
    assert isinstance(found, type(plain))


@pytest.mark.parametrize(
    ("kind", "value", "said"),
    [
        (float, "1", "x is '1'; pass a finite number"),
        (float, True, "x is True; pass a finite number"),
        (float | None, np.nan, "x is nan; pass a finite number"),
        (int, 3.0, "x is 3.0; pass a whole number"),
        (int, 1 << 63, "x is 9223372036854775808; pass a whole number"),
        (bool, 1, "x is 1; pass True or False"),
        (str, b"a", "x is b'a'; pass text"),
        (tuple[str, ...], "ab", "x is 'ab'; pass a list: x=['ab']"),
        (tuple[str, ...] | None, "ab", "x is 'ab'; pass a list: x=['ab']"),
        (Sequence[str], "ab", "x is 'ab'; pass a list: x=['ab']"),
        (tuple[float, ...], 0.5, "x is 0.5; pass a list: x=[0.5]"),
        (tuple[float, ...], "ab", "x is 'ab'; pass a list, each a finite number"),
        (tuple[str, ...], {"a"}, "x is {'a'}; pass a list, each text"),
        (tuple[str, ...], ["a", 3], "x[1] is 3; pass text"),
        (tuple[int, int], (1, 2, 3), "x is (1, 2, 3); pass 2 values: a whole number, a whole number"),
        (Sequence[str] | str, 3, "x is 3; pass a list, each text, or text"),
        (Mapping[str, float], {"a": "1"}, "x['a'] is '1'; pass a finite number"),
        (Mapping[str, float], {1: 1.0}, "a key of x is 1; pass text"),
        (Mapping[str, float], [("a", 1.0)], "x is [('a', 1.0)]; pass a dict from text to a finite number"),
        (Literal["on", "off"], "maybe", "x is 'maybe'; valid are on, off"),
        (Callable[[int], int], 3, "x is 3; pass a function"),
        (Odd, "odd", "x is 'odd'; pass an Odd"),
        (PATH, "", "x is ''; pass a path, as text or as a path object"),
        (PATH, "a\0b", "pass a path, as text or as a path object"),
        (PATH, b"a", "x is b'a'; pass a path, as text or as a path object"),
        (NDArray[np.float32], "ab", "x is 'ab'; pass an array of numbers"),
        (NDArray[np.float32], ["a"], "x is ['a']; pass an array of numbers"),
        (NDArray[np.float32], 3.0, "x is 3.0; pass an array of numbers"),
        (NDArray[np.bool_] | None, np.array([0, 1]), "x is array([0, 1]); pass an array of truth values"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_right_call(kind: Any, value: object, said: str) -> None:
    with pytest.raises(OptionError, match=re.escape(said)):
        fitted("x", value, kind)


def test_a_number_that_python_writes_out_nowhere_is_refused_like_any_other() -> None:
    with pytest.raises(OptionError, match="pass a whole number"):
        fitted("x", 10**5000, int)


def test_an_array_stays_the_array_it_was_and_lists_become_one() -> None:
    rows = np.zeros((2, 3))
    assert fitted("x", rows, NDArray[np.float32]) is rows
    assert fitted("x", [[1, 2]], NDArray[np.float32]).shape == (1, 2)
    assert fitted("x", ["a"], NDArray[Any]).tolist() == ["a"]


@dataclass(frozen=True)
class Options:
    columns: tuple[str, ...] = ()
    rate: float = 0.1

    def __post_init__(self) -> None:
        check_fields(self)


@checked
def read(path: PATH, *, columns: tuple[str, ...] = (), **more: Any) -> tuple[Any, ...]:
    """Of a file."""
    return path, columns, more


def test_fields_of_a_frozen_record_are_checked_and_made_plain() -> None:
    assert Options(["a"], 1) == Options(("a",), 1.0)  # type: ignore[arg-type]
    assert hash(Options(["a"])) == hash(Options(("a",)))  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="rate is None; pass a finite number"):
        Options(rate=None)  # type: ignore[arg-type]


def test_a_checked_function_stays_the_function_it_was() -> None:
    assert read("a", columns=["b"], other=3) == ("a", ("b",), {"other": 3})  # type: ignore[arg-type]
    assert read.__doc__ == "Of a file."
    assert pickle.loads(pickle.dumps(read)) is read
    with pytest.raises(OptionError, match="path is 3; pass a path"):
        read(3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'path'"):
        read()  # type: ignore[call-arg]
