"""Properties that look like others before them: what they have in common is compared at once.

The messages of a queue differ in their ids and moments, and in little else. So where properties as long as
these were read some times, it is kept where their texts and numbers lie. Those that follow are cut there by
one call, and are a copy of the first but for texts and numbers that are not the same. What differs in
anything else, as the length of a text, is of another shape.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import Any

#: Properties of one length that are read before their shape is kept; shapes of one length, and lengths, above
#: which all is forgotten; and bytes of properties that have one.
OFTEN, MOST_OF_A_LENGTH, MOST_LENGTHS, LONGEST = 8, 4, 125, 4096
#: More texts and numbers than a task's message has.
MOST_VALUES = 64
#: How many of one length may be read before one is tried again that has none.
RARELY = 1000

#: A text or a number: where it begins and ends in the properties, in which table, its name there, and what
#: makes it of its bytes.
Value = tuple[int, int, int, str, Callable[[bytes], Any]]


class NoShape(Exception):
    """There is something in these properties of which a copy would not do."""


class Marks:
    """What is noted while properties are read, to make their shape of it."""

    def __init__(self) -> None:
        self.values: list[Value] = []
        #: Tables, and in which table, by which name, each of them is but for the first.
        self.tables: list[dict[str, Any]] = []
        self.places: list[tuple[int, str]] = []
        #: Arrays: in which table, and by which name.
        self.arrays: list[tuple[int, str]] = []
        #: How many values there are of whatever kind.
        self.count = 0

    def table(self, table: dict[str, Any], parent: int = 0, name: str = "") -> int:
        """Note a table; return its number."""
        self.tables.append(table)
        self.places.append((parent, name))
        return len(self.tables) - 1


class Shape:
    """What properties of one shape have in common. Raises NoShape for those that have none."""

    def __init__(self, data: bytes, at: int, marks: Marks) -> None:
        has_twins = (
            sum(map(len, marks.tables)) < marks.count
        )  # of two of one name the last one counts
        if len(marks.values) > MOST_VALUES or has_twins:
            raise NoShape
        self._values = [value[2:] for value in marks.values]
        form, end = ["="], at
        for start, after, *_ in marks.values:
            form.append(f"{start - end}s{after - start}s")
            end = after
        form.append(f"{len(data) - end}s")
        self._cut: Callable[[bytes, int], tuple[bytes, ...]] = Struct("".join(form)).unpack_from
        cut = self._cut(data, at)
        self._rest, self._first = cut[::2], cut[1::2]
        self._tables = marks.tables
        self._inner = [(number, *place) for number, place in enumerate(marks.places)][1:]
        self._arrays = marks.arrays
        for table, name in marks.arrays:
            if any(isinstance(one, list | dict) for one in marks.tables[table][name]):
                raise NoShape

    def read(self, data: bytes, at: int) -> dict[str, Any] | None:
        """Return properties as long as those that the shape was made of; None where theirs is another."""
        cut = self._cut(data, at)
        if cut[::2] != self._rest:
            return None
        tables = [table.copy() for table in self._tables]
        first = self._first
        for value, known, (table, name, read) in zip(cut[1::2], first, self._values, strict=True):
            if value != known:
                tables[table][name] = read(value)
        for number, table, name in self._inner:
            tables[table][name] = tables[number]
        for table, name in self._arrays:
            tables[table][name] = tables[table][name].copy()
        return tables[0]


class Shapes:
    """The shapes that were met. Threads may share it: what they lose of each other's is learned again."""

    def __init__(self) -> None:
        self._shapes: dict[int, tuple[Shape, ...]] = {}
        self._seen: dict[int, int] = {}

    def read(self, data: bytes, at: int) -> dict[str, Any] | None:
        """Return properties if their shape is known."""
        for shape in self._shapes.get(len(data) - at, ()):
            found = shape.read(data, at)
            if found is not None:
                return found
        return None

    def is_new(self, length: int) -> bool:
        """Note that properties of an unknown shape are read; tell whether that is to be kept now."""
        if length > LONGEST:
            return False
        seen = self._seen[length] = self._seen.get(length, 0) + 1
        if len(self._seen) > MOST_LENGTHS:
            self._seen, self._shapes = {}, {}
        return seen >= OFTEN

    def keep(self, data: bytes, at: int, marks: Marks) -> None:
        """Keep the shape of properties that were just read."""
        length = len(data) - at
        try:
            shape = Shape(data, at, marks)
        except NoShape:
            self._seen[length] = -RARELY
            return
        self._seen[length] = 0
        known = self._shapes.get(length, ())
        self._shapes[length] = (shape, *known[: MOST_OF_A_LENGTH - 1])
