"""What a message may cost at most: its size and its nesting, checked before anything is decoded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from umbel.exceptions import DecodeError, MessageTooLarge


class HasMost(Protocol):
    """The setting that says how large a body may be."""

    @property
    def message_max_bytes(self) -> int:
        """Most bytes of a body as it travels."""


class Limits(HasMost, Protocol):
    """The settings that say how large a message may be; `umbel.settings.Settings` has them."""

    @property
    def message_max_depth(self) -> int:
        """Most lists and mappings within each other."""

    @property
    def message_max_decompressed(self) -> int:
        """Most bytes of a body that was compressed."""


@dataclass(frozen=True, slots=True)
class FixedLimits:
    """Limits where there are no settings: their defaults."""

    message_max_bytes: int = 32 * 2**20
    message_max_depth: int = 500
    message_max_decompressed: int = 32 * 2**20


DEFAULT: Limits = FixedLimits()
#: Most bytes of a message's headers, or properties, as JSON. RabbitMQ takes an eighth of that.
MOST_HEADERS = 2**20
#: The header that stands in place of what is too large to be read, and says so.
UNREAD = "x-unread"


def shown(size: int) -> str:
    """Return a number of bytes for people to read."""
    return f"{size / 2**20:,.1f} MiB" if size >= 2**20 else f"{size:,} bytes"


def check_sent(plain: int, travels: int, limits: Limits) -> None:
    """Raise MessageTooLarge for sizes of a body that a worker with the same settings would refuse."""
    if travels > limits.message_max_bytes:
        raise MessageTooLarge(
            f"it has {shown(travels)}, and message_max_bytes allows {shown(limits.message_max_bytes)}"
        )
    if travels != plain and plain > limits.message_max_decompressed:
        most = shown(limits.message_max_decompressed)
        raise MessageTooLarge(
            f"uncompressed it has {shown(plain)}, and message_max_decompressed allows {most}"
        )


def too_large(size: int, limits: HasMost) -> DecodeError:
    """Return the error about a body that is too large to be looked into."""
    return DecodeError(
        f"The message has {shown(size)}, and message_max_bytes allows"
        f" {shown(limits.message_max_bytes)}."
    )


def unread(size: int, most: int) -> str:
    """Say that what is beside a message's body is too large to be sent or read."""
    return f"The message's headers or properties have {shown(size)}, and {shown(most)} are allowed."


def too_deep(most: int) -> str:
    """Say that something is nested too deeply."""
    return f"more than {most} lists or mappings are within each other (message_max_depth)"


_BRACKETS_AND_QUOTES = bytes(set(range(256)) - set(b'[]{}"'))
_AS_SQUARE = bytes.maketrans(b"{}", b"[]")
_OPENING = ord("[")
#: How often the innermost pairs are taken away before the rest is counted one by one.
_PEELS = 8
#: Bytes that are looked at first: most bombs begin with their fuse.
_HEAD = 2**14


def json_is_deeper(text: bytes, most: int) -> bool:
    """Tell whether more than `most` arrays and objects are within each other, without decoding.

    Small texts are told by counting brackets. In large ones, strings are left out and the innermost pairs
    are taken away a few times, which leaves nothing of ordinary data; only what is left is walked over.
    """
    if text.count(b"[") + text.count(b"{") <= most:
        return False
    if len(text) > _HEAD and _rises_above(_brackets(text[:_HEAD]), most):
        return True
    brackets = _brackets(text)
    for _ in range(min(_PEELS, most)):
        fewer = brackets.replace(b"[]", b"")
        if len(fewer) == len(brackets):
            break
        brackets = fewer
        most -= 1
    return brackets.count(b"[") > most and _rises_above(brackets, most)


def _brackets(text: bytes) -> bytes:
    """Return the brackets of JSON that stand outside of its strings, all of them square."""
    outside = text.replace(b"\\\\", b"").replace(b'\\"', b"").translate(None, _BRACKETS_AND_QUOTES)
    outside = outside.replace(
        b'""', b""
    )  # strings without brackets, or the end of one and the next
    return b"".join(outside.split(b'"')[::2]).translate(_AS_SQUARE)


def _rises_above(brackets: bytes, most: int) -> bool:
    depth = 0
    for bracket in brackets:
        depth += 1 if bracket == _OPENING else -1
        if depth > most:
            return True
    return False


def check_json(text: bytes, limits: Limits) -> None:
    """Raise DecodeError for JSON that is nested too deeply."""
    if json_is_deeper(text, limits.message_max_depth):
        raise DecodeError(f"In the JSON {too_deep(limits.message_max_depth)}.")


def value_is_deeper(value: Any, most: int) -> bool:
    """Tell whether more than `most` lists, tuples and dicts are within each other, without recursion."""
    level = [value] if isinstance(value, list | tuple | dict) else []
    for _ in range(most):
        level = [
            item
            for outer in level
            for item in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(item, list | tuple | dict)
        ]
        if not level:
            return False
    return bool(level)
