"""Which queues there are, which a worker consumes from, and to which a message finds its way.

`Queues` is Celery's ``app.amqp.queues``. Bindings are those that the queues here declare: `Queues.targets` is
a function of them, of an exchange and of a key; no broker is asked.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from umbel.absent import tell_of_absent
from umbel.entities import (
    WORKER_DIRECT_EXCHANGE,
    WORKER_DIRECT_QUEUE,
    Broadcast,
    Exchange,
    Queue,
    as_queue,
    is_queue,
    names_of,
)
from umbel.exceptions import ImproperlyConfigured, QueueNotFound, Unroutable

_ADVICE = (
    "Write queues as Queue('videos') or Queue('videos', Exchange('media', 'topic'), 'media.#'),"
    " or as a mapping of names to options: {'videos': {'exchange': 'media', 'routing_key': 'media.video'}}."
)


@dataclass(frozen=True, slots=True)
class Defaults:
    """What queues get that do not say it, and what is done about queues that are not declared."""

    exchange: Exchange
    routing_key: str
    create_missing: bool = True
    missing_exchange_type: str | None = None
    missing_queue_type: str | None = None
    max_priority: int | None = None


@tell_of_absent
class Queues(MutableMapping[str, Queue]):
    """Queues by name or alias. One that is not declared is added when it is asked for, if that is allowed."""

    def __init__(self, queues: Any, defaults: Defaults) -> None:
        self.defaults = defaults
        self._queues: dict[str, Queue] = {}
        self.aliases: dict[str, str] = {}
        self._bindings: dict[str, _Bound] | None = None
        #: Grows whenever a queue is added, replaced or removed.
        self.version = 0
        #: Tells which queues of workers get what is broadcast by an exchange now.
        self.listeners: Callable[[str], Sequence[str]] = lambda exchange: ()
        self._selected: dict[str, Queue] | None = None
        for queue in _declared(queues):
            self.add(queue)
        self._by_default = dict(self._queues)

    # The mapping

    def __getitem__(self, name: str) -> Queue:
        found = self._queues.get(self.aliases.get(name, name))
        if found is not None:
            return found
        if not self.defaults.create_missing:
            raise QueueNotFound(
                f"Queue {name!r} is missing from task_queues, which has: {names_of(self._queues.values())}."
                " Add it there, or set task_create_missing_queues."
            )
        return self.add(self._missing(name))

    def __setitem__(self, name: str, queue: Queue) -> None:
        filled = self._filled(as_queue(queue))
        if not filled.name:
            raise ImproperlyConfigured(f"task_queues has a queue without a name: {queue!r}.")
        self._changed()
        self._queues[name] = filled
        if filled.alias:
            self.aliases[filled.alias] = name

    def __delitem__(self, name: str) -> None:
        name = self.aliases.get(name, name)
        alias = self._queues.pop(name).alias
        self._changed()
        if alias:
            self.aliases.pop(alias, None)

    def __iter__(self) -> Iterator[str]:
        return iter(self._queues)

    def __len__(self) -> int:
        return len(self._queues)

    def __contains__(self, name: object) -> bool:
        return name in self._queues or name in self.aliases

    def add(self, queue: Any, **options: Any) -> Queue:
        """Add a queue, given as a Queue or by its name and the options of one."""
        if isinstance(queue, str):
            options.setdefault("routing_key", options.get("binding_key") or queue)
            queue = Queue.from_dict(queue, **options)
        elif not is_queue(queue):
            raise ImproperlyConfigured(f"{queue!r} is no queue. {_ADVICE}")
        self[queue.name] = queue
        return self._queues[queue.name]

    def declare(self, queue: Any) -> Queue:
        """Add a queue that whoever publishes or consumes brings along, unless it is there just like that."""
        wanted = self._filled(as_queue(queue))
        found = self._queues.get(wanted.name)
        return found if found == wanted else self.add(wanted)

    def _changed(self) -> None:
        self._bindings = None
        self.version += 1

    def _filled(self, queue: Queue) -> Queue:
        """Return a queue with the default exchange and key, where it has none of its own."""
        changed: dict[str, Any] = {}
        defaults = self.defaults
        if queue.exchange is None or not queue.exchange.name:
            changed["exchange"] = defaults.exchange
        if not queue.routing_key and defaults.routing_key:
            changed["routing_key"] = defaults.routing_key
        arguments = queue.queue_arguments or {}
        if defaults.max_priority is not None and "x-max-priority" not in arguments:
            changed["queue_arguments"] = {**arguments, "x-max-priority": defaults.max_priority}
        return _with(queue, changed) if changed else queue

    def _missing(self, name: str) -> Queue:
        kind = self.defaults.missing_queue_type or "classic"
        if kind not in ("classic", "quorum"):
            raise ImproperlyConfigured(
                f"task_create_missing_queue_type is {kind!r}, but must be 'classic' or 'quorum'."
            )
        return Queue(
            name,
            Exchange(name, self.defaults.missing_exchange_type or "direct"),
            name,
            queue_arguments=None if kind == "classic" else {"x-queue-type": kind},
        )

    def as_declared(self, name: str) -> Queue:
        """Return how a queue is declared at a broker, whether it is one of these or not; it is not added."""
        found = self._queues.get(self.aliases.get(name, name))
        return self._filled(self._missing(name)) if found is None else found

    # What is consumed

    @property
    def consume_from(self) -> dict[str, Queue]:
        """The queues that a worker consumes from: what was selected, else what was declared."""
        return self._by_default if self._selected is None else self._selected

    def select(self, include: str | Sequence[str] | None) -> None:
        """Consume from these queues only. Raises QueueNotFound for one that may not be added."""
        names = _listed(include)
        if names:
            queues = [self[name] for name in names]
            self._selected = {queue.name: queue for queue in queues}

    def deselect(self, exclude: str | Sequence[str] | None) -> None:
        """Do not consume from these queues."""
        for name in _listed(exclude):
            self.consume_from.pop(self.aliases.get(name, name), None)

    def select_add(self, queue: Any, **options: Any) -> Queue:
        """Add a queue that is consumed from, whatever else was selected."""
        added = self.add(queue, **options)
        self.consume_from[added.name] = added
        return added

    def format(self, indent: int = 0, indent_first: bool = True) -> str:
        """Return the queues that are consumed from, as a worker shows them when it starts."""
        lines = [described(queue) for _, queue in sorted(self.consume_from.items())]
        first = " " * indent if indent_first else ""
        return first + f"\n{' ' * indent}".join(lines) if lines else ""

    # Where messages go

    def targets(self, exchange: str, routing_key: str, also: Queue | None = None) -> list[str]:
        """Return the names of the queues to which an exchange passes a message with a key.

        `also` is a queue that the call itself brings along. Raises Unroutable when there is none.
        """
        if not exchange and routing_key:
            return [routing_key]
        bindings = self._index()
        if also is not None and self._queues.get(also.name) != also:
            bindings = _indexed([*self._queues.values(), also])
        bound = bindings.get(exchange)
        if bound is None and exchange == WORKER_DIRECT_EXCHANGE:
            return [WORKER_DIRECT_QUEUE.format(routing_key)]
        found = [] if bound is None else bound.to(routing_key)
        if bound is not None and bound.broadcast:
            found += [name for name in self.listeners(exchange) if name not in found]
        if not found:
            raise _unroutable(exchange, routing_key, bindings)
        return found

    def _index(self) -> dict[str, _Bound]:
        if self._bindings is None:
            self._bindings = _indexed(list(self._queues.values()))
        return self._bindings


@dataclass(slots=True)
class _Bound:
    """What is bound to one exchange: keys, or patterns of them, and queues."""

    type: str
    declared_by: str
    keys: list[tuple[str, str]]
    broadcast: bool = False

    def to(self, routing_key: str) -> list[str]:
        matches = _MATCHES[self.type]
        return list(dict.fromkeys(q for key, q in self.keys if matches(key, routing_key)))


def _indexed(queues: Iterable[Queue]) -> dict[str, _Bound]:
    """Return bindings by exchange. Raises ImproperlyConfigured when one exchange has two types."""
    index: dict[str, _Bound] = {}
    for queue in queues:
        pairs = [(queue.exchange, queue.routing_key)]
        pairs += [(one.exchange, one.routing_key) for one in queue.bindings]
        for exchange, key in pairs:
            if exchange is None or not exchange.name:
                continue
            bound = index.setdefault(exchange.name, _Bound(exchange.type, queue.name, []))
            if bound.type != exchange.type:
                raise ImproperlyConfigured(
                    f"The exchange {exchange.name!r} is of the type {bound.type!r} for the queue"
                    f" {bound.declared_by!r} and of the type {exchange.type!r} for {queue.name!r}, but"
                    " has one type. If it is the default exchange, see task_default_exchange_type."
                )
            if isinstance(queue, Broadcast) and queue.is_unique:
                bound.broadcast = True  # the queue is this process's own; workers have others
            else:
                bound.keys.append((key, queue.name))
    return index


def _unroutable(exchange: str, routing_key: str, bindings: Mapping[str, _Bound]) -> Unroutable:
    bound = bindings.get(exchange)
    if bound is None:
        known = ", ".join(sorted(bindings)) or "none"
        there = f"No queue is bound to that exchange; there are bindings to: {known}."
    elif bound.broadcast and not bound.keys:
        there = "It broadcasts, and no worker listens to it now."
    else:
        listed = ", ".join(f"{key!r} to {queue}" for key, queue in bound.keys)
        there = f"The bindings of that {bound.type} exchange are: {listed}."
    return Unroutable(
        f"A message to the exchange {exchange!r} with the routing key {routing_key!r} reaches no queue."
        f" {there} Declare a queue for it in task_queues, or send it to another place."
    )


def _equal(binding_key: str, routing_key: str) -> bool:
    return binding_key == routing_key


def _any(binding_key: str, routing_key: str) -> bool:
    return True


def _topic(binding_key: str, routing_key: str) -> bool:
    return _pattern(binding_key).fullmatch(_words(routing_key)) is not None


_MATCHES: dict[str, Callable[[str, str], bool]] = {
    "direct": _equal,
    "topic": _topic,
    "fanout": _any,
}


def _words(key: str) -> str:
    """Return a key with a dot before each of its words; an empty one has none."""
    return f".{key}" if key else ""


@lru_cache(maxsize=1024)
def _pattern(binding_key: str) -> re.Pattern[str]:
    """Return what matches the keys that a topic exchange passes on.

    ``*`` is one word, ``#`` any number of them.
    """
    parts = {"*": r"\.[^.]+", "#": r"(?:\.[^.]*)*"}
    words = binding_key.split(".") if binding_key else []
    return re.compile("".join(parts.get(word, rf"\.{re.escape(word)}") for word in words))


def described(queue: Queue) -> str:
    """Return a queue as a worker shows it when it starts."""
    exchange = queue.exchange or Exchange()
    return f".> {queue.name:<16} exchange={exchange.name}({exchange.type}) key={queue.routing_key}"


def _declared(queues: Any) -> list[Queue]:
    """Return the queues of ``task_queues``, in any of its forms."""
    if isinstance(queues, Mapping):
        return [_named(name, options) for name, options in queues.items()]
    if not isinstance(queues, Iterable) or isinstance(queues, str | bytes):
        raise ImproperlyConfigured(f"task_queues is {queues!r}, but must list queues. {_ADVICE}")
    listed = list(queues)
    for queue in listed:
        if not is_queue(queue):
            raise ImproperlyConfigured(f"task_queues lists {queue!r}, which is no queue. {_ADVICE}")
    return [as_queue(queue) for queue in listed]


def _named(name: Any, options: Any) -> Queue:
    if is_queue(options):
        return as_queue(options)
    if not isinstance(name, str) or not isinstance(options, Mapping):
        raise ImproperlyConfigured(
            f"task_queues has {name!r}: {options!r}, but must map names to options. {_ADVICE}"
        )
    given = dict(options)
    given["routing_key"] = given.get("routing_key") or given.get("binding_key") or name
    return Queue.from_dict(name, **given)


def _listed(names: str | Sequence[str] | None) -> list[str]:
    if isinstance(names, str):
        return [name.strip() for name in names.split(",") if name.strip()]
    return list(names or ())


def _with(queue: Queue, changed: Mapping[str, Any]) -> Queue:
    """Return a queue with other values, whatever its class; bindings stay beside an exchange."""
    copy = object.__new__(type(queue))
    copy.__dict__.update(queue.__dict__)
    copy.__dict__.update(changed)
    return copy
