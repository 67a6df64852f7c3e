"""The options of a call and of a task: declared once, as values; unknown ones are refused."""

from __future__ import annotations

import difflib
import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, TypedDict


class CallKeywords(TypedDict, total=False):
    """The keyword arguments of `apply_async`, for type checkers: the fields of `CallOptions`."""

    task_id: str | None
    countdown: float | None
    eta: datetime | str | None
    expires: float | datetime | str | None
    priority: int | None
    queue: str | None
    routing_key: str | None
    serializer: str | None
    headers: Mapping[str, Any] | None
    retry: bool | None
    retry_policy: Mapping[str, Any] | None
    time_limit: float | None
    soft_time_limit: float | None
    ignore_result: bool | None
    shadow: str | None
    argsrepr: str | None
    kwargsrepr: str | None
    reply_to: str | None
    root_id: str | None
    parent_id: str | None
    group_id: str | None
    group_index: int | None
    retries: int


@dataclass(frozen=True, slots=True)
class CallOptions:
    """How one call is sent. None means: as the task or the settings say.

    `countdown`, `time_limit` and `soft_time_limit` are seconds; `expires` is seconds from now or a
    time.
    """

    task_id: str | None = None
    countdown: float | None = None
    eta: datetime | str | None = None
    expires: float | datetime | str | None = None
    priority: int | None = None
    queue: str | None = None
    routing_key: str | None = None
    serializer: str | None = None
    headers: Mapping[str, Any] | None = None
    retry: bool | None = None
    retry_policy: Mapping[str, Any] | None = None
    time_limit: float | None = None
    soft_time_limit: float | None = None
    ignore_result: bool | None = None
    shadow: str | None = None
    argsrepr: str | None = None
    kwargsrepr: str | None = None
    reply_to: str | None = None
    root_id: str | None = None
    parent_id: str | None = None
    group_id: str | None = None
    group_index: int | None = None
    retries: int = 0

    def __post_init__(self) -> None:
        """Check the values where they are written."""
        # A countdown that was computed may be in the past: the task is due then, as in Celery.
        _number("countdown", self.countdown, low=-math.inf)
        for name in ("eta", "expires"):
            _time(name, getattr(self, name))
        if self.headers is not None and not isinstance(self.headers, Mapping):
            raise TypeError(f"headers is {self.headers!r}, but must be a mapping.")
        _number("time_limit", self.time_limit, low=0.0)
        _number("soft_time_limit", self.soft_time_limit, low=0.0)
        if self.time_limit and self.soft_time_limit and self.soft_time_limit > self.time_limit:
            raise ValueError("soft_time_limit must be less than or equal to time_limit")
        if self.priority is not None and (
            type(self.priority) is not int or not 0 <= self.priority <= 255
        ):
            raise ValueError(f"priority is {self.priority!r}, but must be a number from 0 to 255.")
        if self.task_id is not None:
            _text("task_id", self.task_id)


_CALL_NAMES = tuple(entry.name for entry in fields(CallOptions))


def call_options(keywords: Mapping[str, Any]) -> CallOptions:
    """Return the options of a call. Raises TypeError, with the nearest name, for an unknown one."""
    try:
        return CallOptions(**keywords)
    except TypeError:
        _refuse_unknown(keywords, _CALL_NAMES, "apply_async")
        raise


def _refuse_unknown(keywords: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    for name in keywords:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else f" It has: {', '.join(known)}."
            raise TypeError(f"{where} has no option {name!r}.{hint}")


def _text(name: str, value: Any) -> None:
    if not isinstance(value, str) or not value:
        raise TypeError(f"{name} is {value!r}, but must be a text.")


def _time(name: str, value: Any) -> None:
    """Refuse what is no time: a text that is not ISO 8601, or, for anything but expires, a number."""
    if value is None or isinstance(value, datetime):
        return
    if isinstance(value, str):
        try:
            datetime.fromisoformat(value)
        except ValueError:
            raise ValueError(f"{name} is {value!r}, which is not an ISO 8601 time.") from None
    elif name == "expires":
        _number(name, value, low=-math.inf)
    else:
        raise TypeError(f"{name} is {value!r}, but must be a datetime or an ISO 8601 text.")


def _number(name: str, value: Any, low: float) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} is {value!r}, but must be a number of seconds.")
    if not low <= value < math.inf:
        raise ValueError(f"{name} is {value!r}, but must be {low} or more seconds.")


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When a task that raised one of `errors` is retried by itself, and after how long.

    With `backoff` (seconds, or True for 1) the wait doubles with each try up to `backoff_max`
    seconds; `jitter` replaces it by a random time between 0 and that.
    """

    errors: tuple[type[BaseException], ...] = ()
    never: tuple[type[BaseException], ...] = ()
    backoff: float = 0.0
    backoff_max: float = 600.0
    jitter: bool = True
    keywords: Mapping[str, Any] = field(default_factory=dict)

    def wants(self, error: BaseException) -> bool:
        """Tell whether the error is to be retried."""
        return isinstance(error, self.errors) and not isinstance(error, self.never)

    def delay(self, retries: int, rng: random.Random) -> float | None:
        """Return the seconds to wait after `retries` earlier tries, None for the task's default."""
        if not self.backoff:
            return None
        # Celery takes whole seconds and no less than one; a fraction is taken as it is here.
        factor = self.backoff if self.backoff < 1.0 else int(self.backoff)
        # Beyond 2**62 the cap applies anyway; the bound keeps the power small.
        seconds = min(self.backoff_max, factor * 2 ** min(retries, 62))
        if not self.jitter:
            return float(seconds)
        return rng.uniform(0, seconds) if seconds < 1 else float(rng.randrange(int(seconds) + 1))


class TaskKeywords(TypedDict, total=False):
    """The keyword arguments of ``@app.task`` beside `bind` and `base`, for type checkers."""

    name: str | None
    queue: str | None
    routing_key: str | None
    priority: int | None
    max_retries: int | None
    default_retry_delay: float
    autoretry_for: tuple[type[BaseException], ...]
    dont_autoretry_for: tuple[type[BaseException], ...]
    retry_kwargs: Mapping[str, Any]
    retry_backoff: float | bool
    retry_backoff_max: float
    retry_jitter: bool
    time_limit: float | None
    soft_time_limit: float | None
    expires: float | datetime | None
    serializer: str | None
    ignore_result: bool | None
    store_errors_even_if_ignored: bool | None
    acks_late: bool | None
    reject_on_worker_lost: bool | None
    track_started: bool | None
    throws: tuple[type[BaseException], ...]
    typing: bool
    shared: bool


TASK_NAMES = tuple(TaskKeywords.__annotations__)


def check_task_keywords(keywords: Mapping[str, Any], base: Callable[..., Any] | type) -> None:
    """Refuse an option of a task that neither umbel nor the task's base class knows."""
    known = tuple(name for name in keywords if hasattr(base, name))
    _refuse_unknown(keywords, (*TASK_NAMES, *known), "@app.task")
