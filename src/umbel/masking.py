"""What must not be shown of settings: passwords and tokens, wherever they are.

Where a text could be read in two ways, the one that shows less counts: a URL's password ends at its
last ``@``, whatever stands before it, since people write passwords as they are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

#: What stands for a secret.
MASK = "********"

_SECRET = re.compile(
    r"passw|passphrase|secret|token|credential|signature|auth(?!or)|dsn"
    r"|(api|access|private|account|encryption|secret)_?key"
    r"|^key_?password|^odbc_connect$|^pass$|_pass$|^pwd$|PROFANITIES_LIST|BEAT_DBURI",
    re.IGNORECASE,
)
_SCHEME = r"[A-Za-z][A-Za-z0-9+._-]*://"
#: Where a URL begins: with the first scheme of a text, and with each that follows a separator.
_FIRST = re.compile(_SCHEME)
_NEXT = re.compile(rf"(?<=[\s;,]){_SCHEME}")
#: ``name=value`` in a query, and in texts such as ``AccountName=…;AccountKey=…``.
_PARAMETER = re.compile(r"(?<=[?&;/])([^=?&;/#]+)=([^&;#]*)")

#: The same in a text that is no URL, such as PostgreSQL's ``host=db password='…'``.
_WORD = re.compile(r"(?:(?<=[\s?&;,/])|^)([^\s=?&;,/#]+\s*)=(\s*(?:'(?:[^'\\]|\\.)*'|[^\s&;#]*))")


def is_secret(name: str) -> bool:
    """Tell whether values under that name are not to be shown."""
    return _SECRET.search(name) is not None


def masked_url(text: str) -> str:
    """Return a text with the passwords and tokens of each URL or ``name=value`` in it masked."""
    first = _FIRST.search(text)
    if first is None:
        return _WORD.sub(_masked_parameter, text)
    starts = [first.start(), *(found.start() for found in _NEXT.finditer(text, first.end()))]
    ends = [*starts[1:], len(text)]
    urls = [_masked_one(text[start:end]) for start, end in zip(starts, ends, strict=True)]
    return _WORD.sub(_masked_parameter, text[: first.start()]) + "".join(urls)


def masked_place(text: str) -> str:
    """Return what was meant to be a URL, scheme or none, with its password masked."""
    return masked_url(text) if "://" in text else masked_url(f"x://{text}")[len("x://") :]


def _masked_one(url: str) -> str:
    scheme, slashes, rest = _PARAMETER.sub(_masked_parameter, url).partition("://")
    login, at, place = rest.rpartition("@")
    if at:
        user, colon, _ = login.partition(":")
        rest = f"{user}{colon + MASK if colon else ''}@{place}"
    return f"{scheme}{slashes}{rest}"


def _masked_parameter(found: re.Match[str]) -> str:
    name, value = found.groups()
    return f"{name}={MASK if is_secret(name) and value else value}"


def masked(name: str, value: Any) -> Any:
    """Return a setting's value for people to read, with all secrets masked, however deep."""
    if value is None or isinstance(value, bool):
        return value
    if is_secret(name):
        return MASK
    if isinstance(value, Mapping):
        return {masked_key(key): masked(str(key), item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        items = [masked(name, item) for item in value]
        return tuple(items) if isinstance(value, tuple) else items
    if isinstance(value, set | frozenset):
        return {masked_key(item) for item in value}
    if isinstance(value, bytes):
        return masked_url(value.decode("latin-1")).encode("latin-1")
    return masked_url(value) if isinstance(value, str) else value


def masked_key(key: Any) -> Any:
    """Return a mapping's key, or an item of a set, for people to read."""
    return masked_url(key) if isinstance(key, str) else key
