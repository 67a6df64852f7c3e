"""What the contracts share: an engine seen from two processes, messages, and waiting with deadlines."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import pytest

from umbel.clock import unique_id
from umbel.message import Delivery, Message, Publication
from umbel.ports import (
    Action,
    Broadcast,
    Broker,
    Consumer,
    Engine,
    Features,
    FetchRequest,
    Owner,
    QueueAdmin,
    ResultStore,
    Settled,
    Settlement,
    StateStore,
    StoredMessage,
)
from umbel.records import ResultRecord

EngineFactory = Callable[[], Engine]
T = TypeVar("T")

#: A duration that is over soon, for leases and expiries that a test waits for.
SOON = 0.05
#: A wait that nothing cuts short by itself, and the time within which it has to be cut short.
LONG, PATIENCE = 60.0, 20.0
#: The queue of most tests.
QUEUE = "queue"


@contextmanager
def factory(make: EngineFactory) -> Iterator[EngineFactory]:
    """Return a factory that makes engines and closes them all at the end."""
    made: list[Engine] = []

    def make_one() -> Engine:
        made.append(make())
        return made[-1]

    yield make_one
    for engine in made:
        engine.close()


class Side:
    """One engine object: what one process sees. A port that it does not offer skips the test."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._consumers: list[Consumer] = []

    @property
    def features(self) -> Features:
        """The engine's features."""
        return self.engine.features

    @property
    def broker(self) -> Broker:
        """The broker."""
        return _offered(self.engine.broker, "broker")

    @property
    def queues(self) -> QueueAdmin:
        """The queue administration."""
        return _offered(self.engine.queues, "queue administration")

    @property
    def results(self) -> ResultStore:
        """The result store."""
        return _offered(self.engine.results, "result store")

    @property
    def state(self) -> StateStore:
        """The state store."""
        return _offered(self.engine.state, "state store")

    @property
    def broadcast(self) -> Broadcast:
        """The broadcast."""
        return _offered(self.engine.broadcast, "broadcast")

    def publish(
        self, *task_ids: str, queue: str = QUEUE, priority: int = 0, due: float | None = None
    ) -> None:
        """Publish a message for each task id."""
        self.broker.publish(
            [publication(task_id, queue, priority, due) for task_id in task_ids], PATIENCE
        )

    def consumer(self, owner: str = "", node: str = "node", ttl: float = LONG) -> Consumer:
        """Attach a consumer, by default with an id of its own."""
        attached = self.broker.consumer(Owner(owner or unique_id(), node, "host", os.getpid()), ttl)
        self._consumers.append(attached)
        return attached

    def join(self) -> bool:
        """Let settling store results in the same step, where that is possible; tell whether it is."""
        results = self.engine.results
        if results is None or not self.broker.shares(results):
            return False
        self.broker.join(results)
        return True

    def leave(self) -> None:
        """Close all consumers."""
        for consumer in self._consumers:
            consumer.close()


def _offered(port: T | None, name: str) -> T:
    if port is None:
        pytest.skip(f"the engine has no {name}")
    return port


class Contract:
    """Base of the contracts: the engine as two processes see it."""

    @pytest.fixture
    def here(self, engine_factory: EngineFactory) -> Iterator[Side]:
        """One process."""
        side = Side(engine_factory())
        yield side
        side.leave()

    @pytest.fixture
    def there(self, engine_factory: EngineFactory) -> Iterator[Side]:
        """Another process on the same storage."""
        side = Side(engine_factory())
        yield side
        side.leave()


def needs(offered: object, what: str) -> None:
    """Skip the test when an engine does not offer something."""
    if not offered:
        pytest.skip(f"the engine does not offer {what}")


def publication(
    task_id: str,
    queue: str = QUEUE,
    priority: int = 0,
    due: float | None = None,
    tag: str | None = None,
) -> Publication:
    """Return a message for a task."""
    message = Message(
        {"id": task_id, "task": "conformance", "lang": "py"},
        {"correlation_id": task_id},
        b"[[], {}, {}]",
    )
    return Publication(queue, message, tag or unique_id(), priority, due)


def record(task_id: str, state: str, expires: float | None = None, text: str = "") -> ResultRecord:
    """Return a result."""
    document = f'{{"status": "{state}", "result": "{text}"}}'
    return ResultRecord(task_id, state, document, expires)


def fetch(
    consumer: Consumer, limit: int = 100, wait: float = 0.0, queues: Sequence[str] = (QUEUE,)
) -> list[Delivery]:
    """Fetch from the usual queue."""
    return consumer.fetch(FetchRequest(queues, limit), wait)


def fetch_all(consumer: Consumer, queues: Sequence[str] = (QUEUE,)) -> list[Delivery]:
    """Fetch until nothing is left: what was handed over before may be given alone (`Consumer.fetch`)."""
    found: list[Delivery] = []
    while more := fetch(consumer, queues=queues):
        found += more
    return found


def ack(consumer: Consumer, deliveries: Iterable[Delivery]) -> Settled:
    """Acknowledge deliveries."""
    return consumer.settle([Settlement(delivery, Action.ACK) for delivery in deliveries])


def ids(items: Iterable[Delivery | StoredMessage]) -> list[str | None]:
    """Return the task ids, in order."""
    return [item.message.task_id for item in items]


def now() -> float:
    """Return the time that the engine's server is taken to have, roughly."""
    return time.time()  # noqa: TID251 - the suite runs against servers, whose clocks are real


def until(condition: Callable[[], T], seconds: float = PATIENCE) -> T:
    """Return what `condition` returns as soon as that is true; fail after `seconds`.

    It is asked each 2 ms at first, later each 10 ms: asking takes the processor from what is waited for.
    """
    pause = threading.Event()
    begun = time.monotonic()
    while not (found := condition()):
        waited = time.monotonic() - begun
        if waited > seconds:
            pytest.fail(f"{condition} did not become true within {seconds:g} s")
        pause.wait(min(0.002 + waited / 50, 0.01))
    return found


def drain_cleanup(side: Side) -> None:
    """Clean up a result store until nothing is left to do."""
    until(lambda: side.results.cleanup() == 0)


@contextmanager
def in_thread(function: Callable[[], T]) -> Iterator[Future[T]]:
    """Run a function in another thread, which has to end within the block or soon after it."""
    with ThreadPoolExecutor(1) as executor:
        yield executor.submit(function)


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Fail when the block takes longer."""
    started = time.monotonic()
    yield
    taken = time.monotonic() - started
    if taken > seconds:
        pytest.fail(f"this took {taken:.3f} s, and may take {seconds:g} s")
