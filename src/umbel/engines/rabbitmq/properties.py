"""The properties of messages: what Celery's messages have is read and written here, the rest by py-amqp.

That is the largest part of what a message costs a process, and py-amqp asks value by value for one kind after
the other. What comes out is the same, to the byte, which tests hold. Of those that look like others before
them only what differs is read (shapes.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from struct import Struct
from struct import error as StructError
from typing import Any

from amqp.serialization import decode_properties_basic, dumps

from umbel.engines.rabbitmq.shapes import Marks, Shapes


def _number_of(read: Callable[[bytes, int], tuple[Any, ...]], data: bytes) -> Any:
    """Return a number of its bytes alone."""
    return read(data, 0)[0]


_SIZE: Callable[[bytes, int], tuple[int, ...]] = Struct(">I").unpack_from
_LONG, _NUMBER, _LONG_NUMBER, _FLOAT = (
    Struct(f">{form}").pack for form in ("cI", "ci", "cq", "cd")
)
#: Numbers of fixed width, by the letter that stands before them.
_NUMBERS: Mapping[int, tuple[Callable[[bytes, int], tuple[Any, ...]], int]] = {
    ord(letter): (Struct(f">{form}").unpack_from, Struct(f">{form}").size)
    for letter, form in (("I", "i"), ("l", "q"), ("L", "q"), ("d", "d"), ("b", "b"), ("s", "h"))
}
_OF_BYTES: Mapping[int, Callable[[bytes], Any]] = {
    kind: partial(_number_of, read) for kind, (read, _) in _NUMBERS.items()
}
_TEXT, _TABLE, _ARRAY, _BOOL, _NONE = b"SFAtV"

#: Basic properties in the order of their flags, and their types: a short text, an octet, a table, a number.
BASIC_PROPERTIES = (
    ("content_type", "s"),
    ("content_encoding", "s"),
    ("application_headers", "F"),
    ("delivery_mode", "o"),
    ("priority", "o"),
    ("correlation_id", "s"),
    ("reply_to", "s"),
    ("expiration", "s"),
    ("message_id", "s"),
    ("timestamp", "L"),
    ("type", "s"),
    ("user_id", "s"),
    ("app_id", "s"),
    ("cluster_id", "s"),
)
#: What there is for each word of flags that was seen.
_layouts: dict[int, tuple[tuple[str, str], ...]] = {}


#: Names of headers as they are written, length and text, and as they are read: there are few. The number of
#: those that are kept.
_names: dict[str, bytes] = {}
_names_read: dict[bytes, str] = {}
MOST_NAMES = 1000
_shapes = Shapes()


class _Rare(Exception):
    """Something that is left to py-amqp."""


def properties_at(data: bytes, at: int) -> dict[str, Any]:
    """Return the properties that are at a place of a frame. Raises what py-amqp raises for what are none."""
    found: dict[str, Any] | None
    try:
        found = _shapes.read(data, at)
        if found is None:
            found = _properties(data, at)
            if _shapes.is_new(len(data) - at):
                _shapes.keep(data, at, _marked(data, at))
    except (_Rare, UnicodeDecodeError, IndexError, StructError):
        found = decode_properties_basic(data, at)[0]
    return found


def _properties(data: bytes, at: int) -> dict[str, Any]:
    flags = data[at] << 8 | data[at + 1]
    layout = _layouts.get(flags)
    if layout is None:
        layout = _layouts[flags] = _layout(flags)
    at += 2
    found: dict[str, Any] = {}
    for name, kind in layout:
        if kind == "s":
            end = at + 1 + data[at]
            found[name] = data[at + 1 : end].decode()
            at = end
        elif kind == "o":
            found[name] = data[at]
            at += 1
        else:
            end = at + 4 + _SIZE(data, at)[0]
            found[name] = _table(data, at + 4, end)
            at = end
    if at != len(data):
        raise _Rare
    return found


def _layout(flags: int) -> tuple[tuple[str, str], ...]:
    layout = tuple(one for place, one in enumerate(BASIC_PROPERTIES) if flags & 0x8000 >> place)
    if flags & 3 or any(kind == "L" for _, kind in layout):
        raise _Rare
    return layout


def _table(data: bytes, at: int, end: int) -> dict[str, Any]:
    """Return a table that ends at `end`, exactly. Texts and what is nothing are most of it."""
    found: dict[str, Any] = {}
    while at < end:
        start = at + 1
        at = start + data[at]
        name = _names_read.get(data[start:at])
        if name is None:
            name = _name(data[start:at])
        kind = data[at]
        at += 1
        if kind == _TEXT:
            start = at + 4
            at = start + _SIZE(data, at)[0]
            found[name] = data[start:at].decode()
        elif kind == _NONE:
            found[name] = None
        else:
            found[name], at = _value(data, at, kind)
    if at != end:
        raise _Rare
    return found


def _name(data: bytes) -> str:
    """Read the name of a header for the first time."""
    name = data.decode()
    if len(_names_read) < MOST_NAMES:
        _names_read[data] = name
    return name


def _value(data: bytes, at: int, kind: int) -> tuple[Any, int]:
    """Return a value of some kind, and where it ends."""
    if kind == _NONE:
        return None, at
    if kind == _BOOL:
        return data[at] != 0, at + 1
    number = _NUMBERS.get(kind)
    if number is not None:
        read, size = number
        return read(data, at)[0], at + size
    start = at + 4
    end = start + _SIZE(data, at)[0]
    if kind == _TEXT:
        return data[start:end].decode(), end
    if kind == _TABLE:
        return _table(data, start, end), end
    if kind != _ARRAY:
        raise _Rare
    values = []
    while start < end:
        value, start = _value(data, start + 1, data[start])
        values.append(value)
    if start != end:
        raise _Rare
    return values, end


def _marked(data: bytes, at: int) -> Marks:
    """Read properties, which have been read before, and note where their texts lie."""
    marks = Marks()
    found: dict[str, Any] = {}
    marks.table(found)
    layout = _layouts[data[at] << 8 | data[at + 1]]
    marks.count = len(layout)
    at += 2
    for name, kind in layout:
        if kind == "s":
            end = at + 1 + data[at]
            found[name] = data[at + 1 : end].decode()
            marks.values.append((at + 1, end, 0, name, bytes.decode))
        elif kind == "o":
            found[name] = data[at]
            end = at + 1
        else:
            end = at + 4 + _SIZE(data, at)[0]
            found[name] = _marked_table(data, at + 4, end, marks, 0, name)
        at = end
    return marks


def _marked_table(
    data: bytes, at: int, end: int, marks: Marks, parent: int, name: str
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    number = marks.table(found, parent, name)
    while at < end:
        start = at + 1
        at = start + data[at]
        name, kind = data[start:at].decode(), data[at]
        marks.count += 1
        if kind == _TABLE:
            start = at + 5
            at = start + _SIZE(data, at + 1)[0]
            found[name] = _marked_table(data, start, at, marks, number, name)
            continue
        start = at + 1
        found[name], at = _value(data, start, kind)
        if kind == _TEXT:
            marks.values.append((start + 4, at, number, name, bytes.decode))
        elif kind in _OF_BYTES:
            marks.values.append((start, at, number, name, _OF_BYTES[kind]))
        elif kind == _ARRAY:
            marks.arrays.append((number, name))
    return found


def written_properties(values: Mapping[str, Any]) -> bytes:
    """Return properties as bytes. Raises what py-amqp raises for what cannot travel."""
    flags = 0
    present = []
    for place, (name, kind) in enumerate(BASIC_PROPERTIES):
        value = values.get(name)
        if value is not None:
            flags |= 0x8000 >> place
            present.append((kind, value))
    try:
        data = b"".join([_property(kind, value) for kind, value in present])
    except (_Rare, ValueError, StructError, RecursionError):
        data = bytes(dumps("".join(kind for kind, _ in present), [value for _, value in present]))
    return flags.to_bytes(2, "big") + data


def _property(kind: str, value: Any) -> bytes:
    if kind == "s" and type(value) is str:
        return _short(value)
    if kind == "o" and type(value) is int:
        return bytes((value,))
    if kind == "F" and type(value) is dict:
        return _written_table(value)
    raise _Rare


def _short(text: str) -> bytes:
    data = text.encode()
    return bytes((len(data),)) + data


def _written_table(table: dict[Any, Any]) -> bytes:
    parts = [b""]
    for name, value in table.items():
        known = _names.get(name)
        if known is None:
            if type(name) is not str:
                raise _Rare
            known = _short(name)
            if len(_names) < MOST_NAMES:
                _names[name] = known
        parts.append(known)
        parts.append(_written_value(value))
    data = b"".join(parts)
    return len(data).to_bytes(4, "big") + data


def _written_value(value: Any) -> bytes:
    if value is None:
        return b"V"
    kind = type(value)
    if kind is str:
        text: bytes = value.encode()
        return _LONG(b"S", len(text)) + text
    if kind is bool:
        return b"t\x01" if value else b"t\x00"
    if kind is int:
        return _NUMBER(b"I", value) if -(2**31) < value < 2**31 else _LONG_NUMBER(b"L", value)
    if kind is float:
        return _FLOAT(b"d", value)
    if kind is dict:
        return b"F" + _written_table(value)
    if kind is list or kind is tuple:
        data = b"".join([_written_value(one) for one in value])
        return b"A" + len(data).to_bytes(4, "big") + data
    raise _Rare
