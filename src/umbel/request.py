"""What a running task knows about its call: ``self.request``."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, ClassVar

from umbel.message import Call, Delivery
from umbel.tails import RawTail

#: Headers that brokers add to dead letters, which a retry must not carry on.
_DEAD_LETTER_HEADERS = frozenset(
    {
        "x-death",
        *(
            f"x-{which}-death-{what}"
            for which in ("first", "last")
            for what in ("exchange", "queue")
        ),
        *(f"x-{which}-death-reason" for which in ("first", "last")),
    }
)


@dataclass(kw_only=True)
class Request:
    """The fields of Celery's ``Context``. Times are ISO 8601 texts, limits are seconds.

    Headers that the caller added can be read like fields, and fields of one's own can be set.
    """

    id: str | None = None
    task: str | None = None
    args: Sequence[Any] | None = None
    kwargs: Mapping[str, Any] | None = None
    retries: int = 0
    eta: str | None = None
    expires: str | None = None
    root_id: str | None = None
    parent_id: str | None = None
    group: str | None = None
    group_index: int | None = None
    chain: Any = None
    chord: Any = None
    callbacks: Any = None
    errbacks: Any = None
    correlation_id: str | None = None
    reply_to: str | None = None
    origin: str | None = None
    shadow: str | None = None
    ignore_result: bool | None = None
    time_limit: float | None = None
    soft_time_limit: float | None = None
    timelimit: Sequence[float | None] | None = None
    replaced_task_nesting: int = 0
    stamped_headers: Any = None
    stamps: Mapping[str, Any] | None = None
    argsrepr: str | None = None
    kwargsrepr: str | None = None
    headers: Mapping[str, Any] | None = None
    properties: Mapping[str, Any] | None = None
    hostname: str | None = None
    delivery_info: Mapping[str, Any] | None = field(default_factory=lambda: None)
    logfile: str | None = None
    loglevel: int | None = None
    utc: bool | None = None
    called_directly: bool = True
    is_eager: bool = False
    children: list[Any] = field(default_factory=list)
    sent_at: float | None = None
    crashes: int = 0
    #: The queue that the call came through; a routing key may be another.
    came_through: str | None = None
    #: The tag of the message that a worker runs it from.
    message_tag: str | None = None

    #: The task whose call it is, once it runs; the call within which it runs; whether `Task.__call__` has
    #: met it already; and whether it is to run again elsewhere, so that nothing follows if it is cancelled
    #: here. Class attributes until they are set: no work per call.
    running_task: ClassVar[Any] = None
    outer: ClassVar[Request | None] = None
    entered: ClassVar[bool] = False
    given_back: ClassVar[bool] = False

    @property
    def name(self) -> str | None:
        """The task's name, as receivers of ``task_received`` and ``task_revoked`` ask for it."""
        return self.task

    task_name = name

    @property
    def task_id(self) -> str | None:
        """The id, as the same receivers ask for it."""
        return self.id

    @property
    def raw_chain(self) -> Any:
        """The field `chain` for whoever does not look into it: raw, unless somebody has."""
        return self.__dict__.get("chain")

    @property
    def taskset(self) -> str | None:
        """The group, under its oldest name."""
        return self.group

    def __getattr__(self, name: str) -> Any:
        """Return a header that the caller added."""
        if name == "children":  # a list of its own, which few calls need
            children: list[Any] = []
            self.__dict__["children"] = children
            return children
        if name == "delivery_info":  # as most have it, and few ask for
            info = self.__dict__["delivery_info"] = _info(self.properties or {}, self.came_through)
            return info
        headers = self.__dict__.get("headers")
        if headers and name in headers:
            return headers[name]
        raise AttributeError(f"This call has no {name!r}, neither as a field nor as a header.")

    def get(self, key: str, default: Any = None) -> Any:
        """Return a field or a header by its name."""
        return getattr(self, key, default)

    def update(self, *values: Any, **fields: Any) -> None:
        """Set fields, as `dict.update` does."""
        given = dict(*values, **fields)
        if "timelimit" in given:
            limits = given["timelimit"]
            pair = limits if isinstance(limits, list | tuple) and len(limits) >= 2 else (None, None)
            given |= {"time_limit": pair[0], "soft_time_limit": pair[1]}
        if "chord" in given:
            given["_chord_is_own"] = True
        self.__dict__.update(given)

    def clear(self) -> None:
        """Set all fields to what they are of no call."""
        self.__dict__.clear()
        self.__dict__.update(Request().__dict__)

    def as_execution_options(self) -> dict[str, Any]:
        """Return the options of `apply_async` that make another call part of the same work."""
        hard, soft = self.timelimit or (self.time_limit, self.soft_time_limit)
        headers = {
            name: value
            for name, value in (self.headers or {}).items()
            if name not in _DEAD_LETTER_HEADERS
        }
        options: dict[str, Any] = {
            "task_id": self.id,
            "root_id": self.root_id,
            "parent_id": self.parent_id,
            "group_id": self.group,
            "group_index": self.group_index,
            "shadow": self.shadow,
            "chord": self.chord,
            "chain": self.chain,
            "link": self.callbacks,
            "link_error": self.errbacks,
            "expires": self.expires,
            "soft_time_limit": soft,
            "time_limit": hard,
            "headers": headers,
            "retries": self.retries,
            "reply_to": self.reply_to,
            "replaced_task_nesting": self.replaced_task_nesting,
            "origin": self.origin,
        }
        if self.stamps is not None and self.stamped_headers is not None:
            options["stamped_headers"] = self.stamped_headers
            options |= {k: v for k, v in self.stamps.items() if k in self.stamped_headers}
        return options


class _Chord:
    """The field `chord`: a copy for whoever looks at it, since the calls of a header share what it is."""

    def __get__(self, request: Request | None, kind: type[Request]) -> Any:
        if request is None:
            return None  # of no call
        fields = request.__dict__
        found = fields.get("chord")
        if found is not None and "_chord_is_own" not in fields:
            found = fields["chord"] = copy.deepcopy(found)
            fields["_chord_is_own"] = True
        return found

    def __set__(self, request: Request, chord: Any) -> None:
        request.__dict__.update(chord=chord, _chord_is_own=True)


class _Chain:
    """The field `chain`: a list for whoever looks at it, and the raw tail for whoever passes that on."""

    def __get__(self, request: Request | None, kind: type[Request]) -> Any:
        if request is None:
            return None  # of no call
        fields = request.__dict__
        found = fields.get("chain")
        if isinstance(found, RawTail):
            found = fields["chain"] = list(
                found
            )  # from here on what its reader does with it counts
        return found

    def __set__(self, request: Request, chain: Any) -> None:
        request.__dict__["chain"] = chain


Request.chain, Request.chord = _Chain(), _Chord()

#: Where those fields of a request are in a call that few calls have.
_RARE = {
    name: name
    for name in (
        *("eta", "expires", "parent_id", "group_index", "chain", "chord", "callbacks", "errbacks"),
        *(
            "reply_to",
            "shadow",
            "time_limit",
            "soft_time_limit",
            "stamped_headers",
            "retries",
            "replaced_task_nesting",
        ),
    )
} | {"group": "group_id"}
_rare_of: Callable[[Call], tuple[Any, ...]] = attrgetter(*_RARE.values())
_NONE_OF_THEM = _rare_of(Call("", ""))
_NO_LIMITS = (None, None)


def request_of(call: Call, delivery: Delivery, hostname: str) -> Request:
    """Return the request of a task that a worker runs."""
    # Said at once, and only what is not as in the class: to set forty fields one by one takes four times as
    # long, for each task, and to keep forty takes a kilobyte more, for each of thousands in flight. A
    # dictionary of more than 21 takes twice as much as one of 21, and one more is added when the task runs.
    request = object.__new__(Request)
    fields: dict[str, Any] = {
        "id": call.id,
        "task": call.task,
        "args": call.args,
        "kwargs": call.kwargs,
        "argsrepr": call.argsrepr,
        "kwargsrepr": call.kwargsrepr,
        "root_id": call.root_id,
        "correlation_id": call.correlation_id,
        "origin": call.origin,
        "stamps": call.stamps,
        "headers": call.headers,
        "sent_at": call.sent_at,
        "timelimit": _NO_LIMITS,
        "properties": delivery.message.properties,
        "hostname": hostname,
        "called_directly": False,
        "came_through": delivery.queue,
        "message_tag": delivery.tag,
    }
    if call.ignore_result is not None:
        fields["ignore_result"] = call.ignore_result
    rare = _rare_of(call)
    if rare != _NONE_OF_THEM:
        fields.update(zip(_RARE, rare, strict=True))
        fields["timelimit"] = (call.time_limit, call.soft_time_limit)
    if delivery.priority or delivery.count > 1:
        fields["delivery_info"] = delivery_info(delivery)
    if delivery.crashes:
        fields["crashes"] = delivery.crashes
    if call.headers and isinstance(call.headers.get("headers"), dict):
        fields["headers"] = _flat(call.headers)
    request.__dict__ = fields
    return request


def _flat(headers: Mapping[str, Any]) -> dict[str, Any]:
    """Return headers with those among them that stand within one of that name.

    There tracers put theirs, since Celery's request has only these where there are any.
    """
    own = {name: value for name, value in headers.items() if name != "headers"}
    nested: Mapping[str, Any] = headers["headers"]
    return {**own, **nested}


def delivery_info(delivery: Delivery) -> dict[str, Any]:
    """Return how a message came here; by itself it says so only if it was sent to an exchange."""
    properties = delivery.message.properties
    return _info(properties, delivery.queue, delivery.priority, delivery.redelivered)


def _info(
    properties: Mapping[str, Any], queue: str | None, priority: int = 0, redelivered: bool = False
) -> dict[str, Any]:
    sent = properties.get("delivery_info")
    sent = sent if isinstance(sent, dict) else {}
    exchange, key = sent.get("exchange"), sent.get("routing_key")
    asked = properties.get("priority")
    return {
        "exchange": exchange if isinstance(exchange, str) else "",
        "routing_key": key if isinstance(key, str) else queue,
        # Brokers with steps know only to which one it belongs.
        "priority": asked if type(asked) is int else priority,
        "redelivered": redelivered,
    }
