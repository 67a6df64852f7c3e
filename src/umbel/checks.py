"""What an option may be: each check raises an error that names the option and its value."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from umbel.nearest import meant


def refuse_unknown(keywords: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    """Raise TypeError for a keyword that `where` does not know, with the nearest that it knows."""
    for name in keywords:
        if name not in known:
            hint = meant(name, known) or f" It has: {', '.join(known)}."
            raise TypeError(f"{where} has no option {name!r}.{hint}")


def require_text(name: str, value: Any) -> None:
    """Refuse what is no text, or an empty one."""
    if not isinstance(value, str) or not value:
        raise TypeError(f"{name} is {value!r}, but must be a text.")


def require_time(name: str, value: Any) -> None:
    """Refuse what is no time: a text that is not ISO 8601, or, for anything but expires, a number."""
    if value is None or isinstance(value, datetime):
        return
    if isinstance(value, str):
        try:
            datetime.fromisoformat(value)
        except ValueError:
            raise ValueError(f"{name} is {value!r}, which is not an ISO 8601 time.") from None
    elif name == "expires":
        require_number(name, value, low=-math.inf)
    else:
        raise TypeError(f"{name} is {value!r}, but must be a datetime or an ISO 8601 text.")


def require_number(name: str, value: Any, low: float) -> None:
    """Refuse what is no finite number of seconds, `low` or more; None will do."""
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} is {value!r}, but must be a number of seconds.")
    if not low <= value < math.inf:
        raise ValueError(f"{name} is {value!r}, but must be {low} or more seconds.")


#: Not ``int | float``, which is made anew each time.
_NUMBERS = (int, float)


def require_patience(timeout: Any) -> None:
    """Refuse what is no number of seconds to wait; None is for ever, and less than 0 not at all."""
    if timeout is not None and (not isinstance(timeout, _NUMBERS) or math.isnan(timeout)):
        raise TypeError(f"timeout is {timeout!r}, but must be a number of seconds, or None.")


def require_order(time_limit: float | None, soft_time_limit: float | None) -> None:
    """Refuse a soft limit beyond the hard one."""
    if time_limit and soft_time_limit and soft_time_limit > time_limit:
        raise ValueError(
            f"soft_time_limit is {soft_time_limit!r} and time_limit is {time_limit!r}, but"
            " soft_time_limit must be less than or equal to time_limit."
        )


def require_priority(value: Any) -> None:
    """Refuse what is no priority; None will do."""
    if value is not None and (type(value) is not int or not 0 <= value <= 255):
        raise ValueError(f"priority is {value!r}, but must be a number from 0 to 255.")


def require_exceptions(name: str, value: Any, alone: bool = False) -> None:
    """Refuse what is no list of exception classes; one `alone` may do."""
    if alone and _is_exception(value):
        return
    if not isinstance(value, list | tuple | set | frozenset) or not all(map(_is_exception, value)):
        hint = f" Write ({value.__name__},)." if _is_exception(value) else ""
        raise TypeError(f"{name} is {value!r}, but must be a tuple of classes of exceptions.{hint}")


def _is_exception(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, BaseException)


#: How a rate is written: so many a second, a minute or an hour; empty for no limit.
_RATE = re.compile(r"(\d+(\.\d+)?(/[smh])?)?")
RATE = "a number a second, or a text such as 10/s, 100/m or 1000/h"


def is_rate(value: Any) -> bool:
    """Tell whether a value is a rate."""
    if isinstance(value, str):
        return _RATE.fullmatch(value) is not None
    return isinstance(value, int | float) and value >= 0


_SECONDS = {"s": 1, "m": 60, "h": 3600}


def per_second(rate: str | float | None) -> float:
    """Return how many a second a rate allows; 0 for any number."""
    if not isinstance(rate, str):
        return rate or 0
    many, _, unit = rate.partition("/")
    return float(many or 0) / _SECONDS[unit or "s"]


def require_rate(name: str, value: Any) -> None:
    """Refuse what is no rate; None will do."""
    if value is not None and not is_rate(value):
        raise ValueError(f"{name} is {value!r}, but must be {RATE}.")


#: What can run a task of a child that runs many at a time.
EXECUTORS = ("threads", "asyncio")


def require_executor(value: Any) -> None:
    """Refuse what is no executor of a single task; None will do."""
    if value is None or value in EXECUTORS:
        return
    text = f"executor is {value!r}, but must be 'threads' or 'asyncio'."
    if value in ("prefork", "solo", "processes"):
        text += (
            f" {value!r} is for a whole worker (umbel worker -P {value}): give the task a queue and a worker"
            " of its own."
        )
    raise ValueError(text) if isinstance(value, str) else TypeError(text)


def require_int(name: str, value: Any) -> None:
    """Refuse what is no whole number."""
    if type(value) is not int:
        raise TypeError(f"{name} is {value!r}, but must be a whole number.")
