"""Consumers of messages that are no calls: kombu's ``Consumer``, for steps of a worker, and for any thread.

A consumer has a thread, which fetches and calls back, and one that renews its leases. What its process held
when it died goes back to its queue when the lease ends; so does what `cancel` finds unsettled, at once.
"""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import threading
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from umbel.clock import unique_id
from umbel.entities import Queue, as_queue
from umbel.exceptions import DecodeError, ImproperlyConfigured, LeaseLost, OperationalError
from umbel.message import Delivery, body_of
from umbel.ports import Action, FetchRequest, Owner, Settlement
from umbel.ports import Consumer as Hold
from umbel.received import ReceivedMessage

if TYPE_CHECKING:
    from umbel.app import Umbel

logger = logging.getLogger("umbel.consumer")

#: Gets what the body of a message says, and the message.
Callback = Callable[[Any, ReceivedMessage], Any]

#: Most messages that are fetched together, without a `prefetch_count`.
BATCH = 10
#: Seconds of one wait for messages.
WAIT = 60.0
#: Seconds between two tries to reach a broker that does not answer.
PAUSE = 1.0
#: Seconds for which `cancel` waits for the callback that runs.
LEAVES = 10.0


class Consumer:
    """Consumes from queues, and gives each message to `callbacks`, which settle it: ``message.ack()``.

    `channel` is what a step is given, or a connection, a channel, or an app. Of a body that `accept` does not
    list (serializers or content types; else what the app accepts), or that cannot be read, `on_decode_error`
    is told with the message and the error; without it the message is a dead letter. `on_message` gets
    messages unread in the place of callbacks. With `no_ack` messages are acknowledged before anybody gets
    them. No more than `prefetch_count` are held at a time.

    A callback that raises is logged, and its message becomes a dead letter with the reason, unless it was
    settled: so one that always raises keeps nobody busy for ever.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - kombu's signature
        self,
        channel: Any,
        queues: Any = None,
        no_ack: bool | None = None,
        auto_declare: bool | None = None,
        callbacks: Iterable[Callback] | None = None,
        on_decode_error: Callable[[ReceivedMessage, Exception], Any] | None = None,
        on_message: Callable[[ReceivedMessage], Any] | None = None,
        accept: Iterable[str] | None = None,
        prefetch_count: int | None = None,
        tag_prefix: str | None = None,
    ) -> None:
        self.channel = channel
        self.app: Umbel = getattr(channel, "app", channel)
        self.no_ack = bool(no_ack)
        self.callbacks: list[Callback] = list(callbacks or ())
        self.on_decode_error = on_decode_error
        self.on_message = on_message
        self.accept = None if accept is None else tuple(accept)
        self.prefetch_count = prefetch_count or 0
        self._queues: dict[str, Queue] = {}
        self._node = unique_id()
        self._hold: Hold | None = None
        self._held: set[str] = set()
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._settled = threading.Event()
        self._threads: list[threading.Thread] = []
        self._silent = False
        for queue in [queues] if isinstance(queues, str | Queue) else queues or ():
            self.add_queue(queue)

    # What it consumes

    @property
    def queues(self) -> list[Queue]:
        """The queues that it consumes from."""
        return list(self._queues.values())

    def add_queue(self, queue: Any) -> Queue:
        """Consume from a queue, too; it is one of the app's then, by which messages find it."""
        wanted = self.app.amqp.queues[queue] if isinstance(queue, str) else as_queue(queue)
        added = self.app.amqp.queues.declare(wanted)
        self._queues[added.name] = added
        self._interrupt()
        return added

    def cancel_by_queue(self, queue: Any) -> None:
        """Consume from a queue no more."""
        self._queues.pop(queue if isinstance(queue, str) else queue.name, None)
        self._interrupt()

    def consuming_from(self, queue: Any) -> bool:
        """Tell whether it consumes from a queue."""
        return (queue if isinstance(queue, str) else queue.name) in self._queues

    def register_callback(self, callback: Callback) -> None:
        """Call another function with each message, too."""
        self.callbacks.append(callback)

    def qos(
        self, prefetch_size: int = 0, prefetch_count: int = 0, apply_global: bool = False
    ) -> None:
        """Hold no more than `prefetch_count` messages at a time; 0 is no bound. The rest has no effect."""
        self.prefetch_count = prefetch_count
        self._settled.set()

    # Its life

    def consume(self, no_ack: bool | None = None) -> None:
        """Begin to consume, in a thread. Raises ImproperlyConfigured when nothing is to be called."""
        if no_ack is not None:
            self.no_ack = no_ack
        if self.on_message is None and not self.callbacks:
            raise ImproperlyConfigured(
                f"The consumer of {self._names()} has neither callbacks nor on_message."
            )
        if self._threads:
            return
        self._ended.clear()
        for name, run in (("consumer", self._run), ("leases", self._renew)):
            thread = threading.Thread(target=run, name=f"umbel-{name}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def cancel(self) -> None:
        """Consume no more: let the callback that runs end, and give back what is not settled."""
        self._ended.set()
        self._settled.set()
        self._interrupt()
        threads, self._threads = self._threads, []
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join(LEAVES)
        with self._lock:
            hold, self._hold = self._hold, None
            self._held.clear()
        if hold is not None:
            with contextlib.suppress(OperationalError, LeaseLost):  # else the lease ends
                hold.close()

    close = cancel

    def __enter__(self) -> Consumer:
        self.consume()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.cancel()

    def _interrupt(self) -> None:
        hold = self._hold
        if hold is not None:
            hold.interrupt()

    # The thread that consumes

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                deliveries = self._fetch()
            except LeaseLost:
                logger.warning(
                    "The consumer of %s was taken for dead, and begins anew.", self._names()
                )
                self._start_over()
            except OperationalError as error:
                self._say_silent(error)
                self._ended.wait(PAUSE)
            else:
                self._silent = False
                for delivery in deliveries:
                    self._work(delivery)

    def _fetch(self) -> Sequence[Delivery]:
        """Return messages; none when it has to look again."""
        room = min(self.prefetch_count - len(self._held), BATCH) if self.prefetch_count else BATCH
        names = tuple(self._queues)
        if room <= 0 or not names:
            self._settled.wait(PAUSE)
            self._settled.clear()
            return ()
        deliveries = self._attached().fetch(FetchRequest(names, room), WAIT)
        with self._lock:
            self._held.update(delivery.key for delivery in deliveries)
        return deliveries

    def _attached(self) -> Hold:
        with self._lock:
            if self._hold is None:
                owner = Owner(unique_id(), self._node, platform.node(), os.getpid())
                self._hold = self.app.broker.consumer(
                    owner, self.app.conf.snapshot.worker_lease_ttl
                )
            return self._hold

    def _start_over(self) -> None:
        with self._lock:
            self._hold = None
            self._held.clear()

    def _work(self, delivery: Delivery) -> None:
        """Give a message to whom it is for. One that comes after the end is given back."""
        if self._ended.is_set():
            return
        message = ReceivedMessage(
            delivery, self.channel, partial(self._read, delivery), self._settle
        )
        try:
            if self.no_ack:
                message.ack()
            self._call(message)
        except Exception as error:
            logger.exception("A message of %s was not taken.", delivery.queue)
            if not message.acknowledged:
                with contextlib.suppress(
                    OperationalError, LeaseLost
                ):  # it goes back with the lease
                    message._end(Action.DEAD_LETTER, f"Its consumer failed: {error!r}"[:1000])

    def _call(self, message: ReceivedMessage) -> None:
        if self.on_message is not None:
            self.on_message(message)
            return
        try:
            body = message.payload
        except DecodeError as error:
            if self.on_decode_error is None:
                raise
            self.on_decode_error(message, error)
            return
        for callback in self.callbacks:
            callback(body, message)

    def _read(self, delivery: Delivery) -> Any:
        settings = self.app.conf.snapshot
        accept = settings.accept_content if self.accept is None else self.accept
        return body_of(delivery.message, accept, settings)

    def _settle(self, delivery: Delivery, action: Action, reason: str | None) -> None:
        with self._lock:
            if self._hold is None or delivery.key not in self._held:
                raise LeaseLost(
                    f"The message {delivery.key} of {delivery.queue} is not held any more."
                )
            self._hold.settle([Settlement(delivery, action, reason=reason)])
            self._held.discard(delivery.key)
        self._settled.set()

    # The thread that renews

    def _renew(self) -> None:
        ttl = self.app.conf.snapshot.worker_lease_ttl
        while not self._ended.wait(ttl / 3):
            with contextlib.suppress(
                OperationalError, LeaseLost
            ):  # the other thread meets the same
                self.app.broker.renew(self._node, ttl)

    def _say_silent(self, error: OperationalError) -> None:
        if not self._silent:
            logger.warning(
                "The broker does not answer; the consumer of %s asks on. %s", self._names(), error
            )
        self._silent = True

    def _names(self) -> str:
        return ", ".join(self._queues) or "no queue"

    def __repr__(self) -> str:
        return f"<Consumer: {self._names()}>"
