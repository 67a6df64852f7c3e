"""An attribute that is made when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

T = TypeVar("T")


class lazy(Generic[T]):
    """A method that becomes an attribute of what it returns.

    As `functools.cached_property`, but that of Python 3.11 holds a lock, one for all instances, while the
    method runs: a process that is forked meanwhile waits for it for ever. Here two threads that ask at the
    same time may both run the method; both get what was made first.
    """

    def __init__(self, make: Callable[[Any], T]) -> None:
        self.__doc__ = make.__doc__
        self._make = make
        self._name = make.__name__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type) -> lazy[T]: ...

    @overload
    def __get__(self, instance: object, owner: type) -> T: ...

    def __get__(self, instance: object | None, owner: type) -> lazy[T] | T:
        """Make the attribute; once it is there nobody asks here."""
        if instance is None:
            return self
        made: T = vars(instance).setdefault(self._name, self._make(instance))
        return made
