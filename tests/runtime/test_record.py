"""``record`` against the dataclass it stands for."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from dataclasses import FrozenInstanceError, asdict, dataclass, field, fields, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vae_edge_runtime.record import record


@record(frozen=True)
class Ours:
    """A point."""

    name: str
    at: tuple[int, ...] = (1, 2)
    notes: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.name == "bad":
            raise ValueError(self.name)


@dataclass(frozen=True)
class Theirs:
    """A point."""

    name: str
    at: tuple[int, ...] = (1, 2)
    notes: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.name == "bad":
            raise ValueError(self.name)


@settings(deadline=None)
@given(
    st.lists(st.sampled_from(["a", "bad", (3,)]), max_size=4),
    st.dictionaries(st.sampled_from(["name", "at", "notes", "other"]), st.sampled_from(["a", (4,)]), max_size=3),
)
def test_a_call_does_what_a_dataclass_does(values: list[Any], named: dict[str, Any]) -> None:
    def call(cls: type) -> tuple[Any, ...]:
        try:
            made = cls(*values, **named)
        except (TypeError, ValueError) as error:
            return (type(error),)
        return made.name, made.at, made.notes, repr(made).replace("Theirs", "Ours"), asdict(made)

    assert call(Ours) == call(Theirs)


def test_equal_values_are_equal_and_hash_alike_and_other_classes_are_not() -> None:
    at = dataclasses.make_dataclass("At", ["name"], frozen=True)
    assert Ours("a") == Ours("a", (1, 2)) != Ours("b")
    assert Ours("a") != at("a")
    plain = record(frozen=True)(type("Plain", (), {"__annotations__": {"x": int}, "__doc__": ""}))
    assert hash(plain(3)) == hash(plain(3))
    assert len({plain(3), plain(3), plain(4)}) == 2


def test_what_has_no_equality_is_its_own_identity() -> None:
    own = record(frozen=True, eq=False)(type("Own", (), {"__annotations__": {"x": int}, "__doc__": ""}))
    one = own(3)
    assert one == one
    assert one != own(3)
    assert len({one, own(3)}) == 2


def test_nothing_can_be_changed_and_replace_makes_another() -> None:
    one = Ours("a")
    with pytest.raises(FrozenInstanceError):
        one.name = "b"  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        del one.name
    with pytest.raises(FrozenInstanceError):
        one.new = 1  # type: ignore[attr-defined]
    assert replace(one, at=(5,)) == Ours("a", (5,))
    with pytest.raises(ValueError, match="bad"):
        replace(one, name="bad")
    assert [f.name for f in fields(one)] == ["name", "at", "notes"]


def test_it_is_copied_and_pickled() -> None:
    one = Ours("a", (7,), {"k": 1})
    assert copy.deepcopy(one) == one == pickle.loads(pickle.dumps(one))
    assert one.notes is not copy.deepcopy(one).notes
    assert Ours("a").notes is not Ours("a").notes
