"""Pickle, YAML and msgpack, written and read as kombu 5.7 does; and what is checked before reading them.

The libraries are optional and imported when they are used.
"""

from __future__ import annotations

import io
import pickle
import re
from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any

from umbel import exceptions
from umbel.exceptions import DecodeError, SerializerNotInstalled
from umbel.limits import Limits, shown, too_deep, value_is_deeper


def _library(name: str, extra: str) -> Any:
    try:
        return import_module(name)
    except ImportError:
        raise SerializerNotInstalled(
            f'The serializer {extra} needs a library. Install it: pip install "umbel[{extra}]"'
        ) from None


# Pickle

#: As kombu: every Python since 3.4 reads it.
_PICKLE_PROTOCOL = 4


class CeleryWrapper(Exception):
    """Celery's ``UnpickleableExceptionWrapper``: what it pickles for an exception that cannot be pickled."""

    def __init__(self, module: str, name: str, arguments: Any, text: str | None = None) -> None:
        super().__init__(module, name, arguments, text)


class _Unpickler(pickle.Unpickler):
    """Reads what Celery pickled also where Celery is not installed: its errors are ours."""

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        """Return the class or function of that name."""
        if module_name == "celery.utils.serialization" and global_name.startswith("Unpickle"):
            return CeleryWrapper
        if exceptions.CELERY_MODULES.get(global_name) == module_name:
            return getattr(exceptions, global_name)
        return super().find_class(module_name, global_name)


def dump_pickle(value: Any) -> bytes:
    """Write a value as kombu does."""
    return pickle.dumps(value, protocol=_PICKLE_PROTOCOL)


def load_pickle(data: bytes) -> Any:
    """Read a pickle, which may run any code: only what `accept_content` allows comes here."""
    return _Unpickler(io.BytesIO(data)).load()


# YAML


def _yaml() -> Any:
    return _library("yaml", "yaml")


_HALF_CHARACTER = re.compile(r"\\uD[89A-F]")


def dump_yaml(value: Any) -> str:
    """Write a value as kombu does. Halves of characters, which libyaml does not read, are an error."""
    text: str = _yaml().safe_dump(value)
    if _HALF_CHARACTER.search(text):
        load_yaml(text.encode())
    return text


@cache
def _yaml_loader() -> Any:
    """Return the safe loader: libyaml's where it was built in, which is ten times as fast."""
    yaml = _yaml()
    return getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def load_yaml(data: bytes) -> Any:
    """Read a document of plain values."""
    return _yaml().load(data, Loader=_yaml_loader())


#: Characters that the aliases of a document may stand for in total.
MOST_ALIASED = 2**22
#: Digits of a number, as Python's own limit, which does not hold for numbers of base 60.
_MOST_DIGITS = 4300
_DIGITS = frozenset("0123456789_:+-.")


class _YamlMeter:
    """Walks over a document's events: how deep it nests, and how much its aliases stand for."""

    def __init__(self, yaml: Any, limits: Limits) -> None:
        self._limits = limits
        self._sizes: dict[str, int] = {}
        self._open: list[tuple[str | None, int]] = []
        self._size = 0
        self._aliased = 0
        self.handlers: dict[Any, Callable[[Any], None]] = {
            yaml.ScalarEvent: self._scalar,
            yaml.AliasEvent: self._alias,
            yaml.SequenceStartEvent: self._start,
            yaml.MappingStartEvent: self._start,
            yaml.SequenceEndEvent: self._end,
            yaml.MappingEndEvent: self._end,
        }

    def _scalar(self, event: Any) -> None:
        text = event.value
        number = event.implicit[0] or event.tag is not None
        if number and len(text) > _MOST_DIGITS and _DIGITS.issuperset(text):
            raise DecodeError(f"A number in the YAML has {len(text)} digits.")
        self._size += len(text) + 1
        if event.anchor:
            self._sizes[event.anchor] = len(text) + 1

    def _alias(self, event: Any) -> None:
        if event.anchor not in self._sizes:
            raise DecodeError(
                f"The YAML's alias {event.anchor[:100]!r} stands for nothing before it."
            )
        size = self._sizes[event.anchor]
        self._size += size
        self._aliased += size
        if self._aliased > MOST_ALIASED:
            raise DecodeError(f"The YAML's aliases stand for more than {shown(MOST_ALIASED)}.")

    def _start(self, event: Any) -> None:
        self._open.append((event.anchor, self._size))
        if len(self._open) > self._limits.message_max_depth:
            raise DecodeError(f"In the YAML {too_deep(self._limits.message_max_depth)}.")

    def _end(self, event: Any) -> None:
        anchor, before = self._open.pop()
        self._size += 2
        if anchor:
            self._sizes[anchor] = self._size - before


def read_yaml(data: bytes, limits: Limits) -> Any:
    """Read a document; raise DecodeError if it nests too deeply, or would grow by its aliases."""
    yaml = _yaml()
    handlers = _YamlMeter(yaml, limits).handlers
    for event in yaml.parse(data, Loader=_yaml_loader()):
        handler = handlers.get(type(event))
        if handler is not None:
            handler(event)
    return load_yaml(data)


# msgpack


def _msgpack() -> Any:
    return _library("msgpack", "msgpack")


def dump_msgpack(value: Any) -> bytes:
    """Write a value as kombu does."""
    data: bytes = _msgpack().packb(value, use_bin_type=True)
    return data


def load_msgpack(data: bytes) -> Any:
    """Read a value as kombu does, but with keys of all kinds, since they can be written."""
    return _msgpack().unpackb(data, raw=False, strict_map_key=False)


_MSGPACK_CONTAINERS = bytes((*range(0x80, 0xA0), 0xDC, 0xDD, 0xDE, 0xDF))


def read_msgpack(data: bytes, limits: Limits) -> Any:
    """Read a value; raise DecodeError if it nests too deeply, or says it has more than it has.

    An array's length is believed when it is decoded, and room made for it; skipping makes none.
    """
    unpacker = _msgpack().Unpacker(max_buffer_size=len(data) or 1)
    unpacker.feed(data)
    try:
        unpacker.skip()
    except Exception as error:
        reason = str(error).rstrip(".") or type(error).__name__
        raise DecodeError(f"The msgpack is incomplete or nested too deeply: {reason}.") from error
    value = load_msgpack(data)
    most = limits.message_max_depth
    containers = len(data) - len(data.translate(None, _MSGPACK_CONTAINERS))
    if containers > most and value_is_deeper(value, most):
        raise DecodeError(f"In the msgpack {too_deep(most)}.")
    return value
