"""``kombu.utils.encoding``: texts from bytes and from values, without raising."""

from __future__ import annotations

from typing import Any

from umbel.representation import careful_repr


def bytes_to_str(value: Any) -> Any:
    """Return bytes as text, with a mark for each that is no UTF-8; anything else as it is."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def str_to_bytes(value: Any) -> Any:
    """Return a text as bytes; anything else as it is."""
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value


ensure_bytes = str_to_bytes
default_encode = str_to_bytes


def from_utf8(value: Any) -> Any:
    """Return the value: texts are texts."""
    return value


def default_encoding(file: Any = None) -> str:
    """Return the encoding of texts."""
    return "utf-8"


def safe_str(value: Any, errors: str = "replace") -> str:
    """Return a value as text, whatever it is."""
    if isinstance(value, bytes):
        return value.decode("utf-8", errors)
    try:
        return str(value)
    except Exception:  # noqa: BLE001 - what raises here is foreign, and its text is what is asked for
        return careful_repr(value)


def safe_repr(value: Any, errors: str = "replace") -> str:
    """Return the representation of a value, or, where that raises, its class and what was raised."""
    return careful_repr(value)
