"""``kombu.utils.url``: URLs with their passwords masked."""

from __future__ import annotations

from urllib.parse import quote

from umbel.masking import masked_url


def sanitize_url(url: str, mask: str = "**") -> str:
    """Return a URL with its password masked."""
    return masked_url(url)


def maybe_sanitize_url(url: object, mask: str = "**") -> object:
    """Return a text that is a URL with its password masked; anything else as it is."""
    return masked_url(url) if isinstance(url, str) and "://" in url else url


def safequote(text: str) -> str:
    """Return a part of a URL with everything written out that has a meaning in URLs."""
    return quote(text, safe="")
