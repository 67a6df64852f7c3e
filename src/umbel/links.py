"""What follows a call, as it is written: signatures as dictionaries, in options and in messages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from umbel.tails import RawTail

#: The options of a call that are signatures, or lists of them.
LINKS = ("link", "link_error", "chain")


class Tail(list[Any]):
    """The rest of a chain as plain data, as messages have it: only its next step is looked at."""


def as_list(value: Any) -> list[Any] | None:
    """Return a list of what is one value or several; None stays None."""
    if value is None or isinstance(value, list):
        return value
    several = isinstance(value, Iterable) and not isinstance(value, Mapping | str | bytes)
    return list(value) if several else [value]


def next_of(chain: Any) -> Any:
    """Return the next step of what is left of a chain; None where there is none."""
    if isinstance(chain, RawTail):
        return chain.step
    steps = as_list(chain)
    return steps[-1] if steps else None


def after_next(chain: Any) -> Tail | RawTail | None:
    """Return what is left of a chain behind its next step; raw if that step is the only one that was read."""
    if isinstance(chain, RawTail):
        return chain.after()
    return Tail((as_list(chain) or ())[:-1])


def readable(options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return options as code of users may look at them: with a list where there are raw bytes."""
    tail = options.get("chain")
    return {**options, "chain": list(tail)} if isinstance(tail, RawTail) else options


def require_links(name: str, value: Any) -> None:
    """Refuse what is no signature, and no list of signatures."""
    if isinstance(value, RawTail):
        return  # it is looked at when its turn comes
    links = as_list(value) or ()
    for link in links[-1:] if isinstance(value, Tail) else links:
        if not is_signature(link):
            raise TypeError(
                f"{name} is {link!r}, but must be a signature, such as task.s(), or a list of signatures."
            )


def is_signature(value: Any) -> bool:
    """Tell whether a value is a signature, or the dictionary of one."""
    return (
        isinstance(value, _MAPPINGS)
        and isinstance(value.get("task"), str)
        and isinstance(value.get("args", ()), _LISTS)
        and isinstance(value.get("kwargs", {}), _MAPPINGS)
        and isinstance(value.get("options", {}), _MAPPINGS)
    )


_LISTS = (list, tuple)
#: A dictionary is told by the first at once, and by the second after a search.
_MAPPINGS = (dict, Mapping)


def as_data(value: Any) -> Any:
    """Return signatures as plain dictionaries, those that they link to or consist of too.

    So a pickle of them needs no class of ours where it is read, which may be Celery's worker.
    """
    if isinstance(value, list | tuple):
        return [as_data(item) for item in value]
    if not (isinstance(value, Mapping) and "subtask_type" in value):
        return value
    data = dict(value)
    for part in ("options", "kwargs"):
        inner = data.get(part)
        if isinstance(inner, Mapping):
            data[part] = {
                name: as_data(item) if _has_signatures(item) else item
                for name, item in inner.items()
            }
    return data


def _has_signatures(value: Any) -> bool:
    several = value if isinstance(value, list | tuple) else (value,)
    return any(isinstance(one, Mapping) and "subtask_type" in one for one in several)
