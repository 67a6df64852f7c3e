"""A child that runs many tasks loses answers of its broker: it takes what is new while the old tasks run."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.unit.worker.support import Made, consumer_of
from umbel import AsyncResult, Umbel, chord, states
from umbel.clock import SYSTEM, unique_id
from umbel.exceptions import OperationalError
from umbel.message import Delivery
from umbel.ports import Consumer, FetchRequest, Owner, Settled, Settlement
from umbel.testing.conformance.support import PATIENCE, until
from umbel.worker.completing import Chords
from umbel.worker.executors.aio import AsyncioExecutor
from umbel.worker.executors.base import Executor
from umbel.worker.executors.threads import ThreadExecutor
from umbel.worker.page import Snapshot
from umbel.worker.processes import my_start_time
from umbel.worker.recovery import Recovery
from umbel.worker.settler import Settler
from umbel.worker.slot_helper import SlotHelper
from umbel.worker.slot_page import SlotPage
from umbel.worker.slots import SlotChild

T = TypeVar("T")
SLOTS = 4
NODE = "node"


class Network:
    """What is between a child and its broker: an answer may be lost, or what was asked for is not done."""

    def __init__(self) -> None:
        #: How many answers are lost yet, by operation; and what does not come through at all.
        self.loses: Counter[str] = Counter()
        self.stops: set[str] = set()
        #: How often each was called.
        self.calls: Counter[str] = Counter()

    def pass_on(self, operation: str, call: Callable[[], T]) -> T:
        self.calls[operation] += 1
        if operation in self.stops:
            raise OperationalError(f"{operation} did not come through.")
        answer = call()
        if self.loses[operation] > 0:
            self.loses[operation] -= 1
            raise OperationalError(f"The answer to {operation} was lost.")
        return answer


class FarConsumer(Consumer):
    """A consumer behind a network. The answer to a fetch is lost only if it brings something."""

    def __init__(self, network: Network, near: Consumer) -> None:
        self.owner = near.owner
        self._network = network
        self._near = near

    def fetch(self, request: FetchRequest, wait: float) -> list[Delivery]:
        found = self._near.fetch(request, wait)
        return self._network.pass_on("fetch", lambda: found) if found else found

    def interrupt(self) -> None:
        self._near.interrupt()

    def settle(
        self, settlements: Sequence[Settlement], fetch: FetchRequest | None = None
    ) -> Settled:
        operation = "settle" if settlements else "look"
        return self._network.pass_on(operation, lambda: self._near.settle(settlements, fetch))

    def mark_early(self, deliveries: Sequence[Delivery]) -> None:
        self._network.pass_on("mark", lambda: self._near.mark_early(deliveries))

    def release(self, keys: Collection[str]) -> int:
        return self._network.pass_on("release", lambda: self._near.release(keys))

    def reclaim(
        self, owner: str, unstarted: Collection[str] | None, only_expired: bool = False
    ) -> list[Delivery]:
        return self._network.pass_on(
            "reclaim", lambda: self._near.reclaim(owner, unstarted, only_expired)
        )

    def close(self) -> None:
        self._network.pass_on("close", self._near.close)


class Worker:
    """A child of an app, with its helper, behind a network."""

    def __init__(self, app: Umbel, path: Path, pool: str) -> None:
        self.app = app
        self.network = Network()
        self.page = SlotPage.create(path, SlotPage.capacity_for(SLOTS))
        executor: Executor = (
            ThreadExecutor(SLOTS) if pool == "threads" else AsyncioExecutor(SLOTS, SLOTS)
        )
        self.child = SlotChild(
            app, ("celery",), "celery@host", os.getpid(), self.page, self._attach, executor
        )
        self.control, self._theirs = socket.socketpair()
        self._helper = SlotHelper(self.child, self.page, self._theirs, SYSTEM, lambda _: None)
        self._thread = threading.Thread(target=self.child.run, name="test-child")

    def _attach(self) -> Settler:
        owner = Owner(unique_id(), NODE, "host", os.getpid())
        self.page.identify(os.getpid(), my_start_time(), owner.id)
        near = self.network.pass_on("attach", lambda: self.app.broker.consumer(owner, 60.0))
        chords = Chords(self.app, self.app.results)
        return Settler(self.app.broker, FarConsumer(self.network, near), self.app.results, chords)

    @property
    def owner(self) -> str:
        return self.child.consumer.owner.id

    def seen(self) -> Snapshot:
        """Return what a supervisor sees."""
        snapshot = self.page.read()
        assert snapshot is not None
        return snapshot

    def start(self) -> None:
        self.child.attach()
        self._helper.start()
        self._thread.start()

    def stop(self) -> None:
        with contextlib.suppress(OSError):
            self.control.send(b"stop")

    def close(self) -> None:
        self.stop()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()
        self.control.close()
        self._helper._thread.join(PATIENCE)
        self._helper._courier.end()
        for end in (self._theirs, self._helper._wake_in, self._helper._wake_out):
            end.close()
        self.page.close()


@pytest.fixture(autouse=True)
def _impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("umbel.worker.helper.GRACE", 0.05)
    monkeypatch.setattr("umbel.worker.outage.MOST_PATIENCE", 0.05)


@pytest.fixture
def app(place: str) -> Iterator[Umbel]:
    """An app on each engine that keeps leases."""
    with Umbel("succession", broker=place, backend=place) as app:
        yield app


@pytest.fixture
def pool() -> str:
    return "threads"


@pytest.fixture
def worker(app: Umbel, tmp_path: Path, pool: str) -> Iterator[Worker]:
    worker = Worker(app, tmp_path / "child.page", pool)
    worker.start()
    yield worker
    worker.network.stops.clear()
    worker.close()


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """Opens for the tasks that are held."""
    gate = threading.Event()
    yield gate
    gate.set()


@pytest.fixture
def ran() -> list[Any]:
    return []


@pytest.fixture
def note(app: Umbel, ran: list[Any]) -> Made:
    def work(value: Any) -> Any:
        ran.append(value)
        return value

    task: Made = app.task(name="note")(work)
    return task


@pytest.fixture
def held(app: Umbel, ran: list[Any], gate: threading.Event) -> Made:
    def work() -> str:
        ran.append("held")
        assert gate.wait(PATIENCE)
        return "done"

    task: Made = app.task(name="held")(work)
    return task


def got(result: AsyncResult[Any]) -> Any:
    return result.get(timeout=PATIENCE)


def leased(app: Umbel) -> int:
    return app.queues.depths()["celery"].leased


def hold(held: Made, ran: list[Any]) -> AsyncResult[Any]:
    """Let a task run long."""
    result = held.delay()
    until(lambda: ran == ["held"])
    return result


def wait_for_messages(worker: Worker) -> None:
    """Let the child wait for messages, so that the next one comes with a fetch."""
    until(lambda: worker.child._fetching)


def lose_a_fetch(worker: Worker, note: Made, value: Any) -> AsyncResult[Any]:
    """Let something be leased to the child of which it does not know."""
    wait_for_messages(worker)
    worker.network.loses["fetch"] = 1
    result = note.delay(value)
    until(lambda: not worker.network.loses["fetch"])
    return result


def check_end(worker: Worker, gate: threading.Event, long: AsyncResult[Any]) -> None:
    """See that nothing is left when what ran long has ended."""
    gate.set()
    assert got(long) == "done"
    until(lambda: not leased(worker.app))
    until(lambda: not worker.child.is_busy())
    assert worker.child._places.room == worker.page.capacity
    assert worker.seen().former == ""
    assert worker.app.broker.renew(NODE, 60.0) == {worker.owner}


@pytest.mark.parametrize("pool", ["threads", "asyncio"])
def test_what_is_new_runs_beside_what_ran_before(
    app: Umbel,
    worker: Worker,
    note: Made,
    held: Made,
    gate: threading.Event,
    ran: list[Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    long, first = hold(held, ran), worker.owner
    lost = lose_a_fetch(worker, note, "lost")
    assert got(note.delay("new")) == "new"
    assert got(lost) == "lost"
    assert sorted(ran) == ["held", "lost", "new"]
    assert worker.owner != first
    assert long.state == states.PENDING
    check_end(worker, gate, long)
    assert "elsewhere" not in caplog.text


# An owner whose attaching was not answered is forgotten by the engine, where that can be.
@pytest.mark.parametrize(
    ("operation", "how"),
    [
        ("attach", "stopped"),
        *((name, how) for name in ("reclaim", "release") for how in ("lost", "stopped")),
        ("close", "lost"),
        ("look", "stopped"),
    ],
)
def test_taking_over_is_repeated_until_it_is_certain(
    worker: Worker,
    note: Made,
    held: Made,
    gate: threading.Event,
    ran: list[Any],
    operation: str,
    how: str,
) -> None:
    long = hold(held, ran)
    wait_for_messages(worker)
    before = worker.network.calls[operation]
    tries = 3 if operation in ("attach", "reclaim", "look") else 1
    if how == "lost":
        worker.network.loses[operation] = tries
    else:
        worker.network.stops.add(operation)
    results = [lose_a_fetch(worker, note, 0)]
    results.append(note.delay(1))
    until(lambda: worker.network.calls[operation] - before >= tries)
    worker.network.stops.clear()
    assert [got(result) for result in results] == [0, 1]
    assert [ran.count(value) for value in (0, 1)] == [1, 1]
    check_end(worker, gate, long)


def test_what_ends_meanwhile_is_settled(
    app: Umbel,
    worker: Worker,
    note: Made,
    held: Made,
    gate: threading.Event,
    ran: list[Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """By the owner who has it: what was handed over, by the next one."""
    long = hold(held, ran)
    worker.network.loses["reclaim"] = 1
    worker.network.stops.add("release")
    lost = lose_a_fetch(worker, note, 0)
    until(lambda: worker.network.calls["release"] > 2)
    gate.set()
    assert got(long) == "done"
    assert ran == ["held"]
    worker.network.stops.clear()
    assert got(lost) == 0
    check_end(worker, gate, long)
    assert ran == ["held", 0]
    assert "elsewhere" not in caplog.text


def test_what_was_settled_without_an_answer_counts(
    app: Umbel,
    worker: Worker,
    note: Made,
    held: Made,
    gate: threading.Event,
    ran: list[Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Also what follows it: the body of a chord is sent once."""
    long = hold(held, ran)
    worker.network.loses["settle"] = 2
    worker.network.loses["reclaim"] = 1
    body = chord([note.s(1), note.s(2)], note.s()).delay()
    assert sorted(got(body)) == [1, 2]
    assert len(ran) == 4
    check_end(worker, gate, long)
    assert "elsewhere" not in caplog.text


@pytest.mark.parametrize("pool", ["threads", "asyncio"])
def test_what_waits_goes_back_and_runs_once(
    app: Umbel,
    worker: Worker,
    note: Made,
    held: Made,
    gate: threading.Event,
    ran: list[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also what may run only once, and was marked."""
    monkeypatch.setattr("umbel.worker.slots.LONG", 1000.0)  # the helper leaves it where it is
    once: Made = app.task(name="once", acks_late=False)(ran.append)
    wait_for_messages(worker)
    worker.child._ahead.limit = 2 * SLOTS
    long = held.delay_many([()] * SLOTS)
    until(lambda: ran == ["held"] * SLOTS)
    waiting = once.delay_many([(n,) for n in range(SLOTS - 1)])
    until(lambda: worker.child._executor.waiting == SLOTS - 1)
    first = worker.owner
    waiting.append(lose_a_fetch(worker, note, "new"))
    until(lambda: worker.owner != first)
    gate.set()
    for result in waiting:
        got(result)
    assert sorted(map(str, ran)) == ["0", "1", "2", *["held"] * SLOTS, "new"]
    check_end(worker, gate, long[0])


def test_who_finds_the_child_dead_takes_over_from_both_owners(
    app: Umbel,
    worker: Worker,
    note: Made,
    held: Made,
    gate: threading.Event,
    ran: list[Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A child that lives all the same is told so, and starts over."""
    hold(held, ran)
    worker.network.stops.add("reclaim")
    lost = lose_a_fetch(worker, note, 0)
    until(lambda: worker.network.calls["reclaim"] > 1)
    page = worker.seen()
    assert app.broker.renew(NODE, 60.0) == {page.owner, page.former}
    recovery = Recovery(app, app.broker, lambda: Settler(app.broker, consumer_of(app), app.results))
    recovery.child_died(page.owner, page, "pid 1 vanished")
    recovery.close()
    assert leased(app) == 0
    with closing(consumer_of(app)) as other:
        found = other.fetch(FetchRequest(("celery",), 9), 0.0)
    assert {one.message.task_id == lost.id: one.crashes for one in found} == {False: 1, True: 0}
    worker.network.stops.clear()
    until(lambda: "1 tasks held here will run elsewhere" in caplog.text)
    until(lambda: worker.seen().former == "")


def test_what_was_taken_away_meanwhile_runs_elsewhere_and_is_told(
    app: Umbel,
    worker: Worker,
    note: Made,
    held: Made,
    gate: threading.Event,
    ran: list[Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    long = hold(held, ran)
    worker.network.stops.add("reclaim")
    lost = lose_a_fetch(worker, note, 0)
    until(lambda: worker.network.calls["reclaim"] > 1)
    other = consumer_of(app)
    assert len(other.reclaim(worker.seen().former, ())) == 2
    worker.network.stops.clear()
    assert got(note.delay(1)) == 1
    assert "1 tasks held here will run elsewhere" in caplog.text
    gate.set()
    until(lambda: "The outcome of task" in caplog.text)
    assert (long.state, lost.state) == (states.PENDING, states.PENDING)
    assert leased(app) == 2
    other.close()


@pytest.mark.parametrize("pool", ["threads", "asyncio"])
def test_who_is_told_to_stop_gives_back_what_it_does_not_know_of_at_once(
    app: Umbel, worker: Worker, note: Made, held: Made, gate: threading.Event, ran: list[Any]
) -> None:
    long = hold(held, ran)
    worker.network.stops.add("reclaim")
    lose_a_fetch(worker, note, 0)
    until(lambda: worker.network.calls["reclaim"] > 1)
    worker.stop()
    until(worker.child.stopping.is_set)
    worker.network.stops.clear()
    until(lambda: leased(app) == 1)
    assert app.queues.depths()["celery"].ready == 1
    gate.set()
    assert got(long) == "done"
    worker._thread.join(PATIENCE)
    assert leased(app) == 0
    assert app.broker.renew(NODE, 60.0) == frozenset()
