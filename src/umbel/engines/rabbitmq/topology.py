"""What has to exist at the server: queues and their bindings as Celery declares them, and queues of our own.

Each is declared once for each process, on a connection that is closed again: where the server refuses a
declaration, it closes the channel.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from time import monotonic
from typing import Any

from umbel.engines.rabbitmq import wire
from umbel.engines.rabbitmq.address import Address
from umbel.engines.rabbitmq.delays import PATIENCE, Delays, bind_to_celerys, declare_celerys
from umbel.engines.rabbitmq.errors import Inequivalent, NotFound
from umbel.engines.rabbitmq.link import Link
from umbel.engines.rabbitmq.wire import method
from umbel.entities import Exchange, Queue
from umbel.exceptions import OperationalError

logger = logging.getLogger("umbel.rabbitmq")

#: Seconds after which a queue goes that only one process uses, and no longer does.
UNUSED = 86400.0
#: Where dead letters lie.
DEAD = "umbel.dead"

#: Limits of a queue by the names of `Queue`, and of RabbitMQ; the first two are seconds and milliseconds.
_LIMITS = (
    ("expires", "x-expires", 1000),
    ("message_ttl", "x-message-ttl", 1000),
    ("max_length", "x-max-length", 1),
    ("max_length_bytes", "x-max-length-bytes", 1),
    ("max_priority", "x-max-priority", 1),
)


#: What a server says of a queue that is declared as another one than it is.
_IS_QUORUM = re.compile(r"x-queue-type.*current is the value 'quorum'")
#: The same of any property: its name, its value there, none for nothing, and the type where that is another.
_DIFFERENCE = re.compile(
    r"inequivalent arg '([^']+)'.* current is (?:none|(?:the value )?'([^']*)'(?: of type '(\w+)')?)"
)
#: How often a queue is asked for what it is.
_MOST_DIFFERENCES = 20


def plain_queue(name: str) -> Queue:
    """Return a queue as Celery declares one that nobody has said anything of."""
    return Queue(name, Exchange(name), name)


class Topology:
    """The queues that this process has declared. Threads may share it."""

    def __init__(
        self,
        address: Address,
        declared: Callable[[str], Queue] = plain_queue,
        prefix: str = "",
        kind: str = "classic",
    ) -> None:
        self.address = address
        self.declared = declared
        self.delays = Delays(prefix, kind)
        self.prefix = prefix
        self._kind = kind
        self._lock = threading.RLock()
        #: Names of queues that are there, by our own names for them.
        self.known: set[str] = set()
        #: Those of them that are quorum queues.
        self.quorum: set[str] = set()
        self._parked: set[str] = set()
        self._for_celery: set[str] = set()

    def name(self, queue: str) -> str:
        """Return a queue's name at the server."""
        return self.prefix + queue

    @property
    def dead(self) -> str:
        """Where dead letters lie."""
        return self.prefix + DEAD

    # Declaring

    def ensure(self, queues: Collection[str], timeout: float | None = None) -> None:
        """Declare queues that this process has not declared yet."""
        if self.known.issuperset(queues):
            return
        with self._lock:
            for queue in dict.fromkeys(queues):
                if queue not in self.known:
                    self._declare(queue, timeout)
                    self.known.add(queue)

    def ensure_parking(self, queues: Collection[str], timeout: float | None = None) -> None:
        """Let what is parked come back to queues."""
        if self._parked.issuperset(queues):
            return
        with self._lock:
            if not self._parked:
                self._declare_delays(timeout)
            with self.admin(timeout) as link:
                for queue in queues:
                    self.delays.bind(link, self.name(queue))
            self._parked.update(queues)

    def _declare_delays(self, timeout: float | None) -> None:
        try:
            deadline = monotonic() + (timeout or PATIENCE)
            with self.admin(timeout) as link:
                self.delays.declare(link, max(deadline - monotonic(), 0.0))
        except Inequivalent as error:
            logger.warning(
                "The queues in which messages wait until they are due are used as they are there. %s",
                error,
            )

    def ensure_celerys(self, queues: Collection[str]) -> None:
        """Let quorum queues have what Celery's clients send by its delayed delivery."""
        new = [queue for queue in queues if queue not in self._for_celery]
        if not new:
            return
        with self._lock:
            for queue in new:
                wanted = self.declared(queue)
                pairs = [(wanted.exchange, wanted.routing_key)]
                pairs += [(one.exchange, one.routing_key) for one in wanted.bindings]
                bound = [
                    (exchange.name, key)
                    for exchange, key in pairs
                    if exchange is not None and exchange.name and exchange.type != "direct"
                ]
                if queue in self.quorum and bound and not self.prefix:
                    self._bind_to_celerys(queue, bound)
            self._for_celery.update(new)

    def _bind_to_celerys(self, queue: str, bound: Collection[tuple[str, str]]) -> None:
        try:
            with self.admin() as link:
                declare_celerys(link, self._kind)
        except Inequivalent as error:
            logger.warning("Celery's delayed delivery is used as it is there. %s", error)
        with self.admin() as link:
            for exchange, key in bound:
                bind_to_celerys(link, queue, exchange, key)

    def ensure_dead(self) -> None:
        """Declare the queue of dead letters."""
        if self.dead in self.known:
            return
        kind = self._kind
        try:
            with self._lock, self.admin() as link:
                declare_queue(link, self.dead, {"x-queue-type": kind})
        except Inequivalent as error:
            kind = "quorum" if _IS_QUORUM.search(str(error)) else "classic"
        self._note_kind(self.dead, kind)
        self.known.add(self.dead)

    def undeclared(self, queue: str) -> OperationalError | None:
        """Return the error for a queue that is not there, and that nobody here declares."""
        if queue == self.dead or not self.declared(queue).no_declare:
            return None
        return OperationalError(
            f"{self.address.place} has no queue {self.name(queue)!r}, and the app does not declare it. Make"
            " it there, or leave out its no_declare."
        )

    def forget(self, queues: Collection[str] | None = None) -> None:
        """Declare these, or all, again when they are next needed: somebody may have deleted them."""
        with self._lock:
            gone = set(self.known if queues is None else queues)
            self.known -= gone
            self._parked = set()
            self._for_celery -= gone

    @contextmanager
    def admin(self, timeout: float | None = None) -> Iterator[Link]:
        """Lend a connection on which the server may refuse something. Nobody beats for it while it waits."""
        link = Link(replace(self.address, heartbeat=0), timeout or self.address.timeout, "declares")
        try:
            yield link
        finally:
            link.close()

    def _declare(self, queue: str, timeout: float | None) -> None:
        if queue == self.dead:
            self.ensure_dead()
            return
        wanted = self.declared(queue)
        if wanted.no_declare:
            # What it is cannot be asked for. A classic queue can be used as a quorum queue, only more slowly.
            self._note_kind(queue, arguments_of(wanted).get("x-queue-type", "quorum"))
            return
        try:
            with self.admin(timeout) as link:
                self._declare_queue(link, wanted, self.name(queue))
                kind = arguments_of(wanted).get("x-queue-type")
                if kind is None and version_of(link) >= (3, 13):
                    kind = self._kind_there(wanted, queue)
        except Inequivalent as error:
            logger.warning(
                "The queue %s is used as it is at the server, which is not as it is declared here. %s",
                queue,
                error,
            )
            self._note_kind(queue, self._kind_of(wanted, self.name(queue), error))
            return
        self._note_kind(queue, kind)
        try:
            with self.admin(timeout) as link:
                self._bind(link, wanted, self.name(queue))
        except Inequivalent as error:
            logger.warning("An exchange of the queue %s is used as it is. %s", queue, error)
        except NotFound as error:
            raise OperationalError(
                f"{error} The queue {queue!r} is to be bound to that, and the app does not declare it. Make"
                " it there, or leave out its no_declare or passive."
            ) from error

    def _kind_of(self, queue: Queue, name: str, error: Inequivalent) -> str:
        """Return the type of a queue that is there and was declared otherwise.

        The server names one difference at a time, and the type as one of the last. So it is asked again as
        it said, until it names that, or nothing. Where that does not lead to an end, the queue is taken for
        a quorum queue: a classic one can be used as such, only more slowly.
        """
        arguments, durable = declaration(queue)
        for _ in range(_MOST_DIFFERENCES):
            found = _DIFFERENCE.search(str(error))
            if found is None:
                break
            argument, value, kind = found.groups()
            if argument == "x-queue-type":
                return value or "classic"
            if argument == "auto_delete" or (argument, value) == ("durable", "false"):
                return "classic"  # others cannot be so
            durable = durable or argument == "durable"
            try:
                _correct(arguments, argument, value, kind)
                with self.admin() as link:
                    link.call(_queue(name, arguments, durable), wire.QUEUE_DECLARE_OK)
            except Inequivalent as another:
                error = another
            except (OperationalError, ValueError):
                break
            else:
                return str(arguments.get("x-queue-type", "classic"))
        return "quorum"

    def _note_kind(self, queue: str, kind: object) -> None:
        (self.quorum.add if kind == "quorum" else self.quorum.discard)(queue)

    def _kind_there(self, queue: Queue, name: str) -> str:
        """Return the type of a queue for which a virtual host may have a default of its own."""
        classic = replace(
            queue, queue_arguments={**(queue.queue_arguments or {}), "x-queue-type": "classic"}
        )
        try:
            with self.admin() as link:
                self._declare_queue(link, classic, self.name(name))
        except Inequivalent:
            return "quorum"
        return "classic"

    def _declare_queue(self, link: Link, queue: Queue, name: str) -> None:
        arguments, durable = declaration(queue)
        link.call(_queue(name, arguments, durable), wire.QUEUE_DECLARE_OK)

    def _bind(self, link: Link, queue: Queue, name: str) -> None:
        pairs = [(queue.exchange, queue.routing_key, queue.binding_arguments)]
        pairs += [(one.exchange, one.routing_key, one.arguments) for one in queue.bindings]
        for exchange, key, arguments in pairs:
            if exchange is None or not exchange.name:
                continue
            if not exchange.no_declare:
                declare_exchange(link, self.prefix + exchange.name, exchange)
            bind(link, name, self.prefix + exchange.name, key, arguments)

    # Forks

    def before_fork(self) -> None:
        """Wait until nothing is being declared."""
        self._lock.acquire()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self._lock.release()

    def after_fork_in_child(self) -> None:
        """Begin with a lock of its own; what was declared is still there."""
        self._lock = threading.RLock()


def limit_warning(queue: Queue, version: tuple[int, ...]) -> str | None:
    """Return what to say of a quorum queue that deletes what was handed over too often."""
    arguments = arguments_of(queue)
    if arguments.get("x-queue-type") != "quorum" or "x-dead-letter-exchange" in arguments:
        return None
    limit = arguments.get("x-delivery-limit", 20 if version >= (4,) else None)
    if limit is None or limit == -1:
        return None
    return (
        f"The quorum queue {queue.name} deletes what was handed over more than {limit} times"
        f" ({'x-delivery-limit' if 'x-delivery-limit' in arguments else 'the default of RabbitMQ 4'}): each"
        " lost connection counts for all that it held. Give the queue an x-dead-letter-exchange, or an"
        " x-delivery-limit of -1."
    )


def version_of(link: Link) -> tuple[int, ...]:
    """Return the server's version."""
    return tuple(int(part) for part in re.findall(r"\d+", str(link.server.get("version", "")))[:2])


def arguments_of(queue: Queue) -> dict[str, Any]:
    """Return the arguments with which a queue is declared, as kombu makes them."""
    found = dict(queue.queue_arguments or {})
    for name, argument, factor in _LIMITS:
        value = getattr(queue, name)
        if value is not None:
            found[argument] = int(value * factor)
    return found


def declaration(queue: Queue) -> tuple[dict[str, Any], bool]:
    """Return the arguments with which a queue is declared here, and whether it is durable."""
    arguments = arguments_of(queue)
    if queue.auto_delete:
        # Who takes messages one batch at a time consumes on and off: it would go in between.
        arguments.setdefault("x-expires", int(UNUSED * 1000))
    return arguments, queue.durable


def _correct(arguments: dict[str, Any], name: str, value: str | None, kind: str | None) -> None:
    """Give an argument the value that a queue has, of which the server said the type if ours is another."""
    given = arguments.pop(name, None)
    if value is None or name == "durable":
        return
    if kind == "bool" or (kind is None and isinstance(given, bool)):
        arguments[name] = value == "true"
    elif kind == "longstr" or (kind is None and isinstance(given, str)):
        arguments[name] = value
    else:
        arguments[name] = int(value)


def refuses_when_full(queue: Queue) -> bool:
    """Tell whether a queue is declared so that it may take no more."""
    arguments = arguments_of(queue)
    overflow = str(arguments.get("x-overflow", ""))
    return overflow.startswith("reject-publish") and not arguments.keys().isdisjoint(
        {"x-max-length", "x-max-length-bytes"}
    )


def _queue(name: str, arguments: Mapping[str, Any], durable: bool = True) -> bytes:
    return method(
        wire.QUEUE_DECLARE, "BsbbbbbF", 0, name, False, durable, False, False, False, arguments
    )


def declare_queue(link: Link, name: str, arguments: Mapping[str, Any]) -> None:
    """Declare a durable queue."""
    link.call(_queue(name, arguments), wire.QUEUE_DECLARE_OK)


def declare_exchange(link: Link, name: str, exchange: Exchange) -> None:
    """Declare an exchange."""
    link.call(
        method(
            wire.EXCHANGE_DECLARE,
            "BssbbbbbF",
            0,
            name,
            exchange.type,
            exchange.passive,
            exchange.durable,
            exchange.auto_delete,
            False,
            False,
            exchange.arguments or {},
        ),
        wire.EXCHANGE_DECLARE_OK,
    )


def bind(
    link: Link, queue: str, exchange: str, key: str, arguments: Mapping[str, Any] | None = None
) -> None:
    """Bind a queue to an exchange."""
    link.call(
        method(wire.QUEUE_BIND, "BsssbF", 0, queue, exchange, key, False, arguments or {}),
        wire.QUEUE_BIND_OK,
    )


def depth(link: Link, name: str) -> int | None:
    """Return how many messages of a queue are ready; None where there is no such queue: the link is gone."""
    try:
        answer = link.call(
            method(wire.QUEUE_DECLARE, "BsbbbbbF", 0, name, True, False, False, False, False, {}),
            wire.QUEUE_DECLARE_OK,
        )
    except OperationalError:
        if link.broken is None:
            raise
        return None
    return int(answer.arguments[1])
