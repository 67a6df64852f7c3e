"""Mappings of which a part is the same for many, and is written only once (serialization.py)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


class Shared:
    """What many mappings have in common. It does not change."""

    __slots__ = ("text", "values")

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values = dict(values)
        #: What it is as JSON, once somebody has written it.
        self.text: str | None = None


class Layered(Mapping[str, Any]):
    """A mapping of its own values, which are texts and finite numbers, and shared ones under other keys.

    Who may want to change it makes a dictionary of it.
    """

    __slots__ = ("own", "shared")

    def __init__(self, shared: Shared, own: Mapping[str, str | float | None]) -> None:
        self.shared = shared
        self.own = own

    def __getitem__(self, key: str) -> Any:
        return self.own[key] if key in self.own else self.shared.values[key]

    def __contains__(self, key: object) -> bool:
        return key in self.own or key in self.shared.values

    def __iter__(self) -> Iterator[str]:
        yield from self.shared.values
        yield from self.own

    def __len__(self) -> int:
        return len(self.shared.values) + len(self.own)

    def __repr__(self) -> str:
        return repr(dict(self))
