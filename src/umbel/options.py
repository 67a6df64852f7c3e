"""The options of a call and of a task: declared once, as values; unknown ones are refused."""

from __future__ import annotations

import difflib
import logging
import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from functools import cache
from typing import Any, TypedDict

from umbel.entities import Exchange, Queue, as_exchange, delivery_mode, is_queue
from umbel.exceptions import BrokerFull, ImproperlyConfigured, OperationalError

logger = logging.getLogger("umbel.options")


@cache
def warn_once(text: str) -> None:
    """Log a warning, the same one once per process: for what is accepted and not heeded."""
    logger.warning("%s", text)


#: Options of tasks and calls that travel, or are kept, without effect, and what that means.
_NOT_ENFORCED = {
    "time_limit": "tasks run as long as they like",
    "soft_time_limit": "tasks run as long as they like",
    "rate_limit": "tasks start as fast as they can",
}


def warn_of_limits(options: object) -> None:
    """Say of the limits that a call or a task asks for that they do not limit."""
    for name, meaning in _NOT_ENFORCED.items():
        if getattr(options, name, None) is not None:
            warn_once(f"The option {name} is not enforced yet: {meaning}.")


class CallKeywords(TypedDict, total=False):
    """The keyword arguments of `apply_async`, for type checkers: the fields of `CallOptions`."""

    task_id: str | None
    countdown: float | None
    eta: datetime | str | None
    expires: float | datetime | str | None
    priority: int | None
    queue: str | Queue | None
    exchange: str | Exchange | None
    exchange_type: str | None
    routing_key: str | None
    delivery_mode: int | str | None
    serializer: str | None
    compression: str | None
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
    add_to_parent: bool
    link: Any
    link_error: Any
    chain: Any
    chord: Any
    producer: Any
    publisher: Any
    connection: Any
    router: Any
    mandatory: Any
    immediate: Any


@dataclass(frozen=True, slots=True)
class CallOptions:
    """How one call is sent. None means: as the task or the settings say.

    Raises TypeError or ValueError for values that an option cannot have.
    """

    task_id: str | None = None
    """The call's id; by default a new UUID."""
    countdown: float | None = None
    """Seconds from now, before which it does not run."""
    eta: datetime | str | None = None
    """A time, or its ISO 8601 text, before which it does not run; without a zone, in the app's."""
    expires: float | datetime | str | None = None
    """Seconds from now, or a time, after which it is not run any more."""
    priority: int | None = None
    """0 to 255; higher is more urgent."""
    queue: str | Queue | None = None
    """The queue, or its name."""
    exchange: str | Exchange | None = None
    """The exchange, or its name, with `routing_key` in place of `queue`."""
    exchange_type: str | None = None
    """``direct``, ``topic`` or ``fanout``."""
    routing_key: str | None = None
    """The key by which the exchange finds queues."""
    delivery_mode: int | str | None = None
    """1 (``transient``) or 2 (``persistent``), for brokers that tell them apart."""
    serializer: str | None = None
    """The serializer of the arguments, by its name."""
    compression: str | None = None
    """The compression of the body, by its name."""
    headers: Mapping[str, Any] | None = None
    """Headers of your own for the message; tasks read them as attributes of their request."""
    retry: bool | None = None
    """Whether a publish that fails is tried again."""
    retry_policy: Mapping[str, Any] | None = None
    """When it is; see `PublishPolicy`."""
    time_limit: float | None = None
    """Seconds. Not enforced yet."""
    soft_time_limit: float | None = None
    """Seconds. Not enforced yet."""
    ignore_result: bool | None = None
    """Whether nothing is stored of the outcome."""
    shadow: str | None = None
    """A name for logs and monitors in place of the task's own."""
    argsrepr: str | None = None
    """How the positional arguments are shown in logs and monitors."""
    kwargsrepr: str | None = None
    """How the keyword arguments are shown in logs and monitors."""
    reply_to: str | None = None
    """For Celery's RPC results: the queue of the answer."""
    root_id: str | None = None
    """The id of the first call of a workflow."""
    parent_id: str | None = None
    """The id of the call that made this one."""
    group_id: str | None = None
    """The id of the group it belongs to."""
    group_index: int | None = None
    """Its place in that group."""
    retries: int = 0
    """How many tries there were before."""
    add_to_parent: bool = True
    """Whether the result becomes a child of the call that makes this one."""

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
        for name in ("task_id", "routing_key", "exchange_type"):
            if getattr(self, name) is not None:
                _text(name, getattr(self, name))
        if self.queue is not None or self.exchange is not None or self.delivery_mode is not None:
            _check_destination(self)
        if self.retry not in (None, True, False):
            raise TypeError(f"retry is {self.retry!r}, but must be True or False.")
        if self.retry_policy is not None:
            publish_policy(self.retry_policy)


@dataclass(frozen=True, slots=True)
class RepeatOptions(CallOptions):
    """The options of a retry, with what else its message carries on: none of it is the caller's to write."""

    callbacks: Any = None
    errbacks: Any = None
    chain: Any = None
    chord: Any = None
    origin: str | None = None
    replaced_task_nesting: int = 0
    stamped_headers: Any = None
    stamps: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PublishPolicy:
    """When a publish that failed is tried again, and after how long.

    The pauses begin with `interval_start` seconds and grow by `interval_step`, by at most `interval_max`. A
    broker that is full is no reason to try again, unless `retry_errors` name it.
    """

    max_retries: int | None = None
    interval_start: float = 0.0
    interval_step: float = 0.2
    interval_max: float = 1.0
    retry_errors: tuple[type[BaseException], ...] | None = None

    def __post_init__(self) -> None:
        """Check the values."""
        most = self.max_retries
        if most is not None and (type(most) is not int or most < 0):
            raise ValueError(f"max_retries is {most!r}, but must be a number of tries, or None.")
        for name in ("interval_start", "interval_step", "interval_max"):
            if getattr(self, name) is None:
                raise TypeError(f"{name} is None, but must be a number of seconds.")
            _number(name, getattr(self, name), low=0.0)
        errors: tuple[Any, ...] = self.retry_errors or ()
        for kind in errors:
            if not (isinstance(kind, type) and issubclass(kind, BaseException)):
                raise TypeError(f"retry_errors has {kind!r}, which is no class of exceptions.")

    def pause(self, retries: int, error: BaseException) -> float | None:
        """Return the seconds to wait after an error and `retries` earlier tries; None to give up."""
        if self.max_retries is not None and retries >= self.max_retries:
            return None
        if self.retry_errors is not None:
            wanted = isinstance(error, self.retry_errors)
        else:
            wanted = isinstance(error, OperationalError) and not isinstance(error, BrokerFull)
        if not wanted:
            return None
        return self.interval_start + min(retries * self.interval_step, self.interval_max)


_POLICY_NAMES = tuple(entry.name for entry in fields(PublishPolicy))


def publish_policy(*keywords: Mapping[str, Any]) -> PublishPolicy:
    """Return a policy from mappings, of which later ones count more. Raises TypeError for unknown names."""
    merged: dict[str, Any] = {}
    for mapping in keywords:
        if not isinstance(mapping, Mapping):
            raise TypeError(f"retry_policy is {mapping!r}, but must be a mapping.")
        _refuse_unknown(mapping, _POLICY_NAMES, "retry_policy")
        merged.update(mapping)
    errors = merged.get("retry_errors")
    if errors is not None:
        merged["retry_errors"] = (errors,) if isinstance(errors, type) else tuple(errors)
    return PublishPolicy(**merged)


def checked_policy(keywords: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of what a policy can be made of. Raises TypeError or ValueError otherwise."""
    publish_policy(keywords)
    return dict(keywords)


def _check_destination(options: CallOptions) -> None:
    """Refuse a queue or an exchange that is neither a name nor a value of that kind."""
    if options.queue is not None and not is_queue(options.queue):
        _text("queue", options.queue)
    if options.exchange is not None and not isinstance(options.exchange, str):
        try:
            as_exchange(options.exchange)
        except ImproperlyConfigured as error:
            raise TypeError(str(error)) from None
    delivery_mode(options.delivery_mode)


#: The options of a call.
CALL_NAMES = tuple(entry.name for entry in fields(CallOptions))
#: Options of Celery's that wait for workflows.
_WORKFLOW_NAMES = ("link", "link_error", "chain", "chord")
#: Options of Celery's about a library that is not used here.
_NO_MEANING = ("producer", "publisher", "connection", "router", "mandatory", "immediate")


def call_options(keywords: Mapping[str, Any], where: str = "apply_async") -> CallOptions:
    """Return the options of a call.

    Raises TypeError, with the nearest name, for an unknown one, and NotImplementedError for what
    needs workflows.
    """
    if not keywords:
        return _NO_OPTIONS
    try:
        options = CallOptions(**keywords)
    except TypeError:
        own = {name: value for name, value in keywords.items() if name in CALL_NAMES}
        if len(own) == len(keywords):
            raise
        names = (*CALL_NAMES, *_WORKFLOW_NAMES, *_NO_MEANING)
        _refuse_unknown(keywords, names, where)
        refuse_workflows(keywords)
        for name in _NO_MEANING:
            if keywords.get(name) is not None:
                warn_once(
                    f"The option {name} has no meaning here: umbel has connections of its own."
                )
        options = CallOptions(**own)
    warn_of_limits(options)
    return options


def refuse_workflows(keywords: Mapping[str, Any]) -> None:
    """Raise NotImplementedError for options that say what runs after a task."""
    for name in _WORKFLOW_NAMES:
        if keywords.get(name):
            raise NotImplementedError(
                f"The option {name} is part of workflows (callbacks, chains and chords), which umbel"
                " does not run yet. Send the next call from within the task."
            )


class EagerKeywords(CallKeywords, total=False):
    """The keyword arguments of `apply`, for type checkers: those of `apply_async` and a few more."""

    throw: bool | None
    logfile: str | None
    loglevel: int | None


@dataclass(frozen=True, slots=True)
class EagerOptions:
    """How a task is run where it is called. `throw` None: as ``task_eager_propagates`` says."""

    task_id: str | None = None
    retries: int | None = None
    throw: bool | None = None
    logfile: str | None = None
    loglevel: int | None = None
    headers: Mapping[str, Any] | None = None
    ignore_result: bool | None = None
    exchange: Any = None
    routing_key: str | None = None
    priority: int | None = None


_EAGER_NAMES = tuple(entry.name for entry in fields(EagerOptions))


def eager_options(keywords: Mapping[str, Any]) -> EagerOptions:
    """Return the options of a call that runs here; those that say how it is sent have no effect."""
    _refuse_unknown(keywords, (*_EAGER_NAMES, *CALL_NAMES, *_WORKFLOW_NAMES, *_NO_MEANING), "apply")
    refuse_workflows(keywords)
    return EagerOptions(**{name: keywords[name] for name in _EAGER_NAMES if name in keywords})


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


#: What most calls have, made once.
_NO_OPTIONS = CallOptions()


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


Handler = Callable[..., Any]


class TaskKeywords(TypedDict, total=False):
    """The keyword arguments of ``@app.task`` beside `bind` and `base`, for type checkers."""

    name: str | None
    queue: str | Queue | None
    exchange: str | Exchange | None
    routing_key: str | None
    delivery_mode: int | str | None
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
    rate_limit: str | float | None
    expires: float | datetime | None
    serializer: str | None
    compression: str | None
    ignore_result: bool | None
    store_errors_even_if_ignored: bool | None
    store_eager_result: bool | None
    acks_late: bool | None
    acks_on_failure_or_timeout: bool | None
    acks_on_failure: bool | None
    acks_on_timeout: bool | None
    reject_on_worker_lost: bool | None
    retry_on_worker_lost: bool | None
    track_started: bool | None
    throws: tuple[type[BaseException], ...] | type[BaseException]
    typing: bool | None
    trail: bool
    send_events: bool
    resultrepr_maxsize: int
    shadow_name: Handler
    before_start: Handler
    on_success: Handler
    on_failure: Handler
    on_retry: Handler
    after_return: Handler
    pydantic: bool
    pydantic_strict: bool
    pydantic_context: Mapping[str, Any] | None
    pydantic_dump_kwargs: Mapping[str, Any] | None
    shared: bool
    lazy: bool
    filter: Handler | None
    abstract: bool
    backend: Any
    Strategy: Any
    Request: Any


TASK_NAMES = tuple(TaskKeywords.__annotations__)


def check_task_keywords(keywords: Mapping[str, Any], base: Callable[..., Any] | type) -> None:
    """Refuse an option of a task that neither umbel nor the task's base class knows."""
    known = tuple(name for name in keywords if hasattr(base, name))
    _refuse_unknown(keywords, (*TASK_NAMES, *known), "@app.task")
