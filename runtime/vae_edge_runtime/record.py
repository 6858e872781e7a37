"""``record``: a frozen dataclass whose methods are shared, for classes that every process makes at its start.

``dataclass(frozen=True)`` writes, compiles and runs six functions for each class: 0.5 ms, and the format of a
bundle has some 30 classes. Here the fields are the dataclass's own, so ``fields``, ``replace`` and ``asdict``
work, and one set of methods serves all. A call of the class takes 3 us longer.
"""

from __future__ import annotations

from dataclasses import MISSING, FrozenInstanceError, dataclass, fields
from typing import TYPE_CHECKING, Any, NoReturn

__all__ = ["record"]

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


def _repr(self: Any) -> str:
    return f"{type(self).__qualname__}({', '.join(f'{f.name}={getattr(self, f.name)!r}' for f in fields(self))})"


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
    "__repr__": _repr,
    "__setattr__": _refuse,
    "__delattr__": _refuse,
}
_VALUE_METHODS = {"__eq__": _eq, "__hash__": _hash}
