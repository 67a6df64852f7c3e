"""What a running task knows about its call: ``self.request``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, ClassVar

from umbel.message import Call, Delivery

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
    delivery_info: Mapping[str, Any] | None = None
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

    #: The task whose call it is, once it runs; the call within which it runs; and whether
    #: `Task.__call__` has met it already. Class attributes until they are set: no work per call.
    running_task: ClassVar[Any] = None
    outer: ClassVar[Request | None] = None
    entered: ClassVar[bool] = False

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
    def taskset(self) -> str | None:
        """The group, under its oldest name."""
        return self.group

    def __getattr__(self, name: str) -> Any:
        """Return a header that the caller added."""
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


#: The fields of no call.
_NO_CALL = vars(Request())


#: Where a request's fields are in a call.
_OF_CALL = {
    name: name
    for name in (
        *("id", "task", "args", "kwargs", "retries", "eta", "expires", "root_id", "parent_id"),
        *("group_index", "chain", "chord", "callbacks", "errbacks", "correlation_id", "reply_to"),
        *("origin", "shadow", "ignore_result", "time_limit", "soft_time_limit"),
        *("replaced_task_nesting", "stamped_headers", "stamps", "headers", "sent_at"),
        *("argsrepr", "kwargsrepr"),
    )
} | {"group": "group_id"}
_values_of: Callable[[Call], tuple[Any, ...]] = attrgetter(*_OF_CALL.values())


def request_of(call: Call, delivery: Delivery, hostname: str) -> Request:
    """Return the request of a task that a worker runs."""
    # Said at once: to set forty fields one by one takes four times as long, for each task.
    request = object.__new__(Request)
    fields = _NO_CALL.copy()
    fields.update(zip(_OF_CALL, _values_of(call), strict=True))
    fields.update(
        timelimit=(call.time_limit, call.soft_time_limit),
        properties=delivery.message.properties,
        hostname=hostname,
        delivery_info=delivery_info(delivery),
        called_directly=False,
        crashes=delivery.crashes,
        came_through=delivery.queue,
        children=[],
    )
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
    sent = delivery.message.properties.get("delivery_info")
    sent = sent if isinstance(sent, dict) else {}
    exchange, key = sent.get("exchange"), sent.get("routing_key")
    return {
        "exchange": exchange if isinstance(exchange, str) else "",
        "routing_key": key if isinstance(key, str) else delivery.queue,
        "priority": delivery.priority,
        "redelivered": delivery.redelivered,
    }
