"""Short texts for values of any size: what logs and monitors show of arguments and results.

The texts equal those in the ``argsrepr`` and ``kwargsrepr`` headers of Celery 5.7
(celery/utils/saferepr.py tells the rules: three levels deep, a budget of characters, single
quotes), so monitors show both alike.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from numbers import Number

LIMIT = 1024
LEVELS = 3
_PLAIN = frozenset({int, float, bool, type(None)})


class _Full(Exception):
    """The budget is spent; containers on the way out only close themselves."""


class _Writer:
    def __init__(self, limit: int, levels: int) -> None:
        self.left = limit
        self.levels = levels
        self.parts: list[str] = []
        self.open: set[int] = set()
        self.cut = False

    def put(self, text: str) -> None:
        if self.left <= 0:
            raise _Full
        self.parts.append(text)
        self.left -= len(text)

    def value(self, value: object, level: int) -> None:
        if isinstance(value, str):
            self.put(_quoted(value, self.left))
        elif isinstance(value, bytes):
            self.put(_quoted_bytes(value, self.left))
        elif isinstance(value, Number) and not isinstance(value, Decimal):
            self.put(_shortened(_careful_text(value), self.left))
        elif isinstance(value, dict | list | tuple | set | frozenset):
            self.container(value, level)
        else:
            self.put(_shortened(careful_repr(value), self.left))

    def container(self, value: Iterable[object], level: int) -> None:
        opening, closing = _brackets(value)
        if not value and isinstance(value, set | frozenset):
            return self.put(_shortened(f"{type(value).__name__}()", self.left))
        if level >= self.levels:
            return self.put(f"{opening}...{closing}")
        if id(value) in self.open:
            text = f"<Recursion on {type(value).__name__} with id={id(value)}>"
            return self.put(_shortened(text, self.left))
        self.put(opening)
        self.open.add(id(value))
        try:
            self.items(value, level + 1)
        except _Full:
            if not self.cut:
                self.cut = True
                self.parts.append(", ...")
            self.parts.append(closing)
            raise
        self.open.discard(id(value))
        self.parts.append(closing)
        self.left -= len(closing)

    def items(self, value: Iterable[object], level: int) -> None:
        if isinstance(value, dict):
            for position, (key, item) in enumerate(value.items()):
                if position:
                    self.put(", ")
                self.put(representation(key, self.left, self.levels))
                self.put(": ")
                self.value(item, level)
        else:
            for position, item in enumerate(value):
                if position:
                    self.put(", ")
                self.value(item, level)


def representation(value: object, limit: int = LIMIT, levels: int = LEVELS) -> str:
    """Return a text of about `limit` characters at most that shows `value` like ``repr`` would.

    Nothing in the value raises from here, whatever containers of one's own it has.
    """
    # Of most arguments `repr` gives the same text, ten times as fast.
    if type(value) is tuple:
        plain = len(value) < 20 and _PLAIN.issuperset(map(type, value))
    else:
        plain = type(value) is dict and not value
    if plain:
        try:
            text = repr(value)
        except ValueError:  # an integer of thousands of digits
            text = careful_repr(value)
        if len(text) < limit:
            return text
    writer = _Writer(limit, levels)
    try:
        with contextlib.suppress(_Full):
            writer.value(value, 0)
    except Exception as error:  # noqa: BLE001 - a broken __iter__ must not stop a message either
        return _unrepresentable(value, error)
    return "".join(writer.parts)


def _brackets(value: object) -> tuple[str, str]:
    if isinstance(value, list):
        return "[", "]"
    if isinstance(value, tuple):
        return "(", ",)" if len(value) == 1 else ")"
    if isinstance(value, dict) or type(value) is set:
        return "{", "}"
    return f"{type(value).__name__}({{", "})"


def _shortened(text: str, limit: int) -> str:
    if len(text) < limit:
        return text
    return text[:limit].rsplit(" ", 1)[0] + "..."


def _quoted(text: str, limit: int) -> str:
    return "'" + _shortened(text, limit).replace("'", "\\'") + "'"


def _quoted_bytes(data: bytes, limit: int) -> str:
    chunk, ellipsis = (data[:limit], "...") if len(data) > limit else (data, "")
    try:
        text = chunk.decode("utf-8")
    except UnicodeDecodeError:
        text = chunk.hex()
    return f"b'{text}{ellipsis}'"


def careful_repr(value: object) -> str:
    """Return `repr(value)`, or a text that says which class has none that works."""
    return _careful_text(value, repr)


def _careful_text(value: object, convert: Callable[[object], str] = str) -> str:
    try:
        return convert(value)
    except Exception as error:  # noqa: BLE001 - a broken __repr__ must not stop a message
        return _unrepresentable(value, error)


def _unrepresentable(value: object, error: Exception) -> str:
    return f"<Unrepresentable {type(value)!r}: {type(error).__name__}>"


def call_representation(name: str, args: Iterable[object], kwargs: Mapping[str, object]) -> str:
    """Return a call for people to read, as it would be written: ``tasks.add(1, y=2)``."""
    parts = [representation(value) for value in args]
    parts += [f"{key}={representation(value)}" for key, value in kwargs.items()]
    return f"{name}({', '.join(parts)})"
