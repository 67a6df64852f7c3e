"""Attributes of dictionaries that are keys of theirs."""

from __future__ import annotations

from typing import Any, Generic, Self, TypeVar, cast, overload

V = TypeVar("V")


class Key(Generic[V]):
    """An attribute that is a key of its dictionary; None where that is missing."""

    def __init__(self, key: str, doc: str) -> None:
        self._key = key
        self.__doc__ = doc

    def _place(self, owner: dict[str, Any]) -> dict[str, Any]:
        return owner

    @overload
    def __get__(self, owner: None, kind: type) -> Self: ...
    @overload
    def __get__(self, owner: dict[str, Any], kind: type) -> V: ...
    def __get__(self, owner: dict[str, Any] | None, kind: type) -> Self | V:
        return self if owner is None else cast(V, self._place(owner).get(self._key))

    def __set__(self, owner: dict[str, Any], value: V) -> None:
        self._place(owner)[self._key] = value


class Option(Key[V]):
    """An attribute that is a key of the dictionary ``options`` in its dictionary."""

    def _place(self, owner: dict[str, Any]) -> dict[str, Any]:
        options: dict[str, Any] = owner.setdefault("options", {})
        return options


class Part(Key[V]):
    """An attribute that is a key of the dictionary ``kwargs`` in its dictionary."""

    def _place(self, owner: dict[str, Any]) -> dict[str, Any]:
        kwargs: dict[str, Any] = owner["kwargs"]
        return kwargs
