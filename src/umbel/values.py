"""Values that are made for each task: frozen, and made as fast as those that are not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import MISSING, Field, fields
from typing import Any, TypeVar

T = TypeVar("T")


def quick(kind: type[T]) -> type[T]:
    """Let a frozen dataclass with slots be made faster. It stays frozen.

    Its own `__init__` asks `object.__setattr__` for each field, which takes three times as long as an
    assignment. This one assigns: while it does, the value is of a twin class with the same slots.
    Raises TypeError for a class with bases, whose slots are not all its own.
    """
    if kind.__mro__ != (kind, object):
        raise TypeError(f"{kind.__name__} has a base, so that no class has its slots.")
    declared = fields(kind)  # type: ignore[arg-type]  # it is a dataclass
    twin = type(kind.__name__, (), {"__slots__": tuple(field.name for field in declared)})
    space: dict[str, Any] = {"KIND": kind, "TWIN": twin, "become": object.__setattr__}
    arguments = ", ".join(["self", *(_argument(field, space) for field in declared)])
    body = "\n    ".join(_body(kind, declared))
    exec(f"def __init__({arguments}):\n    {body}", space)  # noqa: S102 - of our own fields' names
    made = space["__init__"]
    made.__qualname__ = f"{kind.__qualname__}.__init__"
    made.__annotations__ = kind.__init__.__annotations__
    kind.__init__ = made  # type: ignore[method-assign]
    return kind


def _argument(field: Field[Any], space: dict[str, Any]) -> str:
    """Return a field as an argument, and put its default, or what makes it, where the function finds it."""
    space[f"default_{field.name}"] = field.default
    space[f"make_{field.name}"] = field.default_factory
    required = field.default is MISSING and field.default_factory is MISSING
    return field.name if required else f"{field.name}=default_{field.name}"


def _body(kind: type, declared: tuple[Field[Any], ...]) -> Iterator[str]:
    yield 'become(self, "__class__", TWIN)'
    for field in declared:
        name = field.name
        value = name
        if field.default_factory is not MISSING:
            value = f"make_{name}() if {name} is default_{name} else {name}"
        yield f"self.{name} = {value}"
    yield "self.__class__ = KIND"
    if hasattr(kind, "__post_init__"):
        yield "self.__post_init__()"
