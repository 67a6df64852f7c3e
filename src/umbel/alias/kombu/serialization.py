"""``kombu.serialization``: serializers by name, and values as what messages carry."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from umbel.alias.packages import attributes_of
from umbel.exceptions import DecodeError, EncodeError
from umbel.serialization import (
    content_types,
    decode,
    disable_insecure_serializers,
    enable_insecure_serializers,
    serializer,
    unregister,
)
from umbel.serialization import register as _register

__all__ = [
    "DecodeError",
    "EncodeError",
    "disable_insecure_serializers",
    "dumps",
    "enable_insecure_serializers",
    "loads",
    "prepare_accept_content",
    "register",
    "registry",
    "unregister",
]


#: Encodings whose bodies stay bytes; all others are those of texts.
_BYTES = ("binary", "ascii-8bit")


def register(
    name: str,
    encoder: Callable[[Any], str | bytes] | None,
    decoder: Callable[[Any], Any] | None,
    content_type: str,
    content_encoding: str = "utf-8",
) -> None:
    """Make a serializer known by its name and content type.

    The decoder gets a text, but for the encoding ``binary``; umbel's own `register` gives it bytes.
    """

    def of_text(data: bytes) -> Any:
        assert decoder is not None  # noqa: S101 - else this is not what reads
        return decoder(data.decode(content_encoding))

    plain = decoder is None or content_encoding in _BYTES
    _register(name, encoder, decoder if plain else of_text, content_type, content_encoding)


def dumps(data: Any, serializer: str | None = None) -> tuple[str, str, Any]:
    """Return content type, content encoding and body of a value; JSON unless another is named.

    Without a serializer, bytes and texts stay as they are. Raises EncodeError for what cannot be written.
    """
    if serializer is None and isinstance(data, bytes):
        return "application/data", "binary", data
    if serializer is None and isinstance(data, str):
        return "text/plain", "utf-8", data.encode("utf-8")
    found = _named(serializer or "json")
    body: Any = found.dumps(data)
    text = found.content_encoding == "utf-8" and isinstance(body, bytes)
    return found.content_type, found.content_encoding, body.decode("utf-8") if text else body


_named = serializer


def loads(
    data: Any,
    content_type: str | None,
    content_encoding: str | None,
    accept: Collection[str] | None = None,
    force: bool = False,
) -> Any:
    """Read a body. Raises ContentDisallowed for a content type that `accept` does not list.

    Without `accept`, what can run code when it is read is refused unless it was enabled.
    """
    encoding = (content_encoding or "utf-8").lower()
    is_text = encoding not in _BYTES
    if content_type in (None, "", "application/data", "text/plain"):
        return data.decode(encoding) if isinstance(data, bytes) and is_text else data
    body = data.encode(encoding if is_text else "utf-8") if isinstance(data, str) else data
    return decode(bytes(body), str(content_type), accept)


def prepare_accept_content(names: Collection[str] | None) -> frozenset[str] | None:
    """Return content types for a list of them and of serializers' names."""
    return None if names is None else content_types(names)


class _Registry:
    """``registry``: the functions of this module as methods."""

    register = staticmethod(register)
    unregister = staticmethod(unregister)
    dumps = staticmethod(dumps)
    loads = staticmethod(loads)
    encode = staticmethod(dumps)
    decode = staticmethod(loads)

    def enable(self, name: str) -> None:
        """Let `loads` read a serializer's messages where nobody says what is acceptable."""
        enable_insecure_serializers([name])


registry = _Registry()
__getattr__ = attributes_of("kombu.serialization")
