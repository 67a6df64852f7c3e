"""What follows a call, as it is written: signatures as dictionaries, in options and in messages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

#: The options of a call that are signatures, or lists of them.
LINKS = ("link", "link_error", "chain")


def as_list(value: Any) -> list[Any] | None:
    """Return a list of what is one value or several; None stays None."""
    if value is None or isinstance(value, list):
        return value
    several = isinstance(value, Iterable) and not isinstance(value, Mapping | str | bytes)
    return list(value) if several else [value]


def require_links(name: str, value: Any) -> None:
    """Refuse what is no signature, and no list of signatures."""
    for link in as_list(value) or ():
        if not is_signature(link):
            raise TypeError(
                f"{name} is {link!r}, but must be a signature, such as task.s(), or a list of signatures."
            )


def is_signature(value: Any) -> bool:
    """Tell whether a value is a signature, or the dictionary of one."""
    return (
        isinstance(value, Mapping)
        and isinstance(value.get("task"), str)
        and isinstance(value.get("args", ()), list | tuple)
        and isinstance(value.get("kwargs", {}), Mapping)
        and isinstance(value.get("options", {}), Mapping)
    )
