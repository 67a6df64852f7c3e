"""How a name that is missing says why, when it is used."""

from __future__ import annotations

from typing import NoReturn, TypeVar

from umbel.absent.classes import ABSENT
from umbel.absent.modules import ABSENT_COMMANDS, ABSENT_FROM

T = TypeVar("T")


class NotThere(NotImplementedError, AttributeError):
    """A name of Celery's interface was used that umbel does not have; the text says what to do."""


class NotThereToImport(ImportError):
    """A name of one of Celery's modules was imported that umbel does not have."""


class _Absent:
    """A name of a class that raises NotThere; subclasses and instances may have it after all."""

    def __init__(self, name: str, reason: str) -> None:
        self.name = name
        self.reason = reason
        self.__doc__ = None  # the reference lists what has words of its own

    def __get__(self, instance: object, owner: type) -> NoReturn:
        raise told_absent(owner, self.name, self.reason)


def told_absent(kind: type, name: str, reason: str) -> NotThere:
    """Return the error that says of a name of a class why it is missing."""
    return NotThere(f"{kind.__name__}.{name} {reason}.")


def tell_of_absent(kind: type[T]) -> type[T]:
    """Let a class say of the names of its table why they are missing."""
    for name, reason in ABSENT[kind.__name__].items():
        if not hasattr(kind, name):
            setattr(kind, name, _Absent(name, reason))
    return kind


def absent_from(module: str, name: str) -> Exception:
    """Return what a module raises for a name that it does not have."""
    reason = ABSENT_FROM[module].get(name)
    if reason is None:
        return AttributeError(f"module {module!r} has no attribute {name!r}")
    return NotThereToImport(f"{module}.{name} {reason}.", name=module)


def all_absent() -> list[tuple[str, str]]:
    """Return all missing names of classes and modules, and commands, with their reasons."""
    tables = {**ABSENT, **ABSENT_FROM}
    return [
        *(
            (f"{of}.{name}", reason)
            for of, table in tables.items()
            for name, reason in table.items()
        ),
        *((f"umbel {name}", reason) for name, reason in ABSENT_COMMANDS.items()),
    ]
