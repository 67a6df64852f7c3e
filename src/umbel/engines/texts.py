"""Texts that come from users and go into a broker: which can be written, and what is written instead."""

from __future__ import annotations

from umbel.exceptions import EncodeError


def check_text(*texts: str) -> None:
    """Raise EncodeError for a text that is not UTF-8: half a surrogate pair, as from ``os.fsdecode``."""
    for text in texts:
        if text.isascii():
            continue
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise EncodeError(f"{text!a} cannot be written as UTF-8: {error.reason}.") from error


def escaped(text: str) -> str:
    """Return a text with escapes for what is not UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode()
