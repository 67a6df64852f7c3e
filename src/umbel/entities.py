"""Queues, exchanges and bindings as settings and calls name them: values with kombu's attributes.

The meaning of exchanges and bindings is AMQP's: https://www.rabbitmq.com/tutorials/amqp-concepts. kombu's
own objects are understood by their attributes, without importing kombu.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from umbel.absent import tell_of_absent
from umbel.clock import unique_id
from umbel.exceptions import ImproperlyConfigured
from umbel.nearest import meant

#: What an exchange may be. AMQP's fourth type, headers, is not offered.
EXCHANGE_TYPES = ("direct", "topic", "fanout")

#: The exchange of the queues that belong to one worker each, and the form of their names.
WORKER_DIRECT_EXCHANGE = "C.dq2"
WORKER_DIRECT_QUEUE = "{}.dq2"

#: The end of a name that was drawn by chance.
_DRAWN = re.compile(r"\.[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$")

_MODES = {"transient": 1, "persistent": 2, "1": 1, "2": 2}


def delivery_mode(value: Any) -> int | None:
    """Return a delivery mode, given by its number or its name. Raises ValueError for anything else."""
    found = _MODES.get(value, value) if isinstance(value, str) else value
    if found is None or (type(found) is int and found in (1, 2)):
        return found
    raise ValueError(
        f"delivery_mode is {value!r}, but must be 1 ('transient') or 2 ('persistent')."
    )


@tell_of_absent
@dataclass(frozen=True)
class Exchange:
    """Where messages are sent that find their queues by bindings. Without a name: AMQP's default exchange."""

    name: str = ""
    type: str = "direct"
    channel: Any = field(default=None, repr=False, compare=False)
    arguments: Mapping[str, Any] | None = None
    durable: bool = True
    passive: bool = False
    auto_delete: bool = False
    delivery_mode: int | str | None = None
    no_declare: bool = False

    def __post_init__(self) -> None:
        """Take None and "" for what they mean in kombu, and refuse types that do not exist."""
        _set(self, name=self.name or "", type=self.type or "direct")
        if self.type not in EXCHANGE_TYPES:
            raise ImproperlyConfigured(
                f"The exchange {self.name!r} is of the type {self.type!r}, but must be one of"
                f" {', '.join(EXCHANGE_TYPES)}."
            )
        try:
            _set(self, delivery_mode=delivery_mode(self.delivery_mode))
        except ValueError as error:
            raise ImproperlyConfigured(f"The exchange {self.name!r}: {error}") from None

    def __hash__(self) -> int:
        return hash(("E", self.name))

    def __str__(self) -> str:
        return f"Exchange {self.name or repr('')}({self.type})"


@tell_of_absent
@dataclass(frozen=True)
class binding:
    """What makes an exchange pass messages on to a queue: a key, or a pattern of keys."""

    exchange: Exchange | None = None
    routing_key: str = ""
    arguments: Mapping[str, Any] | None = None
    unbind_arguments: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        """Take an exchange by its name, too."""
        _set(self, exchange=as_exchange(self.exchange), routing_key=self.routing_key or "")

    def __hash__(self) -> int:
        return hash(("B", self.exchange, self.routing_key))


class _ExchangeField:
    """Lets a queue be made with a name or a list of bindings, and have an exchange or None."""

    def __get__(self, queue: Queue | None, owner: type[Queue]) -> Exchange | None:
        return None if queue is None else queue.__dict__["exchange"]

    def __set__(self, queue: Queue, value: Exchange | str | Collection[binding] | None) -> None:
        queue.__dict__["exchange"] = value


@tell_of_absent
@dataclass(frozen=True)
class Queue:
    """A queue: its name, and by which exchange and key it is reached.

    `exchange` is an Exchange, its name, or a list of bindings. `routing_key` is the key that binds the queue,
    also called binding key. What only a broker understands (`queue_arguments` and so on) is kept for engines.
    Lengths of time are seconds.
    """

    name: str = ""
    exchange: _ExchangeField = _ExchangeField()
    routing_key: str = ""
    channel: Any = field(default=None, repr=False, compare=False)
    bindings: Collection[binding] = ()
    on_declared: Callable[..., Any] | None = field(default=None, repr=False, compare=False)
    queue_arguments: Mapping[str, Any] | None = None
    binding_arguments: Mapping[str, Any] | None = None
    consumer_arguments: Mapping[str, Any] | None = None
    durable: bool = True
    exclusive: bool = False
    auto_delete: bool = False
    no_ack: bool = False
    alias: str | None = None
    no_declare: bool = False
    expires: float | None = None
    message_ttl: float | None = None
    max_length: int | None = None
    max_length_bytes: int | None = None
    max_priority: int | None = None

    def __post_init__(self) -> None:
        """Take the forms of kombu's constructor."""
        given: Any = self.exchange
        bindings = [as_binding(one) for one in self.bindings or ()]
        if isinstance(given, list | tuple | set | frozenset):
            bindings += [as_binding(one) for one in given]
            given = None
        exchange = None if bindings else as_exchange(given) or Exchange()
        _set(
            self,
            exchange=exchange,
            bindings=tuple(dict.fromkeys(bindings)),
            routing_key=self.routing_key or "",
            auto_delete=bool(self.auto_delete or self.exclusive),
        )

    def __hash__(self) -> int:
        return hash(("Q", self.name))

    @classmethod
    def from_dict(cls, queue: str, **options: Any) -> Queue:
        """Return a queue from its name and the options that a mapping in ``task_queues`` gives it."""
        unknown = [name for name in options if name not in _OPTIONS]
        if unknown:
            hint = meant(unknown[0], _OPTIONS) or f" It has: {', '.join(_OPTIONS)}."
            raise ImproperlyConfigured(f"The queue {queue!r} has no option {unknown[0]!r}.{hint}")

        def told(*names: str) -> Any:
            return next((options[name] for name in names if options.get(name) is not None), None)

        exchange = told("exchange")
        if exchange is None or isinstance(exchange, str):
            exchange = Exchange(
                exchange or "",
                told("exchange_type") or "direct",
                arguments=told("exchange_arguments"),
                durable=_or(told("exchange_durable", "durable"), True),
                auto_delete=_or(told("exchange_auto_delete", "auto_delete"), False),
                delivery_mode=told("delivery_mode"),
            )
        rest = {name: options[name] for name in _FORWARDED if options.get(name) is not None}
        return cls(
            queue,
            exchange,
            told("binding_key", "routing_key") or "",
            durable=_or(told("queue_durable", "durable"), True),
            auto_delete=_or(told("queue_auto_delete", "auto_delete"), False),
            **rest,
        )


_FORWARDED = tuple(
    entry.name
    for entry in fields(Queue)
    if entry.name
    not in ("name", "exchange", "routing_key", "channel", "on_declared", "durable", "auto_delete")
)
_OPTIONS = (
    "exchange",
    "exchange_type",
    "routing_key",
    "binding_key",
    "durable",
    "queue_durable",
    "exchange_durable",
    "auto_delete",
    "queue_auto_delete",
    "exchange_auto_delete",
    "exchange_arguments",
    "delivery_mode",
    *_FORWARDED,
)


class Broadcast(Queue):
    """A queue of this process's own, bound to a fanout exchange: every worker gets a copy.

    `name` is the exchange's; calls name the queue by it. `queue` is the name of the queue itself, by default
    one that nobody else has.
    """

    queue: str
    is_unique: bool

    def __init__(
        self,
        name: str | None = None,
        queue: str | None = None,
        unique: bool = False,
        auto_delete: bool = True,
        exchange: Exchange | None = None,
        alias: str | None = None,
        **options: Any,
    ) -> None:
        own = f"{queue or 'bcast'}.{unique_id()}" if unique or not queue else queue
        super().__init__(
            name=own,
            exchange=exchange if exchange is not None else Exchange(name or "", "fanout"),
            alias=alias or name,
            auto_delete=auto_delete,
            **options,
        )
        # A name that nobody else has is also known by its form, when the queue comes from kombu.
        _set(self, queue=own, is_unique=bool(unique or not queue or _DRAWN.search(own)))


def worker_direct(hostname: str) -> Queue:
    """Return the queue of one worker, by its node name: ``apply_async(queue=worker_direct("w1@host"))``."""
    name = WORKER_DIRECT_QUEUE.format(hostname)
    return Queue(name, Exchange(WORKER_DIRECT_EXCHANGE), hostname)


def is_queue(value: object) -> bool:
    """Tell whether a value is a queue, ours or kombu's."""
    return isinstance(value, Queue) or all(
        hasattr(value, name) for name in ("name", "exchange", "routing_key", "bindings")
    )


def as_queue(value: Any) -> Queue:
    """Return a queue, ours as it is, kombu's as ours."""
    if isinstance(value, Queue):
        return value
    given = {name: getattr(value, name, None) for name in _FORWARDED}
    given = {name: told for name, told in given.items() if told is not None}
    named = {
        "exchange": as_exchange(value.exchange),
        "routing_key": value.routing_key or "",
        "durable": getattr(value, "durable", True),
        "auto_delete": getattr(value, "auto_delete", False),
    }
    own = getattr(value, "queue", None)
    if own:
        return Broadcast(queue=own, **given | named)
    return Queue(value.name, **given | named)


def as_exchange(value: Any) -> Exchange | None:
    """Return an exchange, given by its name, as ours or as kombu's."""
    if value is None or isinstance(value, Exchange):
        return value
    if isinstance(value, str):
        return Exchange(value)
    if hasattr(value, "name") and hasattr(value, "type"):
        names = ("arguments", "durable", "auto_delete", "delivery_mode", "no_declare")
        given = {name: getattr(value, name) for name in names if hasattr(value, name)}
        return Exchange(value.name, value.type, **given)
    raise ImproperlyConfigured(
        f"An exchange is given as {value!r}, but must be a name or Exchange(name, type)."
    )


def as_binding(value: Any) -> binding:
    """Return a binding, ours or kombu's."""
    if isinstance(value, binding):
        return value
    if hasattr(value, "exchange") and hasattr(value, "routing_key"):
        return binding(as_exchange(value.exchange), value.routing_key or "")
    raise ImproperlyConfigured(
        f"A binding is given as {value!r}, but must be binding(exchange, routing_key=key)."
    )


def names_of(queues: Iterable[Queue]) -> str:
    """Return the names of queues for people to read."""
    return ", ".join(sorted(queue.name for queue in queues)) or "none"


def _or(value: Any, default: Any) -> Any:
    return default if value is None else value


def _set(entity: object, **values: Any) -> None:
    """Write to what is frozen, while it is being made."""
    for name, value in values.items():
        object.__setattr__(entity, name, value)
