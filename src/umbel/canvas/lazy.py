"""`Lazy`: what a generator gives, as a sequence that is filled as far as it is read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any


class Lazy(Sequence[Any]):
    """The items of an iterator, which is read once, and no further than somebody asks for."""

    def __init__(self, source: Iterable[Any]) -> None:
        self._source = iter(source)
        self._read: list[Any] = []
        self._ended = False
        self._changes: list[Callable[[Any], object]] = []

    def _fill(self, length: int | None) -> list[Any]:
        """Read until there are so many items, or all."""
        missing = None if length is None else length - len(self._read)
        if missing is None or missing > 0:
            for item in islice(self._source, missing):
                for change in self._changes:
                    change(item)
                self._read.append(item)
            self._ended = length is None or len(self._read) < length
        return self._read

    def each(self, change: Callable[[Any], object]) -> None:
        """Do something with each item: with those that are read now, with others when they are."""
        for item in self._read:
            change(item)
        self._changes.append(change)

    def has_at_least(self, length: int) -> bool:
        """Tell whether there are so many items, without reading on."""
        return len(self._fill(length)) >= length

    def __iter__(self) -> Iterator[Any]:
        place = 0
        while self.has_at_least(place + 1):
            yield self._read[place]
            place += 1

    def __getitem__(self, index: Any) -> Any:
        known = isinstance(index, int) and index >= 0
        return self._fill(index + 1 if known else None)[index]

    def __len__(self) -> int:
        return len(self._fill(None))

    def __bool__(self) -> bool:
        return self.has_at_least(1)

    def __eq__(self, other: object) -> bool:
        return (
            list(self) == list(other) if isinstance(other, Lazy | list | tuple) else NotImplemented
        )

    __hash__ = None  # type: ignore[assignment]  # as with any list

    def __json__(self) -> list[Any]:
        return list(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return list, (list(self),)

    def __repr__(self) -> str:
        """Show what has been read; there may be more, and it may have no end."""
        return f"[{', '.join([*map(repr, self._read), *(() if self._ended else ('...',))])}]"


def several(tasks: Any) -> Any:
    """Return what was given as the parts of a workflow as a sequence: a list, or a lazy one.

    Raises TypeError for what has no items.
    """
    if isinstance(tasks, list | Lazy):
        return tasks
    if not isinstance(tasks, Iterable):
        raise TypeError(f"{tasks!r} has no items: give a list, or what can be read like one.")
    return list(tasks) if isinstance(tasks, Sequence) else Lazy(tasks)


def has_one(tasks: Any) -> bool:
    """Tell whether there is just one, without reading further."""
    if isinstance(tasks, Lazy):
        return tasks.has_at_least(1) and not tasks.has_at_least(2)
    return len(tasks) == 1
