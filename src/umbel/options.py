"""The options of a call and of a task: declared once, as values; unknown ones are refused."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from datetime import datetime
from functools import cache
from operator import attrgetter
from typing import Any, NamedTuple, TypedDict

from umbel.checks import (
    refuse_unknown,
    require_int,
    require_number,
    require_order,
    require_priority,
    require_text,
    require_time,
)
from umbel.entities import Exchange, Queue, as_exchange, delivery_mode, is_queue
from umbel.exceptions import ImproperlyConfigured
from umbel.links import LINKS, as_list, require_links
from umbel.nearest import nearest
from umbel.policies import publish_policy
from umbel.tails import RawTail

logger = logging.getLogger("umbel.options")


@cache
def warn_once(text: str) -> None:
    """Log a warning, the same one once per process: for what is accepted and not heeded."""
    logger.warning("%s", text)


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
    route_name: str | None
    correlation_id: str | None
    origin: str | None
    replaced_task_nesting: int
    stamped_headers: Sequence[str] | None
    timeout: float | None
    throw: bool | None
    message_id: str | None
    timestamp: Any
    type: str | None
    user_id: str | None
    app_id: str | None
    cluster_id: str | None
    expiration: float | None
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
    confirm_timeout: Any
    result_cls: Any
    task_type: Any


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
    """A time, or its ISO 8601 text, before which it does not run; without a zone, in UTC."""
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
    route_name: str | None = None
    """The name that routes know the task by, in place of its own."""
    correlation_id: str | None = None
    """The property of that name; by default the call's id."""
    origin: str | None = None
    """Who sends the call, in place of this process."""
    replaced_task_nesting: int = 0
    """How many tasks it takes the place of, one within the other."""
    stamped_headers: Sequence[str] | None = None
    """The names of further options that are stamps; these are in `stamps`."""
    timeout: float | None = None
    """Seconds that the publish may take."""
    throw: bool | None = None
    """Whether the call raises what the task raises, where ``task_always_eager`` runs it at once."""
    link: Any = None
    """The signature that follows when the call has ended well, or a list of them."""
    link_error: Any = None
    """The signature that follows when the call has failed, or a list of them."""
    chain: Any = None
    """The signatures that follow one after the other; the last is the first to run."""
    chord: Any = None
    """The signature that follows when all of its group have ended well."""
    stamps: Mapping[str, Any] = field(default_factory=dict)
    """Stamps by name."""
    properties: Mapping[str, Any] = field(default_factory=dict)
    """Properties of the message that are nothing to us, such as ``app_id``."""
    cleared: frozenset[str] = frozenset()
    """The options that were given as None: these take back what the task says."""

    def __post_init__(self) -> None:
        """Check the values where they are written."""
        if self.task_id is not None:
            require_text("task_id", self.task_id)
        for name in LINKS:
            require_links(name, getattr(self, name))
        if self.says_more:
            self._check_more()

    @property
    def says_more(self) -> bool:
        """Tell whether they say more than which call it is and what follows it, as those of a step do."""
        return _more_of(self) != _NO_MORE or not self.cleared <= _WHICH

    def _check_more(self) -> None:
        # A countdown that was computed may be in the past: the task is due then, as in Celery.
        require_number("countdown", self.countdown, low=-math.inf)
        for name in ("eta", "expires"):
            require_time(name, getattr(self, name))
        if self.headers is not None and not isinstance(self.headers, Mapping):
            raise TypeError(f"headers is {self.headers!r}, but must be a mapping.")
        for name in ("time_limit", "soft_time_limit", "timeout"):
            require_number(name, getattr(self, name), low=0.0)
        require_order(self.time_limit, self.soft_time_limit)
        require_priority(self.priority)
        for name in _TEXTS:
            if getattr(self, name) is not None:
                require_text(name, getattr(self, name))
        require_int("replaced_task_nesting", self.replaced_task_nesting)
        if self.queue is not None or self.exchange is not None or self.delivery_mode is not None:
            _check_destination(self)
        if self.retry not in (None, True, False):
            raise TypeError(f"retry is {self.retry!r}, but must be True or False.")
        if self.retry_policy is not None:
            publish_policy(self.retry_policy)


_TEXTS = ("routing_key", "exchange_type", "route_name", "correlation_id", "origin")


def _check_destination(options: CallOptions) -> None:
    """Refuse a queue or an exchange that is neither a name nor a value of that kind."""
    if options.queue is not None and not is_queue(options.queue):
        require_text("queue", options.queue)
    if options.exchange is not None and not isinstance(options.exchange, str):
        try:
            as_exchange(options.exchange)
        except ImproperlyConfigured as error:
            raise TypeError(str(error)) from None
    delivery_mode(options.delivery_mode)


#: The options that say which call it is, and what follows it.
_WHICH = frozenset({"task_id", "root_id", "parent_id", "reply_to", *LINKS, "chord"})
_MORE = tuple(one for one in fields(CallOptions) if one.name not in {*_WHICH, "cleared"})
_more_of: Callable[[CallOptions], tuple[Any, ...]] = attrgetter(*(one.name for one in _MORE))
_NO_MORE = tuple({} if one.default is MISSING else one.default for one in _MORE)

#: The fields of `CallOptions` that others are gathered in.
_GATHERED = ("stamps", "properties", "cleared")
#: The options of a call.
CALL_NAMES = tuple(entry.name for entry in fields(CallOptions) if entry.name not in _GATHERED)
_OWN_NAMES = frozenset(CALL_NAMES)
#: Properties of messages in AMQP that a caller may set.
_PROPERTIES = ("message_id", "timestamp", "type", "user_id", "app_id", "cluster_id", "expiration")
_CONNECTIONS = "umbel has connections of its own"
#: Options of Celery's that mean nothing here, and why.
_NO_MEANING = {
    "producer": _CONNECTIONS,
    "publisher": _CONNECTIONS,
    "connection": _CONNECTIONS,
    "router": "routes are those of the settings",
    "mandatory": "a call that reaches no queue is always an error",
    "immediate": "no broker has it any more",
    "confirm_timeout": "the option timeout is about the whole of a publish",
    "result_cls": "app.AsyncResult(task_id) makes a result, and so does a class of your own",
    "task_type": "the task is found by its name",
    "immutable": "a signature is made immutable by task.si(...) or set(immutable=True)",
}
#: All options that a call may be given, but for stamps.
OPTION_NAMES = (*CALL_NAMES, *_PROPERTIES, *_NO_MEANING)


def call_options(keywords: Mapping[str, Any], where: str = "apply_async") -> CallOptions:
    """Return the options of a call.

    Raises TypeError, with the nearest name, for an unknown one, also of what follows the call.
    """
    if not keywords:
        return NO_OPTIONS
    if keywords.keys() <= _OWN_NAMES and "stamped_headers" not in keywords:
        options = CallOptions(**keywords, cleared=_cleared(keywords))
    else:
        options = _gathered(keywords, where)
    if options.link or options.link_error or options.chain:
        _check_what_follows(options)
    return options


def without_strange(
    keywords: Mapping[str, Any], known: Sequence[str] = OPTION_NAMES
) -> dict[str, Any]:
    """Leave out what may be for an `apply_async` of the task's own, which passes on all that it was given.

    So may what a visitor of stamps returned beside them. What is plainly misspelt stays, to be refused.
    """
    stamps = as_list(keywords.get("stamped_headers")) or ()
    return {
        name: value
        for name, value in keywords.items()
        if name in known or name in stamps or nearest(name, known)
    }


def _check_what_follows(options: CallOptions) -> None:
    """Refuse wrong options of signatures here, not in the worker that sends them.

    Unknown ones may be for an `apply_async` of the task's own, unless they are plainly misspelt.
    """
    for name in LINKS:
        written = getattr(options, name)
        links = () if isinstance(written, RawTail) else as_list(written) or ()
        # Of a chain the next step: the others are looked at when it is their turn.
        for link in links[-1:] if name == "chain" else links:
            if not link.get("subtask_type"):
                meant = without_strange(link.get("options") or {})
                call_options(meant, f"The signature of {link['task']}")


def _cleared(keywords: Mapping[str, Any]) -> frozenset[str]:
    return frozenset(name for name, value in keywords.items() if value is None)


def _gathered(keywords: Mapping[str, Any], where: str) -> CallOptions:
    """Return options of which some are stamps, properties or without meaning."""
    stamped = keywords.get("stamped_headers")
    stamps = _stamps(keywords, stamped)
    if stamped is not None:  # what is not named there is what a visitor told itself
        keywords = without_strange(keywords)
    refuse_unknown(keywords, (*OPTION_NAMES, *stamps), where)
    for name, why in _NO_MEANING.items():
        if keywords.get(name) is not None:
            warn_once(f"The option {name} has no meaning here: {why}.")
    properties = {name: keywords[name] for name in _PROPERTIES if keywords.get(name) is not None}
    if "expiration" in properties:
        require_number("expiration", properties["expiration"], low=0.0)
        # Seconds here; AMQP has the milliseconds as a text.
        properties["expiration"] = str(int(properties["expiration"] * 1000))
    own = {name: value for name, value in keywords.items() if name in _OWN_NAMES}
    return CallOptions(**own, stamps=stamps, properties=properties, cleared=_cleared(keywords))


def _stamps(keywords: Mapping[str, Any], names: Any) -> dict[str, Any]:
    """Return the options that are stamps."""
    if names is not None and (
        not isinstance(names, list | tuple | set | frozenset)
        or not all(isinstance(name, str) for name in names)
    ):
        raise TypeError(f"stamped_headers is {names!r}, but must list the names of stamps.")
    for name in names or ():
        if name not in keywords:
            raise TypeError(
                f"stamped_headers names the stamp {name!r}, which is not given: add {name}=..."
            )
    return {name: keywords[name] for name in names or ()}


#: The options of `apply_async`, `apply` and `send_task` that may be given by their position, as in Celery.
CALL_POSITIONS = ("task_id", "producer", "link", "link_error", "shadow")
EAGER_POSITIONS = (
    *("link", "link_error", "task_id", "retries", "throw"),
    *("logfile", "loglevel", "headers"),
)
SEND_POSITIONS = (
    *("countdown", "eta", "task_id", "producer", "connection", "router", "result_cls", "expires"),
    *("publisher", "link", "link_error", "add_to_parent", "group_id", "group_index", "retries"),
    *("chord", "reply_to", "time_limit", "soft_time_limit", "root_id", "parent_id", "route_name"),
    *("shadow", "chain", "task_type", "replaced_task_nesting"),
)


def by_position(
    names: Sequence[str], values: Sequence[Any], keywords: Mapping[str, Any], where: str
) -> Mapping[str, Any]:
    """Return options with those that were given by their position, in Celery's order.

    Raises TypeError for too many of them, and for one that is given twice.
    """
    if not values:
        return keywords
    if len(values) > len(names):
        raise TypeError(
            f"{where} takes {len(names)} options by their position, not {len(values)}: {', '.join(names)}."
        )
    given = dict(zip(names, values, strict=False))
    for name in given:
        if name in keywords:
            raise TypeError(f"{where} got the option {name!r} twice: by its position and by name.")
    # What stands there only to reach a later one is not given as None.
    return {name: value for name, value in given.items() if value is not None} | dict(keywords)


def given(options: CallOptions) -> dict[str, Any]:
    """Return what options say that most calls do not."""
    return {
        name: value
        for name in CALL_NAMES
        if (value := getattr(options, name)) != getattr(NO_OPTIONS, name)
    }


def as_keywords(options: CallOptions) -> dict[str, Any]:
    """Return options as keyword arguments of `apply_async` that give the same options again."""
    properties = dict(options.properties)
    if "expiration" in properties:
        properties["expiration"] = int(properties["expiration"]) / 1000
    cleared = dict.fromkeys(options.cleared)
    return {**cleared, **given(options), **options.stamps, **properties}


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
    link: Any = None
    link_error: Any = None
    chain: Any = None
    stamped_headers: Sequence[str] | None = None
    stamps: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check what follows the call where it is written."""
        for name in LINKS:
            require_links(name, getattr(self, name))


_EAGER_NAMES = tuple(entry.name for entry in fields(EagerOptions) if entry.name != "stamps")


def eager_options(keywords: Mapping[str, Any]) -> EagerOptions:
    """Return the options of a call that runs here; those that say how it is sent have no effect."""
    stamped = keywords.get("stamped_headers")
    stamps, names = _stamps(keywords, stamped), (*_EAGER_NAMES, *OPTION_NAMES)
    if stamped is not None:
        keywords = without_strange(keywords, names)
    refuse_unknown(keywords, (*names, *stamps), "apply")
    own = {name: keywords[name] for name in _EAGER_NAMES if name in keywords}
    return EagerOptions(**own, stamps=stamps)


#: What most calls have, made once.
NO_OPTIONS = CallOptions()


class StepOptions(NamedTuple):
    """The options of most steps of a chain: those that say which call it is and what follows it."""

    task_id: str
    reply_to: str | None
    chain: Any
    root_id: str | None
    parent_id: str | None
    link: None = None
    link_error: None = None
    chord: None = None
