"""Values: like slotted dataclasses, but nothing is generated when they are imported.

`dataclasses.dataclass` writes and compiles code for each class. For all values of this library that
took a quarter of the time of ``import requests``. Here all classes have the same methods, which
look at the fields of their class. A value counts as a dataclass nevertheless: `dataclasses.fields`,
``replace`` and ``asdict`` accept it, and so do classes that inherit from it. A dataclass with the
same fields is made when one of these asks for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from reprlib import recursive_repr
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar, cast

T = TypeVar("T")

if TYPE_CHECKING:
    from typing_extensions import dataclass_transform
else:

    def dataclass_transform(**_: Any) -> Any:
        """Return a decorator that changes nothing: this is for type checkers only."""
        return lambda function: function


class _Field(dict[str, Any]):
    """The arguments of `dataclasses.field` for one field."""


def field(**options: Any) -> Any:
    """Return what `dataclasses.field` returns for a dataclass."""
    return _Field(options)


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def frozen(kind: type[T]) -> type[T]:
    """Decorate a class as ``dataclass(frozen=True, slots=True)`` does."""
    return _made(kind, {})


@dataclass_transform(field_specifiers=(field,))
def mutable(kind: type[T]) -> type[T]:
    """Decorate a class as ``dataclass(slots=True)`` does."""
    set_as_usual = {n: getattr(object, n) for n in ("__setattr__", "__delattr__")}
    return _made(kind, {"__hash__": None, **set_as_usual})


def _made(kind: type[T], methods: dict[str, Any]) -> type[T]:
    """Return a class with slots in the place of its annotations, and with these methods."""
    members, fields, options = {**methods, **vars(kind)}, dict(getattr(kind, "_fields", {})), {}
    for name, annotation in kind.__annotations__.items():
        if annotation == "KW_ONLY":
            options = {"kw_only": True}
            continue
        given = members.pop(name, _Field())
        fields[name] = {**options, **(given if type(given) is _Field else {"default": given})}
    for name in ("__dict__", "__weakref__"):
        members.pop(name, None)
    hints = {n: hint for n, hint in kind.__annotations__.items() if n in fields}  # no KW_ONLY
    members |= {"__annotations__": hints, "__slots__": tuple(hints)}
    taken = tuple(n for n, f in fields.items() if f.get("init", True) and not f.get("kw_only"))
    members |= {"_fields": fields, "_positional": taken, "__match_args__": taken}
    members["__qualname__"] = kind.__qualname__
    bases = kind.__bases__ if issubclass(kind, _Value) else (_Value,)
    make: Any = type(kind)
    return cast("type[T]", make(kind.__name__, bases, members))


def replace(old: T, **changes: Any) -> T:
    """Return a value with other fields, as `dataclasses.replace` does."""
    given: Any = old
    kept = {n: getattr(old, n) for n, f in given._fields.items() if f.get("init", True)}
    return type(old)(**{**kept, **changes})


class _OfDataclass:
    """An attribute of the dataclass with the same fields."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: object, kind: type) -> Any:
        return getattr(_dataclass_for(kind), self._name)


class _Signature:
    """The signature of a class, for `inspect.signature` and ``help``."""

    def __get__(self, instance: object, kind: type) -> Any:
        from inspect import signature

        maker = next(k for k in kind.__mro__ if not {"_fields", "__init__"}.isdisjoint(vars(k)))
        if "_fields" in vars(maker):
            return signature(_dataclass_for(maker))
        raise AttributeError("__signature__")  # a class of the user with an `__init__` of its own


class _Value:
    """The methods of all values."""

    __slots__ = ()
    __dataclass_fields__ = _OfDataclass()
    __dataclass_params__ = _OfDataclass()
    __signature__ = _Signature()
    _fields: Mapping[str, dict[str, Any]] = MappingProxyType({})
    _positional: tuple[str, ...] = ()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        values = {**dict(zip(self._positional, args, strict=False)), **kwargs}
        is_wrong, found = len(values) != len(args) + len(kwargs), None
        for name, given in self._fields.items():
            if name in values and given.get("init", True):
                found = values.pop(name)
            elif "default" in given:
                found = given["default"]
            elif "default_factory" in given:
                found = given["default_factory"]()
            else:
                is_wrong |= given.get("init", True)
                continue
            object.__setattr__(self, name, found)
        if is_wrong or values:
            # Not a class of the user, which may have an `__init__` of its own.
            kind: Any = next(k for k in type(self).__mro__ if "_fields" in vars(k))
            del self, args, kwargs, values, found  # crash reporters send local variables
            raise TypeError(f"{kind.__qualname__} takes {kind.__signature__}.")
        self.__post_init__()

    def __post_init__(self) -> None:
        """Check the fields, in classes that do."""

    def __setattr__(self, name: str, value: Any) -> None:
        self._refuse_change_of(name)
        object.__setattr__(self, name, value)

    def __delattr__(self, name: str) -> None:
        self._refuse_change_of(name)
        object.__delattr__(self, name)

    def _refuse_change_of(self, name: str) -> None:
        if name in self._fields:
            from dataclasses import FrozenInstanceError

            raise FrozenInstanceError(f"cannot change field {name!r}")

    @recursive_repr()
    def __repr__(self) -> str:
        shown = [n for n, f in self._fields.items() if f.get("repr", True)]
        fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in shown)
        return f"{type(self).__qualname__}({fields})"

    def _compared(self) -> tuple[Any, ...]:
        return tuple(getattr(self, n) for n, f in self._fields.items() if f.get("compare", True))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Value) or type(other) is not type(self):
            return NotImplemented
        return self._compared() == other._compared()

    def __hash__(self) -> int:
        return hash(self._compared())

    def __getstate__(self) -> list[Any]:
        from dataclasses import fields  # with those of a dataclass that inherits from a value

        return [getattr(self, each.name) for each in fields(self)]  # type: ignore[arg-type]

    def __setstate__(self, state: list[Any]) -> None:
        from dataclasses import fields

        for each, found in zip(fields(self), state, strict=True):  # type: ignore[arg-type]
            object.__setattr__(self, each.name, found)

    __replace__ = replace


@lru_cache(maxsize=64)
def _dataclass_for(kind: Any) -> type:
    """Return a dataclass with the fields of a value class."""
    import dataclasses

    hints = [getattr(each, "__annotations__", {}) for each in reversed(kind.__mro__)]
    types = {name: hint for each in hints for name, hint in each.items()}
    return dataclasses.make_dataclass(
        kind.__name__,
        [(n, types[n], dataclasses.field(**given)) for n, given in kind._fields.items()],
        frozen=kind.__setattr__ is not object.__setattr__,
    )
