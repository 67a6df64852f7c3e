"""A whole child, in a thread of this process, on the memory engine."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.unit.worker.support import UNKNOWN, UNREADABLE, Made, consumer_of, foreign
from umbel import AsyncResult, Ignore, Reject, Umbel, chord, current_task, signals, states
from umbel.clock import SYSTEM, utc
from umbel.exceptions import (
    ChordError,
    EncodeError,
    OperationalError,
    TaskRevokedError,
    WorkerLostError,
)
from umbel.message import Delivery, Publication
from umbel.ports import REVOKED, Action, Consumer, FetchRequest, Settlement
from umbel.records import ResultRecord
from umbel.testing.conformance.support import PATIENCE, until
from umbel.worker.bootstrap import Orders, Source
from umbel.worker.child import Child
from umbel.worker.decide import Verdict, decide
from umbel.worker.executors.threads import ThreadExecutor, Threads
from umbel.worker.forkserver import make_child
from umbel.worker.helper import Helper
from umbel.worker.lifetime import Lifetime
from umbel.worker.outcome import Prepared, Run, Success, Waiting
from umbel.worker.page import Held, Page
from umbel.worker.settler import Settler
from umbel.worker.slot_helper import SlotHelper
from umbel.worker.slot_page import SlotPage
from umbel.worker.slots import SlotChild


class Hasty:
    """The system's clock, but nobody sleeps long by it."""

    time = staticmethod(SYSTEM.time)
    monotonic = staticmethod(SYSTEM.monotonic)

    def sleep(self, seconds: float) -> None:
        SYSTEM.sleep(min(seconds, 0.001))


class Worker:
    """A child with its helper, as a supervisor would have it."""

    def __init__(self, app: Umbel, path: Path, queues: Sequence[str], executor: str) -> None:
        source = Source("app", "/", {})
        orders = Orders(source, queues, "celery@host", "node", 4, "INFO", executor=executor)
        places = SlotPage.capacity_for(orders.slots)
        self.page = SlotPage.create(path, places) if orders.slots else Page.create(path)
        self.child = make_child(app, orders, self.page, os.getpid())
        self.control, self._theirs = socket.socketpair()
        self.left: list[int] = []
        kind = SlotHelper if isinstance(self.child, SlotChild) else Helper
        self.helper = kind(self.child, self.page, self._theirs, Hasty(), self._leave)
        self.thread = threading.Thread(target=self.child.run, name="test-child")

    def _leave(self, code: int) -> None:
        """Note what would end the process, which holds the lock until then."""
        self.left.append(code)
        self.child.lock.release()

    @property
    def owner(self) -> str:
        return self.child.consumer.owner.id

    @property
    def slots(self) -> SlotChild:
        """The child that runs many tasks at a time."""
        assert isinstance(self.child, SlotChild)
        return self.child

    def start(self) -> None:
        self.helper.start()
        self.thread.start()

    def stop(self) -> None:
        """Tell it to stop as a supervisor does."""
        self.control.send(b"stop")

    def join(self) -> None:
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.stop()
        self.join()
        self.control.close()
        self.helper._thread.join(PATIENCE)
        self.helper._courier.end()
        for end in (self._theirs, self.helper._wake_in, self.helper._wake_out):
            end.close()
        self.page.close()


Make = Callable[..., Worker]

#: For what is the same in a child that runs one task after the other and in those that run four at a time.
every_executor = pytest.mark.parametrize("executor", ["prefork", "threads", "asyncio"])


@pytest.fixture
def executor() -> str:
    return "prefork"


@pytest.fixture(autouse=True)
def _impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("umbel.worker.helper.GRACE", 0.05)
    monkeypatch.setattr("umbel.worker.helper.QUIET_LOOKS", 5)


@pytest.fixture
def make(app: Umbel, tmp_path: Path, executor: str) -> Iterator[Make]:
    """Make a worker that is not started yet; with `prefetch` it takes that many from the first."""
    made: list[Worker] = []

    def one(prefetch: int = 1, queues: Sequence[str] = ("celery",), start: bool = True) -> Worker:
        worker = Worker(app, tmp_path / f"{len(made)}.page", queues, executor)
        made.append(worker)
        worker.child._prefetch.limit = prefetch
        if start:
            worker.start()
        return worker

    yield one
    for worker in made:
        if worker.thread.ident is None:
            worker.start()
        worker.close()


class Gate:
    """Holds a task until the test lets it go on."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self._open = threading.Event()

    def hold(self) -> None:
        """Wait in the task."""
        self.entered.set()
        assert self._open.wait(PATIENCE)

    def wait(self) -> None:
        """Wait in the test for the task."""
        assert self.entered.wait(PATIENCE)

    @property
    def is_open(self) -> bool:
        return self._open.is_set()

    def open(self) -> None:
        self._open.set()


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.open()


@pytest.fixture
def ran() -> list[Any]:
    """What tasks wrote down, in order."""
    return []


@pytest.fixture
def note(app: Umbel, ran: list[Any]) -> Made:
    """A task that only writes down its argument."""

    def work(x: Any) -> Any:
        ran.append(x)
        return x

    task: Made = app.task(name="note")(work)
    return task


@pytest.fixture
def held(app: Umbel, gate: Gate, ran: list[Any]) -> Made:
    """A task that waits at the gate."""

    def work() -> str:
        ran.append("held")
        gate.hold()
        return "done"

    task: Made = app.task(name="held")(work)
    return task


def got(result: AsyncResult[Any], **options: Any) -> Any:
    return result.get(timeout=PATIENCE, **options)


def nothing_left(app: Umbel) -> bool:
    return all(
        depth.ready == depth.scheduled == depth.leased == 0
        for depth in app.queues.depths().values()
    )


# Running


def test_tasks_run_in_order_and_results_are_stored(
    app: Umbel, make: Make, note: Made, ran: list[Any]
) -> None:
    results = note.delay_many([(n,) for n in range(300)])
    make()
    assert [got(result) for result in results] == list(range(300))
    assert ran == list(range(300))
    until(lambda: nothing_left(app))


def test_a_chord_whose_errbacks_are_called_does_not_wait_for_the_next_task(
    app: Umbel, make: Make, held: Made, gate: Gate, ran: list[Any]
) -> None:
    @app.task(name="fail")
    def fail() -> None:
        raise ValueError("no")

    @app.task(name="tell")
    def tell(request: object, error: Exception, traceback: str) -> None:
        ran.append("told")

    result = chord([fail.s(), fail.s()], held.si().on_error(tell.s())).delay()
    other = held.delay()
    make(prefetch=3)
    gate.wait()
    with pytest.raises(ChordError):
        got(result, follow_parents=False)
    assert ran == ["told", "held"]
    gate.open()
    assert got(other) == "done"


@every_executor
def test_a_worker_that_waits_runs_what_comes(make: Make, note: Made) -> None:
    make()
    for n in range(5):
        assert got(note.delay(n)) == n


@every_executor
def test_failures_are_stored_with_their_traceback(app: Umbel, make: Make, note: Made) -> None:
    @app.task
    def fails() -> None:
        raise ValueError("boom")

    make()
    failed = fails.delay()
    with pytest.raises(ValueError, match="boom"):
        got(failed)
    assert "in fails" in str(failed.traceback)
    assert got(note.delay(1)) == 1


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt("k")])
def test_a_task_that_exits_does_not_take_the_worker_with_it(
    app: Umbel, make: Make, note: Made, error: BaseException
) -> None:
    @app.task
    def leaves() -> None:
        raise error

    make()
    failed = leaves.delay()
    assert got(failed, propagate=False).args == error.args
    assert failed.state == states.FAILURE
    assert got(note.delay(1)) == 1


@every_executor
def test_coroutines(app: Umbel, make: Make) -> None:
    @app.task
    async def double(x: int) -> int:
        return 2 * x

    make()
    assert [got(result) for result in double.delay_many([(1,), (2,)])] == [2, 4]


@every_executor
def test_all_queues_are_served(make: Make, note: Made) -> None:
    make(queues=("a", "b"))
    results = [note.apply_async((n,), queue=queue) for n in range(20) for queue in ("a", "b")]
    assert len([got(result) for result in results]) == 40


def test_no_queue_starves_another(app: Umbel, make: Make, note: Made, ran: list[Any]) -> None:
    note.delay_many([("a",)] * 50, queue="a")
    note.delay_many([("b",)] * 50, queue="b")
    app.conf.worker_prefetch_multiplier = 1
    make(queues=("a", "b"))
    until(lambda: len(ran) == 100)
    assert {"a", "b"} == set(ran[:2])
    assert abs(ran[:50].count("a") - 25) <= 1


@pytest.mark.parametrize("in_order", [True, False])
def test_an_engine_that_takes_turns_is_told_the_queues_as_they_were_named(
    app: Umbel, make: Make, in_order: bool
) -> None:
    app.broker.features = replace(app.broker.features, queues_in_order=in_order)
    child = make(queues=("a", "b"), start=False).child
    asked = [child._request().queues for _ in range(2)]
    assert asked == ([("b", "a"), ("a", "b")] if in_order else [("a", "b")] * 2)


def test_the_most_urgent_run_first(make: Make, note: Made, ran: list[Any]) -> None:
    for priority in (0, 5, 200, 5, 255):
        note.apply_async((priority,), priority=priority)
    make()
    until(lambda: len(ran) == 5)
    assert ran == [255, 200, 5, 5, 0]


@every_executor
def test_started_is_seen_while_a_task_runs(app: Umbel, make: Make, gate: Gate) -> None:
    @app.task(track_started=True)
    def work() -> None:
        gate.hold()

    make()
    result = work.delay()
    gate.wait()
    assert (result.state, result.result) == (
        states.STARTED,
        {"pid": os.getpid(), "hostname": "celery@host"},
    )
    gate.open()
    assert got(result) is None


@every_executor
def test_signals_of_the_process(make: Make) -> None:
    heard: list[Any] = []

    def hear(pid: int, exitcode: int, **_: Any) -> None:
        heard.append((pid, exitcode))

    signals.worker_process_shutdown.connect(hear)
    try:
        worker = make()
        worker.stop()
        worker.join()
    finally:
        signals.worker_process_shutdown.disconnect(hear)
    assert heard == [(os.getpid(), 0)]


# Limits


@every_executor
def test_it_leaves_after_so_many_tasks_and_holds_nothing_then(
    app: Umbel, make: Make, note: Made, ran: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    note.delay_many([(n,) for n in range(10)])
    worker = make(prefetch=64, start=False)
    worker.child._lifetime = Lifetime(tasks=4)
    retired: list[bool] = []
    worker.child.on_retire = lambda: retired.append(True)
    with caplog.at_level(logging.INFO, "umbel.worker"):
        worker.start()
        worker.join()
    assert (sorted(ran), retired) == ([0, 1, 2, 3], [True])
    depth = app.queues.depths()["celery"]
    assert (depth.ready, depth.leased) == (6, 0)
    assert "another takes its place: it ran 4 tasks (worker_max_tasks_per_child)" in caplog.text


@every_executor
def test_what_is_not_run_is_no_task_of_its_life(
    app: Umbel, make: Make, note: Made, ran: list[Any]
) -> None:
    for _ in range(3):
        foreign(app, UNREADABLE)
    note.delay_many([(1,), (2,)])
    worker = make(start=False)
    worker.child._lifetime = Lifetime(tasks=2)
    worker.start()
    worker.join()
    assert sorted(ran) == [1, 2]
    assert nothing_left(app)


def test_one_that_leaves_settles_what_it_ran_however_long_the_broker_is_away(
    app: Umbel, make: Make, note: Made, ran: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    note.delay(1)
    worker = make(start=False)
    worker.child._lifetime = Lifetime(tasks=1)
    settle = Settler.settle
    refused: list[int] = []

    def fail(
        self: Settler, verdicts: Sequence[Verdict], fetch: Any = None, hold: Any = None
    ) -> Any:
        if verdicts and len(refused) < 3:
            refused.append(1)
            raise OperationalError("away")
        return settle(self, verdicts, fetch, hold)

    monkeypatch.setattr(Settler, "settle", fail)
    worker.start()
    worker.join()
    assert (ran, len(refused)) == ([1], 3)
    assert nothing_left(app)


@every_executor
def test_what_is_over_its_rate_holds_up_nothing_else(
    app: Umbel, make: Make, note: Made, ran: list[Any]
) -> None:
    @app.task(rate_limit="1/h", track_started=True)
    def seldom(x: Any) -> Any:
        ran.append(x)

    results = seldom.delay_many([("first",), ("second",), ("third",)])
    note.delay("other")
    make(prefetch=2)
    until(lambda: sorted(ran) == ["first", "other"])
    until(lambda: app.queues.depths()["celery"].scheduled == 2)
    assert got(results[0]) is None
    assert [result.state for result in results[1:]] == [states.PENDING] * 2


@every_executor
def test_what_has_its_turn_runs_once_for_each_call(app: Umbel, make: Make, ran: list[Any]) -> None:
    @app.task(rate_limit="50/s", acks_late=False)
    def often(x: Any) -> Any:
        ran.append((x, SYSTEM.monotonic()))

    results = often.delay_many([(n,) for n in range(6)])
    make(prefetch=4)
    for result in results:
        got(result)
    assert sorted(x for x, _ in ran) == list(range(6))
    assert ran[-1][1] - ran[0][1] >= 0.08  # the first may start before the second is asked for
    until(lambda: nothing_left(app))


def test_hard_limits_are_in_the_page_while_a_task_runs(
    app: Umbel, make: Make, gate: Gate, note: Made
) -> None:
    @app.task(time_limit=100, soft_time_limit=50)
    def work() -> None:
        gate.hold()

    worker = make()
    result = work.delay()
    gate.wait()
    found = worker.page.read()
    assert found is not None
    assert found.hard_deadline == found.running_since + 100
    assert found.soft_deadline == found.running_since + 50
    gate.open()
    got(result)
    got(note.delay(1))
    assert worker.page.hard_deadline == 0


def test_a_task_that_ends_as_its_time_is_over_waits_for_what_becomes_of_it(
    app: Umbel, make: Make, gate: Gate
) -> None:
    @app.task(time_limit=100)
    def work() -> str:
        gate.hold()
        return "in time"

    worker = make()
    result = work.delay()
    gate.wait()
    found = worker.page.read()
    assert found is not None
    worker.page.condemn(*found.keys(Held.RUNNING))
    gate.open()
    until(lambda: worker.page.hard_deadline == 0)
    assert worker.child.current is not None
    assert result.state == states.PENDING
    worker.page.pardon()
    assert got(result) == "in time"


# Retries, times


@every_executor
def test_retries_run_until_the_task_ends_well(app: Umbel, make: Make, ran: list[Any]) -> None:
    @app.task(bind=True)
    def work(self: Made, x: int) -> tuple[int, int]:
        ran.append((self.request.id, self.request.retries))
        if self.request.retries < 3:
            raise self.retry(countdown=0.002 * self.request.retries, exc=ValueError("boom"))
        return x, self.request.retries

    make()
    result = work.delay(7)
    assert got(result) == [7, 3]
    assert ran == [(result.id, n) for n in range(4)]
    until(lambda: nothing_left(app))


@every_executor
def test_retries_come_to_an_end(app: Umbel, make: Make, ran: list[Any]) -> None:
    @app.task(autoretry_for=(ValueError,), retry_kwargs={"countdown": 0}, max_retries=2)
    def work() -> None:
        ran.append(1)
        raise ValueError("boom")

    make()
    with pytest.raises(ValueError, match="boom"):
        got(work.delay())
    assert len(ran) == 3


@every_executor
def test_a_retry_that_cannot_be_sent_fails_and_the_worker_goes_on(
    app: Umbel, make: Make, note: Made
) -> None:
    @app.task(bind=True, typing=False)
    def work(self: Made) -> None:
        raise self.retry(args=(object(),))

    make()
    error = got(work.delay(), propagate=False)
    assert type(error).__name__ == "EncodeError"
    assert got(note.delay(1)) == 1


@every_executor
def test_what_expired_is_revoked_and_not_run(make: Make, note: Made, ran: list[Any]) -> None:
    result = note.apply_async(("late",), expires=-1)
    make()
    with pytest.raises(TaskRevokedError, match="expired"):
        got(result)
    assert got(note.delay("in time")) == "in time"
    assert ran == ["in time"]


@every_executor
def test_what_is_due_later_runs_later(make: Make, note: Made, ran: list[Any]) -> None:
    later = note.apply_async(("later",), countdown=0.05)
    make()
    assert got(note.delay("now")) == "now"
    assert got(later) == "later"
    assert sorted(ran) == ["later", "now"]


@every_executor
def test_what_an_engine_delivers_early_is_parked(
    app: Umbel, make: Make, note: Made, ran: list[Any]
) -> None:
    published: list[Publication] = []
    app.publish = published.extend  # type: ignore[method-assign, assignment]
    result = note.apply_async(("early",), eta=utc(SYSTEM.time() + 3600))
    app.broker.publish([replace(published[0], due=None)], 1.0)
    make()
    until(lambda: [found.where for found in app.queues.find(result.id)] == ["scheduled"])
    (found,) = app.queues.find(result.id)
    assert found.due == published[0].due
    assert ran == []


# What is not a plain success


@every_executor
def test_what_cannot_be_processed_is_put_away_and_the_rest_runs(
    app: Umbel, make: Make, note: Made
) -> None:
    app.conf.worker_unknown_task_offers = 0
    foreign(app, UNREADABLE)
    foreign(app, UNKNOWN)
    make(prefetch=10)
    assert got(note.delay(1)) == 1
    until(lambda: len(app.queues.dead_letters(10)) == 2)
    reasons = {letter.reason.partition(":")[0] for letter in app.queues.dead_letters(10)}
    assert reasons == {"NotRegistered", "DecodeError"}
    assert app.AsyncResult("i").state == states.FAILURE


@every_executor
def test_a_task_that_is_not_known_yet_runs_once_it_is(
    app: Umbel, make: Make, ran: list[Any]
) -> None:
    make()
    result = app.send_task("proj.newer", (1,))
    until(lambda: [found.where for found in app.queues.find(result.id)] == ["scheduled"])

    @app.task(name="proj.newer", bind=True)
    def newer(self: Made, value: int) -> int:
        ran.append(self.request.headers)
        return value

    assert got(result) == 1
    assert ran == [{}]  # the number of offers is no header of the caller's
    assert app.queues.dead_letters(10) == []
    until(lambda: nothing_left(app))


@every_executor
def test_ignore_and_reject(app: Umbel, make: Make, note: Made, ran: list[Any]) -> None:
    @app.task
    def ignored() -> None:
        raise Ignore

    @app.task
    def rejected() -> None:
        raise Reject("bad")

    @app.task(bind=True)
    def requeued(self: Made) -> int:
        ran.append(self.request.delivery_info["redelivered"])  # type: ignore[index]
        if len(ran) < 3:
            raise Reject("later", requeue=True)
        return 5

    make()
    quiet = ignored.delay()
    rejected.delay()
    assert got(requeued.delay()) == 5
    assert ran == [False, True, True]
    assert quiet.state == states.PENDING
    assert [letter.reason for letter in app.queues.dead_letters(10)] == [
        "Rejected by the task: bad"
    ]
    until(lambda: nothing_left(app))


# At most once


@every_executor
def test_at_most_once_is_marked_before_it_runs(
    app: Umbel, make: Make, gate: Gate, note: Made, caplog: pytest.LogCaptureFixture
) -> None:
    @app.task(acks_late=False)
    def once() -> int:
        gate.hold()
        return 5

    worker = make()
    result = once.delay()
    gate.wait()
    rescuer = consumer_of(app)
    (delivery,) = rescuer.reclaim(worker.owner, None)  # what a supervisor does with the dead
    assert delivery.early
    gate.open()
    # The child was taken for dead: its outcome does not count, and it begins anew.
    assert got(note.delay(1)) == 1
    assert result.state == states.PENDING
    assert any("was taken for dead" in text for text in caplog.messages)


@every_executor
def test_at_least_once_is_not_marked(app: Umbel, make: Make, held: Made, gate: Gate) -> None:
    worker = make()
    result = held.delay()
    gate.wait()
    assert consumer_of(app).reclaim(worker.owner, None) == []
    gate.open()
    assert got(result) == "done"  # by the second run, which the open gate lets pass


# Long tasks


def taken_by_another(app: Umbel, count: int) -> list[Delivery]:
    """Fetch what a child gives back, within the time that a person would not notice."""
    other = consumer_of(app)
    found: list[Delivery] = []
    deadline = SYSTEM.monotonic() + 2.0
    while len(found) < count and SYSTEM.monotonic() < deadline:
        found += other.fetch(FetchRequest(("celery",), count), 0.05)
    return found


def test_what_waits_behind_a_long_task_goes_back(
    app: Umbel, make: Make, note: Made, held: Made, gate: Gate, ran: list[Any]
) -> None:
    first = note.delay("first")
    long = held.delay()
    waiting = note.delay_many([(n,) for n in range(5)])
    worker = make(prefetch=7)
    gate.wait()
    found = taken_by_another(app, 5)
    assert [delivery.message.task_id for delivery in found] == [result.id for result in waiting]
    assert [delivery.count for delivery in found] == [1] * 5  # it was no delivery
    assert got(first) == "first"  # what was finished is settled meanwhile
    assert long.state == states.PENDING
    page = worker.page.read()
    assert page is not None
    assert sorted(page.held.values()) == [Held.RUNNING, Held.FINISHED]
    gate.open()
    assert got(long) == "done"
    assert ran == ["first", "held"]


def test_a_long_task_does_not_stop_the_next_batch(
    app: Umbel, make: Make, note: Made, held: Made, gate: Gate
) -> None:
    long = held.delay()
    waiting = note.delay_many([(n,) for n in range(5)])
    make(prefetch=6)
    gate.wait()
    until(lambda: app.queues.depths()["celery"].ready == 5)
    gate.open()
    assert [got(result) for result in waiting] == list(range(5))
    assert got(long) == "done"


def test_a_helper_that_fell_asleep_is_woken_by_a_batch(
    app: Umbel, make: Make, note: Made, held: Made, gate: Gate
) -> None:
    worker = make()
    until(lambda: worker.helper._asleep)
    held.delay()
    gate.wait()
    worker.child._prefetch.limit = 1
    result = note.delay(1)
    assert taken_by_another(app, 1)[0].message.task_id == result.id


def test_nothing_of_a_fenced_batch_starts(
    app: Umbel, make: Make, note: Made, held: Made, gate: Gate, ran: list[Any]
) -> None:
    """What a supervisor does with a child that is stuck in C code: its helper cannot run either."""
    worker = make(prefetch=4, start=False)
    held.delay()
    waiting = note.delay_many([(n,) for n in range(3)])
    worker.thread.start()
    gate.wait()
    page = worker.page.read()
    assert page is not None
    worker.page.fence(page.batch)
    assert app.broker.take_back(page.owner, page.keys(Held.WAITING)) == 3
    found = taken_by_another(app, 3)
    assert [delivery.message.task_id for delivery in found] == [result.id for result in waiting]
    gate.open()
    until(lambda: worker.child.current is None)
    worker.child.stopping.set()
    worker.child.consumer.interrupt()
    worker.join()
    assert ran == ["held"]
    worker.helper.start()


class Late(Hasty):
    """A clock that goes on while a process is frozen."""

    slept = 0.0

    def monotonic(self) -> float:
        return SYSTEM.monotonic() + self.slept


def test_a_process_that_wakes_up_gives_back_what_it_has_not_started(
    app: Umbel,
    make: Make,
    note: Made,
    held: Made,
    gate: Gate,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Others may have that by then, which it has not heard: its helper was frozen, too."""
    worker = make(prefetch=4, start=False)
    worker.child._clock = clock = Late()
    long = held.delay()
    waiting = note.delay_many([(n,) for n in range(3)])
    worker.thread.start()
    gate.wait()
    page, consumer = worker.page.read(), worker.child.consumer
    assert page is not None
    back: list[str] = []

    def release(keys: Collection[str]) -> int:
        back.extend(keys)
        return type(consumer).release(consumer, keys)

    monkeypatch.setattr(consumer, "release", release)
    clock.slept = 2.0
    gate.open()
    assert got(long) == "done"
    worker.helper.start()
    assert [got(result) for result in waiting] == [0, 1, 2]  # when it has fetched them again
    assert sorted(back) == sorted(page.keys(Held.WAITING))


@pytest.mark.parametrize("executor", ["threads"])
def test_a_thread_starts_nothing_that_waited_while_its_process_slept(
    make: Make, note: Made, ran: list[Any]
) -> None:
    worker = make(start=False)
    note.delay(1)
    (delivery,) = worker.child.consumer.fetch(FetchRequest(("celery",), 1), PATIENCE)
    item = Waiting(0, worker.child._prepare(delivery))
    worker.slots._places.put([0], [delivery.key])
    worker.slots.started_at = SYSTEM.monotonic() - 2.0
    worker.slots.work(item)
    assert list(worker.slots.returning) == [item]
    assert ran == []


# Stopping


def test_a_stop_lets_the_task_end_and_hands_back_the_rest(
    app: Umbel, make: Make, note: Made, held: Made, gate: Gate, ran: list[Any]
) -> None:
    long = held.delay()
    note.delay_many([(n,) for n in range(5)])
    worker = make(prefetch=6)
    gate.wait()
    worker.stop()
    until(worker.child.stopping.is_set)
    until(lambda: app.queues.depths()["celery"].ready == 5)
    assert worker.thread.is_alive()
    gate.open()
    worker.join()
    assert got(long) == "done"
    assert ran == ["held"]
    depth = app.queues.depths()["celery"]
    assert (depth.ready, depth.leased) == (5, 0)


@every_executor
def test_an_idle_worker_stops_at_once(app: Umbel, make: Make) -> None:
    worker = make()
    until(app.broker.ever_consumed)
    started = SYSTEM.monotonic()
    worker.stop()
    worker.join()
    assert SYSTEM.monotonic() - started < 5.0
    assert app.broker.renew("node", 60.0) == frozenset()


def test_without_a_supervisor_it_hands_back_and_leaves(
    app: Umbel,
    make: Make,
    note: Made,
    held: Made,
    gate: Gate,
    caplog: pytest.LogCaptureFixture,
) -> None:
    note.delay("first")
    long = held.delay()
    note.delay_many([(n,) for n in range(3)])
    worker = make(prefetch=5)
    gate.wait()
    worker.control.close()
    until(lambda: worker.left)
    assert worker.left == [1]
    depth = app.queues.depths()["celery"]
    assert (depth.ready, depth.leased, depth.dead) == (4, 0, 0)
    (again,) = [found for found in taken_by_another(app, 4) if found.message.task_id == long.id]
    assert (again.crashes, again.count) == (0, 2)
    assert "The supervisor is gone: handing back and leaving." in caplog.messages
    gate.open()
    worker.join()
    assert long.state == states.PENDING  # the late outcome does not count


@every_executor
def test_without_a_supervisor_what_runs_at_most_once_fails(
    app: Umbel, make: Make, gate: Gate
) -> None:
    @app.task(acks_late=False)
    def once() -> None:
        gate.hold()

    worker = make()
    result = once.delay()
    gate.wait()
    worker.control.close()
    until(lambda: worker.left)
    assert isinstance(got(result, propagate=False), WorkerLostError)
    assert nothing_left(app)


# A broker that does not answer


class Away:
    """A server that is away for some calls of a child, whichever of its settlers makes them."""

    def __init__(self, app: Umbel, child: Child, refusals: int) -> None:
        self.refusals = refusals
        make = child._make_settler
        child._make_settler = lambda: Flaky(self, app, make().consumer)
        child._settler = Flaky(self, app, child.consumer)


class Flaky(Settler):
    """A settler whose server is away for a while."""

    def __init__(self, away: Away, app: Umbel, consumer: Consumer) -> None:
        super().__init__(app.broker, consumer, app.results)
        self._away = away

    def settle(
        self,
        verdicts: Sequence[Verdict],
        fetch: FetchRequest | None = None,
        hold: list[Verdict] | None = None,
    ) -> Sequence[Delivery]:
        if self._away.refusals:
            self._away.refusals -= 1
            raise OperationalError("No answer.")
        return super().settle(verdicts, fetch, hold)


@every_executor
def test_what_a_task_has_left_in_a_thread_does_not_hold_up_a_stop(
    app: Umbel, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("umbel.driving.LINGER", 0.05)
    gate = threading.Event()

    @app.task
    async def leaves() -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.to_thread(gate.wait, 2 * PATIENCE), 0.01)

    worker = make()
    got(leaves.delay())
    worker.stop()
    try:
        worker.join()
    finally:
        gate.set()


@pytest.mark.parametrize("executor", ["threads", "asyncio"])
def test_tasks_may_take_all_threads_that_the_system_allows(
    make: Make, note: Made, ran: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is needed besides has its thread before."""
    worker = make()
    got(note.delay(0))
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name.startswith("umbel-"):
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    results = [note.delay(number) for number in range(1, 21)]
    assert [got(result) for result in results] == list(range(1, 21))
    assert ran[0] == 0
    assert worker.left == []
    assert worker.thread.is_alive()


@every_executor
def test_an_absent_broker_is_said_once_and_nothing_is_lost(
    app: Umbel, make: Make, note: Made, ran: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    worker = make(start=False)
    server = Away(app, worker.child, 3)
    results = note.delay_many([(n,) for n in range(3)])
    worker.start()
    assert [got(result) for result in results] == [0, 1, 2]
    server.refusals = 2
    assert got(note.delay(3)) == 3
    assert ran == [0, 1, 2, 3]
    away = "The broker does not answer; trying until it does. No answer."
    until(lambda: server.refusals == 0)
    said = [text for text in caplog.messages if "The broker" in text]
    assert said[0] == away
    assert said[1].startswith("The broker answers again, after ")
    assert said.count(away) <= 2


@every_executor
def test_a_worker_without_a_broker_can_be_stopped(
    app: Umbel, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    worker = make(start=False)
    Away(app, worker.child, 1_000_000)
    worker.start()
    until(lambda: "The broker does not answer" in caplog.text)
    worker.stop()
    worker.join()


def test_a_broker_that_nobody_asked_has_not_answered(
    app: Umbel,
    make: Make,
    note: Made,
    ran: list[Any],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("umbel.worker.child.Pace.is_due", lambda *_: True)  # with every task
    worker = make(start=False)
    note.delay(1)
    server = Away(app, worker.child, 0)
    decided = worker.child._page.finish

    def goes_away(index: int) -> None:
        decided(index)
        server.refusals = 1_000_000

    worker.child._page.finish = goes_away  # type: ignore[method-assign]
    worker.start()
    until(lambda: "The broker does not answer" in caplog.text)
    worker.stop()
    worker.join()
    assert ran == [1]
    assert "answers again" not in caplog.text


class Closed:
    """What attaches a child to a server that is away for the first tries."""

    def __init__(self, child: Child, refusals: int) -> None:
        self._make = child._make_settler
        self.left = refusals
        child._make_settler = self

    def __call__(self) -> Settler:
        if self.left:
            self.left -= 1
            raise OperationalError("No answer.")
        return self._make()


@pytest.mark.parametrize("attach", [True, False])
def test_a_child_asks_until_it_is_attached(
    app: Umbel, make: Make, note: Made, caplog: pytest.LogCaptureFixture, attach: bool
) -> None:
    worker = make(start=False)
    server = Closed(worker.child, 2)
    if attach:
        worker.child.attach()
        assert server.left == 0
    worker.start()
    assert got(note.delay(1)) == 1
    said = [text.partition(";")[0] for text in caplog.messages if "The broker" in text]
    assert said[0] == "The broker does not answer"
    assert said[1].startswith("The broker answers again, after ")


def test_a_word_to_stop_reaches_a_consumer_that_is_made_meanwhile(make: Make) -> None:
    child = make(start=False).child
    make_settler = child._make_settler

    def stopped_meanwhile() -> Settler:
        settler = make_settler()
        settler.consumer.patient = True
        child.stopping.set()
        child.interrupt()
        return settler

    child._make_settler = stopped_meanwhile
    child.attach()
    assert not child.consumer.patient


def test_a_child_that_was_never_attached_can_be_stopped(
    app: Umbel, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    worker = make(start=False)
    Closed(worker.child, 1_000_000)
    worker.start()
    until(lambda: "The broker does not answer" in caplog.text)
    worker.stop()
    worker.join()
    assert worker.page.read() is None


def test_a_child_is_attached_before_it_runs(app: Umbel, tmp_path: Path) -> None:
    """Whoever finds the page of a dead process finds all that it may hold."""
    page = Page.create(tmp_path / "child.page")
    orders = Orders(Source("app", "/", {}), ("celery",), "celery@host", "node", 1, "INFO")
    child: Child = make_child(app, orders, page, os.getpid())
    child.attach()
    found = page.read()
    assert found is not None
    assert found.owner == child.consumer.owner.id
    assert app.broker.renew("node", 60.0) == {found.owner}
    child.consumer.close()
    page.close()


class Picky(Settler):
    """A settler whose store cannot take certain outcomes, or no state of a task that runs."""

    def settle(
        self,
        verdicts: Sequence[Verdict],
        fetch: FetchRequest | None = None,
        hold: list[Verdict] | None = None,
    ) -> Sequence[Delivery]:
        for verdict in verdicts:
            if (
                verdict.settlement.result is not None
                and '"bad"' in verdict.settlement.result.document
            ):
                raise ValueError("no such text")
        return super().settle(verdicts, fetch, hold)

    def store(self, record: ResultRecord, prepared: Prepared) -> None:
        raise OperationalError("No answer.")


@every_executor
def test_an_outcome_that_no_store_can_take_is_put_away_alone(
    app: Umbel, make: Make, note: Made, ran: list[Any]
) -> None:
    worker = make(prefetch=3, start=False)
    worker.child._settler = Picky(app.broker, worker.child.consumer, app.results)
    first, bad, last = note.delay_many([("first",), ("bad",), ("last",)])
    worker.start()
    assert (got(first), got(last)) == ("first", "last")
    until(lambda: nothing_left(app))
    assert ran == ["first", "bad", "last"]
    (letter,) = app.queues.dead_letters(10)
    assert (letter.message.task_id, "no such text" in letter.reason) == (bad.id, True)
    with pytest.raises(EncodeError, match="Its outcome cannot be stored: ValueError: no such text"):
        got(bad)
    assert got(note.delay("next")) == "next"


@every_executor
def test_a_task_runs_though_its_start_cannot_be_told(
    app: Umbel, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    @app.task(track_started=True)
    def work() -> int:
        return 5

    worker = make(start=False)
    worker.child._settler = Picky(app.broker, worker.child.consumer, app.results)
    worker.start()
    result = work.delay()
    assert got(result) == 5
    assert f"The state STARTED of {result.id} was not stored. No answer." in caplog.messages


class Noting(Settler):
    """A settler that notes what is settled without a fetch."""

    alone = 0

    def settle(
        self,
        verdicts: Sequence[Verdict],
        fetch: FetchRequest | None = None,
        hold: list[Verdict] | None = None,
    ) -> Sequence[Delivery]:
        self.alone += bool(verdicts) and fetch is None
        return super().settle(verdicts, fetch, hold)


@pytest.mark.parametrize(("prefetch", "alone"), [(1, 0), (2, 1)])
def test_what_nothing_waits_behind_is_settled_with_the_next_fetch(
    app: Umbel, make: Make, prefetch: int, alone: int
) -> None:
    worker = make(prefetch=prefetch, start=False)
    noting = worker.child._settler = Noting(app.broker, worker.child.consumer, app.results)

    @app.task
    def long() -> None:
        worker.child._pace.settled_at = -100.0  # as if it had taken so long

    results = [long.delay() for _ in range(prefetch)]
    worker.start()
    for result in results:
        got(result)
    assert noting.alone == alone


@pytest.mark.parametrize(("crashes", "alone"), [(0, 0), (1, 3)])
def test_what_a_process_died_of_is_settled_before_anything_else_runs(
    app: Umbel, make: Make, note: Made, crashes: int, alone: int
) -> None:
    results = [note.delay(number) for number in range(4)]
    crash(app, crashes)
    worker = make(prefetch=4, start=False)
    noting = worker.child._settler = Noting(app.broker, worker.child.consumer, app.results)
    worker.child._pace.is_due = lambda now: False  # type: ignore[method-assign]
    worker.start()
    for result in results:
        got(result)
    assert noting.alone == alone  # the last one goes with the next fetch


# Many at a time

BOTH = FetchRequest(("celery",), 2)
many_at_a_time = pytest.mark.parametrize("executor", ["threads", "asyncio"])


def full(app: Umbel, held: Made, ran: list[Any]) -> list[AsyncResult[Any]]:
    """Have all four slots of a worker hold a task."""
    results = held.delay_many([()] * 4)
    until(lambda: ran.count("held") == 4)
    return results


@many_at_a_time
def test_as_many_run_at_a_time_as_there_are_slots(
    app: Umbel, make: Make, note: Made, held: Made, gate: Gate, ran: list[Any]
) -> None:
    worker = make()
    results = full(app, held, ran)
    snapshot = worker.page.read()
    assert snapshot is not None
    assert sorted(snapshot.courses) == sorted(snapshot.keys(Held.RUNNING))
    assert len(snapshot.courses) == 4
    assert all(course.since > 0 for course in snapshot.courses.values())
    gate.open()
    assert [got(result) for result in results] == ["done"] * 4
    until(lambda: nothing_left(app))
    until(lambda: not worker.child.is_busy())
    assert worker.page.read().held == {}  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("executor", "thread"), [("threads", "umbel-loop"), ("asyncio", "test-child")]
)
def test_coroutines_run_together_on_one_loop(app: Umbel, make: Make, thread: str) -> None:
    together = asyncio.Barrier(4)

    @app.task
    async def meet() -> list[Any]:
        await together.wait()
        mine = current_task.request.id
        await together.wait()
        return [threading.current_thread().name, mine, current_task.request.id]

    make()
    for result in meet.delay_many([()] * 4):
        assert got(result) == [thread, result.id, result.id]


@pytest.mark.parametrize(
    ("executor", "quick_in", "blocking_in"),
    [
        ("prefork", "test-child", "test-child"),
        ("threads", "umbel-task", "umbel-task"),
        ("asyncio", "test-child", "umbel-task"),
    ],
)
def test_a_task_may_choose_where_it_runs(
    app: Umbel, make: Make, gate: Gate, quick_in: str, blocking_in: str, executor: str
) -> None:
    @app.task(executor="asyncio")
    def quick() -> str:
        return threading.current_thread().name

    @app.task(executor="threads")
    async def blocking(hold: bool = False) -> str:
        await asyncio.sleep(0)
        if hold:
            gate.hold()
        return threading.current_thread().name

    @app.task
    async def other() -> int:
        return await asyncio.sleep(0, 5)

    make()
    assert got(quick.delay()).startswith(quick_in)
    assert got(blocking.delay()).startswith(blocking_in)
    if executor != "prefork":
        held = blocking.delay(hold=True)
        gate.wait()
        assert got(other.delay()) == 5  # its event loop is another one
        gate.open()
        got(held)


@many_at_a_time
def test_what_has_ended_is_settled_while_others_run(
    make: Make, note: Made, held: Made, gate: Gate
) -> None:
    worker = make()
    until(lambda: worker.helper._asleep)
    held.delay()
    gate.wait()
    for n in range(10):
        assert got(note.delay(n)) == n


@many_at_a_time
def test_what_ends_while_the_desk_waits_for_messages_waits_for_no_look(
    make: Make, held: Made, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("umbel.worker.helper.LONG", 1000.0)
    worker = make()
    result = held.delay()
    gate.wait()
    until(lambda: worker.slots._fetching)
    gate.open()
    got(result)


@many_at_a_time
def test_what_waits_while_all_slots_are_taken_goes_back(
    app: Umbel, make: Make, note: Made, held: Made, gate: Gate, ran: list[Any]
) -> None:
    held.delay_many([()] * 4)
    results = note.delay_many([(n,) for n in range(3)])
    worker = make(start=False)
    worker.slots._ahead.limit = 7  # as if tasks had been short
    worker.start()
    until(lambda: ran.count("held") == 4)
    until(lambda: app.queues.depths()["celery"].ready == 3)
    assert ran == ["held"] * 4
    gate.open()  # and they are asked for again
    assert [got(result) for result in results] == [0, 1, 2]
    until(lambda: nothing_left(app))


@many_at_a_time
def test_whoever_makes_room_wakes_the_desk(make: Make, note: Made, held: Made) -> None:
    """Else it waits a second with free slots, when the helper settled or gave back what it had looked at."""
    held.delay()
    note.delay(1)
    worker = make(start=False)
    child = worker.slots
    child._attach()
    ended, waits = (child._runner.prepare(one) for one in child.consumer.fetch(BOTH, PATIENCE))
    for prepared in (ended, waits):
        child._held[prepared.delivery.key] = Waiting(child._places.take(), prepared)
    child.finished.append(decide(Run(ended, Success(None), 0.0), child._app.conf.snapshot, SYSTEM))
    child.settle_finished()
    assert child._wake.is_set()
    child._wake.clear()
    child.returning.append(child._held[waits.delivery.key])
    child.release_waiting()
    assert child._wake.is_set()
    assert child._room() > 0
    child.consumer.close()


@many_at_a_time
def test_a_stop_lets_all_that_runs_end(
    app: Umbel, make: Make, note: Made, held: Made, gate: Gate, ran: list[Any]
) -> None:
    worker = make()
    results = full(app, held, ran)
    note.delay(1)
    worker.stop()
    until(worker.child.stopping.is_set)
    gate.open()
    worker.join()
    assert [got(result) for result in results] == ["done"] * 4
    assert app.queues.depths()["celery"].ready == 1
    assert 1 not in ran


@many_at_a_time
def test_without_a_supervisor_all_that_runs_goes_back_and_counts_as_no_crash(
    app: Umbel, make: Make, held: Made, gate: Gate, ran: list[Any]
) -> None:
    worker = make()
    results = full(app, held, ran)
    worker.control.close()
    until(lambda: worker.left)
    depth = app.queues.depths()["celery"]
    assert (depth.ready, depth.leased, depth.dead) == (4, 0, 0)
    assert [found.crashes for found in taken_by_another(app, 4)] == [0] * 4
    gate.open()
    worker.join()
    assert {result.state for result in results} == {states.PENDING}


def crash(app: Umbel, times: int) -> None:
    """Let the process of what waits die so often."""
    consumer = consumer_of(app)
    for _ in range(times):
        found = consumer.fetch(FetchRequest(("celery",), 10), 0.0)
        consumer.settle([Settlement(one, Action.REQUEUE, crashed=True) for one in found])


@many_at_a_time
def test_what_one_more_death_would_condemn_runs_alone(
    app: Umbel, make: Make, note: Made, held: Made, gate: Gate, ran: list[Any]
) -> None:
    @app.task
    def suspect() -> None:
        ran.append(("suspect", len(worker.slots._running)))

    suspects = suspect.delay_many([()] * 2)
    crash(app, app.conf.worker_max_deliveries - 1)
    worker = make(start=False)
    long = held.apply_async(priority=9)
    worker.slots._ahead.limit = 1
    worker.start()
    gate.wait()
    worker.slots._ahead.limit = 4
    worker.child.interrupt()
    until(lambda: len(worker.slots._suspects) == 2)
    gate.open()
    for result in (long, *suspects):
        got(result)
    assert ran == ["held", ("suspect", 1), ("suspect", 1)]
    assert got(note.delay(5)) == 5


@many_at_a_time
def test_what_runs_long_holds_up_what_must_run_alone_and_nothing_else(
    app: Umbel,
    make: Make,
    note: Made,
    held: Made,
    gate: Gate,
    ran: list[Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    @app.task
    def suspect() -> None:
        ran.append(("suspect", len(worker.slots._running)))

    found = suspect.delay()
    crash(app, app.conf.worker_max_deliveries - 1)
    worker = make(start=False)
    long = held.apply_async(priority=9)
    worker.start()
    gate.wait()
    until(lambda: "has to run alone, since 2 processes died while it ran" in caplog.text)
    assert got(note.delay(5)) == 5
    gate.open()
    got(long)
    got(found)
    assert ran == ["held", 5, ("suspect", 1)]
    assert worker.slots._places.room == worker.page.capacity


@many_at_a_time
def test_what_must_run_alone_does_not_wait_behind_another_that_runs_long(
    app: Umbel, make: Make, held: Made, gate: Gate
) -> None:
    """Whoever has nothing else to do may take it meanwhile."""
    suspects = held.delay_many([()] * 3)
    crash(app, app.conf.worker_max_deliveries - 1)
    worker = make(start=False)
    worker.slots._ahead.limit = 4
    worker.start()
    gate.wait()
    until(lambda: app.queues.depths()["celery"].ready == 2)
    assert worker.slots._alone
    found = taken_by_another(app, 2)
    assert [one.crashes for one in found] == [2, 2]
    gate.open()
    until(lambda: any(one.state == states.SUCCESS for one in suspects))
    until(lambda: worker.slots._places.room == worker.page.capacity)


@many_at_a_time
def test_what_does_not_run_needs_not_be_alone(
    app: Umbel, make: Make, note: Made, held: Made, gate: Gate
) -> None:
    expired = note.apply_async((1,), expires=-1)
    crash(app, app.conf.worker_max_deliveries - 1)
    long = held.apply_async(priority=9)
    make()
    gate.wait()
    until(lambda: expired.state == states.REVOKED)
    assert long.state == states.PENDING
    gate.open()
    got(long)


class Ahead(Hasty):
    """A clock on which some time has passed."""

    def time(self) -> float:
        return SYSTEM.time() + 5 * PATIENCE


@many_at_a_time
def test_what_expires_while_it_waits_to_run_alone_does_not_run(
    app: Umbel,
    make: Make,
    note: Made,
    held: Made,
    gate: Gate,
    ran: list[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = note.apply_async((1,), expires=4 * PATIENCE)
    crash(app, app.conf.worker_max_deliveries - 1)
    worker = make(start=False)
    long = held.apply_async(priority=9)
    worker.start()
    gate.wait()
    until(lambda: len(worker.slots._suspects) == 1)
    monkeypatch.setattr(app, "clock", Ahead())
    gate.open()
    got(long)
    until(lambda: found.state == states.REVOKED)
    assert ran == ["held"]


@many_at_a_time
def test_a_child_that_leaves_gives_back_what_must_run_alone_at_once(
    app: Umbel, make: Make, note: Made, held: Made, gate: Gate
) -> None:
    note.delay(1)
    crash(app, app.conf.worker_max_deliveries - 1)
    worker = make(start=False)
    held.apply_async(priority=9)
    worker.start()
    gate.wait()
    until(lambda: len(worker.slots._suspects) == 1)
    worker.child._lifetime.end("it has run enough")
    worker.child.interrupt()
    assert [one.crashes for one in taken_by_another(app, 1)] == [2]
    gate.open()
    worker.join()


def threads_of(worker: Worker) -> Threads:
    """Return the threads that run plain tasks."""
    executor = worker.slots._executor
    found = executor._threads if isinstance(executor, ThreadExecutor) else executor._host[2]  # type: ignore[attr-defined]
    assert isinstance(found, Threads)
    return found


def let_one_end_while_others_go_back(
    slots: SlotChild,
    gate: Gate,
    ended: Callable[[], bool],
    looked: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Open the gate within a hand-back, and let the desk look after it only; say when it has."""
    withdraw, room, give_up = slots._executor.withdraw, slots._room, slots._give_up
    looking, waits = threading.Lock(), list[bool]()

    def withdraw_while_one_ends() -> list[Waiting]:
        back = withdraw()
        if back and len(slots._running) == 4 and not gate.is_open:
            waits.append(looking.acquire())
            gate.open()
            until(ended)
        return back

    def room_later() -> int:
        with looking:
            found = room()
        if gate.is_open and not waits:
            looked()
        return found

    def given_up(item: Waiting) -> None:
        give_up(item)
        if waits:
            waits.pop()
            looking.release()

    monkeypatch.setattr(slots._executor, "withdraw", withdraw_while_one_ends)
    monkeypatch.setattr(slots, "_room", room_later)
    monkeypatch.setattr(slots, "_give_up", given_up)


@pytest.mark.parametrize("executor", ["threads", "asyncio"])
def test_a_slot_that_becomes_free_while_others_are_given_back_is_filled(
    app: Umbel,
    make: Make,
    note: Made,
    held: Made,
    gate: Gate,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody tells of it any more: what runs beside may run for hours."""
    other, worker = Gate(), make(start=False)
    slots = worker.slots

    @app.task
    def long() -> None:
        other.hold()

    def is_free() -> bool:
        return len(threads_of(worker)._busy) == 3

    let_one_end_while_others_go_back(slots, gate, is_free, lambda: None, monkeypatch)
    results = [long.apply_async(priority=9) for _ in range(3)]
    results.append(held.apply_async(priority=9))
    behind = note.delay(1)
    slots._ahead.limit = 5
    worker.start()
    try:
        assert got(behind) == 1
        until(lambda: len(slots._running) == 3)
    finally:
        other.open()
    for result in results:
        got(result)


class Lingering(set[int]):
    """Threads that run something; they stay there after its end until the desk has looked."""

    looked = threading.Event()

    def discard(self, element: object, /) -> None:
        """Leave, later than the desk was told of the end."""
        assert self.looked.wait(PATIENCE)
        super().discard(element)


@pytest.mark.parametrize("executor", ["threads", "asyncio"])
def test_a_thread_that_is_free_later_than_the_desk_looks_is_used(
    app: Umbel,
    make: Make,
    note: Made,
    held: Made,
    gate: Gate,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other, worker = Gate(), make(start=False)
    slots, begin = worker.slots, Threads.__init__
    Lingering.looked.clear()

    @app.task
    def long() -> None:
        other.hold()

    def lingering(self: Threads, *arguments: Any) -> None:
        begin(self, *arguments)
        self._busy = Lingering()

    def has_ended() -> bool:
        return len(slots._running) == 3

    def looked() -> None:
        if slots._clogs._full and not slots.finished:
            Lingering.looked.set()

    monkeypatch.setattr(Threads, "__init__", lingering)
    monkeypatch.setattr("umbel.worker.slots.LOOK", 1000.0)
    let_one_end_while_others_go_back(slots, gate, has_ended, looked, monkeypatch)
    results = [long.apply_async(priority=9) for _ in range(3)]
    results.append(held.apply_async(priority=9))
    behind = note.delay(1)
    slots._ahead.limit = 5
    worker.start()
    try:
        assert got(behind) == 1
    finally:
        Lingering.looked.set()
        other.open()
    for result in results:
        got(result)


@pytest.mark.parametrize("executor", ["asyncio"])
def test_slots_that_are_free_are_filled_once_the_loop_goes_on(
    app: Umbel, make: Make, gate: Gate, ran: list[Any]
) -> None:
    """What waited for an event loop that was held up went back. Nothing has to end before it comes again."""
    over = threading.Event()

    @app.task
    async def holds_up() -> None:
        gate.hold()
        while not over.is_set():
            await asyncio.sleep(0.01)

    @app.task
    async def other() -> None:
        ran.append("other")

    long = holds_up.delay()
    worker = make()
    gate.wait()
    behind = other.delay()

    def went_back_for_good() -> bool:
        """Tell whether nobody waits for it any more."""
        is_held_up = worker.slots._clogs._held_up and not worker.slots._fetching
        return is_held_up and app.queues.depths()["celery"].ready == 1

    try:
        until(went_back_for_good)
        gate.open()
        got(behind)
        assert worker.child.is_running()
    finally:
        over.set()
    got(long)


@many_at_a_time
def test_what_was_taken_away_while_it_ran_does_not_count(
    app: Umbel, make: Make, note: Made, held: Made, gate: Gate, ran: list[Any]
) -> None:
    worker = make()
    results = full(app, held, ran)
    taken = consumer_of(app).reclaim(worker.owner, ())
    assert len(taken) == 4
    gate.open()
    assert got(note.delay(1)) == 1
    assert {result.state for result in results} == {states.PENDING}
    until(lambda: not worker.child.is_busy())
    assert worker.slots._places.room == worker.page.capacity


@many_at_a_time
def test_a_bug_in_a_slot_ends_the_child(
    make: Make, note: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = make(start=False)
    monkeypatch.setattr("umbel.worker.slots.decide", None)
    note.delay(1)
    with pytest.raises(TypeError, match="'NoneType' object is not callable"):
        worker.child.run()
    worker.thread = threading.Thread(target=lambda: None)
    until(lambda: not any(one.name.startswith("umbel-task") for one in threading.enumerate()))


@pytest.mark.parametrize("executor", ["threads", "asyncio"])
def test_what_was_terminated_and_goes_on_costs_no_other_its_outcome(
    app: Umbel, make: Make, note: Made, held: Made, gate: Gate
) -> None:
    """Its place is others' meanwhile, since its outcome is settled."""
    worker = make()
    ended = held.delay()
    gate.wait()
    ended.revoke(terminate=True)
    worker.page.tell_revocations(app.engines.state_store().version(REVOKED))
    until(lambda: ended.state == states.REVOKED)
    each_place = range(2 * worker.page.capacity)
    for number, result in [(number, note.delay(number)) for number in each_place]:
        assert got(result) == number
    gate.open()
    until(lambda: not worker.slots._terminations.watches)
    for number, result in [(number, note.delay(number)) for number in each_place]:
        assert got(result) == number
    assert ended.state == states.REVOKED
    assert not worker.left
