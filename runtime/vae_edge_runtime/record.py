"""``record``: a frozen dataclass whose methods are shared, for classes that every process makes at its start.

``dataclass(frozen=True)`` writes, compiles and runs six functions for each class: 0.5 ms, and the format of a
bundle has some 30 classes. Here the fields are the dataclass's own, so ``fields``, ``replace`` and ``asdict``
work, and one set of methods serves all. A call of the class takes 3 us longer.
"""

from __future__ import annotations

import functools
from dataclasses import MISSING, FrozenInstanceError, dataclass, fields
from typing import TYPE_CHECKING, Any, NoReturn, get_type_hints

__all__ = ["described", "field_types", "one_line", "record"]

_LONGEST, _LONGEST_VALUE = 300, 60
"""Characters of a ``repr``: more fills a screen, and the arrays of a batch fill many."""

if TYPE_CHECKING:
    from dataclasses import dataclass as record
else:

    def record(*, frozen: bool, eq: bool = True) -> Any:
        """Decorate a class, as ``dataclass`` does; only ``frozen=True`` is there."""
        assert frozen

        def decorate(cls: type) -> type:
            made = dataclass(init=False, repr=False, eq=False)(cls)
            for name, method in (_METHODS | _VALUE_METHODS if eq else _METHODS).items():
                if name not in cls.__dict__:
                    setattr(made, name, method)
            return made

        return decorate


@functools.cache
def field_types(cls: type) -> dict[str, Any]:
    """Resolved annotations of a dataclass's fields, in order."""
    hints = get_type_hints(cls)
    return {field.name: hints[field.name] for field in fields(cls)}


def _init(self: Any, *values: Any, **named: Any) -> None:
    known = fields(self)
    if len(values) > len(known):
        raise TypeError(f"{type(self).__qualname__} takes {len(known)} values, got {len(values)}")
    state = self.__dict__
    for field, value in zip(known, values, strict=False):
        if field.name in named:
            raise TypeError(f"{type(self).__qualname__} got two values for {field.name}")
        state[field.name] = value
    for field in known[len(values) :]:
        make: Any = field.default_factory
        value = named.pop(field.name, field.default)
        if value is MISSING and make is not MISSING:
            value = make()
        if value is MISSING:
            raise TypeError(f"{type(self).__qualname__} got no value for {field.name}")
        state[field.name] = value
    if named:
        raise TypeError(f"{type(self).__qualname__} has no field {min(named)}")
    check = getattr(self, "__post_init__", None)
    if check is not None:
        check()


def described(self: Any) -> str:
    """The ``repr`` of a dataclass in one line of at most 300 characters: arrays by dtype and shape, long values cut."""
    shown = {f.name: _shown(getattr(self, f.name)) for f in fields(self) if not f.name.startswith("_")}
    whole = f"{type(self).__qualname__}({', '.join(f'{name}={value}' for name, value in shown.items())})"
    if len(whole) > _LONGEST:
        cut = {name: value if len(value) <= _LONGEST_VALUE else f"{value[:_LONGEST_VALUE - 1]}…"
               for name, value in shown.items()}  # fmt: skip
        whole = f"{type(self).__qualname__}({', '.join(f'{name}={value}' for name, value in cut.items())})"
    return one_line(whole)


def one_line(text: str) -> str:
    """Text in one line of at most 300 characters."""
    text = " ".join(text.splitlines())
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 2]}…{text[-1]}"


def _shown(value: Any) -> str:
    if hasattr(value, "dtype") and hasattr(value, "shape") and value.shape:
        return f"{value.dtype}{list(value.shape)}"
    return repr(value)


def _values(one: Any) -> tuple[Any, ...]:
    return tuple(getattr(one, field.name) for field in fields(one))


def _eq(self: Any, other: object) -> Any:
    return _values(self) == _values(other) if type(other) is type(self) else NotImplemented


def _hash(self: Any) -> int:
    return hash(_values(self))


def _refuse(self: Any, name: str, *value: Any) -> NoReturn:
    raise FrozenInstanceError(f"cannot change {type(self).__qualname__}.{name}: use dataclasses.replace")


_METHODS = {
    "__init__": _init,
    "__repr__": described,
    "__setattr__": _refuse,
    "__delattr__": _refuse,
}
_VALUE_METHODS = {"__eq__": _eq, "__hash__": _hash}
