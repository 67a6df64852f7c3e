"""What Celery has in ``celery.utils.serialization``: bytes in texts, and words for yes and no."""

from __future__ import annotations

import base64
from typing import Any

from umbel.settings.declare import to_bool

__all__ = ["b64decode", "b64encode", "strtobool"]


def b64encode(s: bytes | str) -> str:
    """Return bytes, or a text's, in base64."""
    return base64.b64encode(s.encode() if isinstance(s, str) else s).decode("ascii")


def b64decode(s: bytes | str) -> bytes:
    """Return the bytes that a text in base64 stands for."""
    return base64.b64decode(s)


def strtobool(term: str | bool, table: Any = None) -> bool:
    """Return what a word such as ``yes`` or ``off`` means. Raises TypeError for other words."""
    if table is not None and isinstance(term, str):
        try:
            return bool(table[term.lower()])
        except KeyError:
            raise TypeError(f"Cannot coerce {term!r} to type bool") from None
    try:
        return to_bool(term)
    except ValueError:
        raise TypeError(f"{term!r} is neither yes nor no.") from None
