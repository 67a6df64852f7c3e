from __future__ import annotations

import socket
import threading
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import cast

import pytest

from tests.conftest import ManualClock
from tests.unit.worker.support import Made, delivery_of
from umbel import Umbel
from umbel.exceptions import LeaseLost, OperationalError
from umbel.message import Delivery
from umbel.ports import Consumer, FetchRequest, Settled, Settlement
from umbel.testing.conformance.support import until
from umbel.worker.child import Child
from umbel.worker.completing import Chords
from umbel.worker.courier import Courier
from umbel.worker.decide import Verdict, decide
from umbel.worker.execute import Runner
from umbel.worker.helper import LONG, Helper
from umbel.worker.outcome import Prepared, Run, Success, Waiting
from umbel.worker.page import Held, Page
from umbel.worker.settler import Settler


class Notes:
    """A consumer that writes down what it is asked to do, or raises."""

    def __init__(self) -> None:
        self.settled: list[list[str]] = []
        self.released: list[list[str]] = []
        self.interrupted = 0
        self.patient = True
        self.error: Exception | None = None

    def settle(
        self, settlements: Sequence[Settlement], fetch: FetchRequest | None = None
    ) -> Settled:
        self._answer()
        self.settled.append([item.delivery.key for item in settlements])
        return Settled()

    def release(self, keys: Collection[str]) -> int:
        self._answer()
        self.released.append(list(keys))
        return len(keys)

    def interrupt(self) -> None:
        self.interrupted += 1

    def _answer(self) -> None:
        if self.error is not None:
            raise self.error


#: Seconds that a test waits for what has to come.
SOON = 10.0


def nothing() -> None: ...


class AtOnce(Courier):
    """A courier without a thread: the errand is done when it returns."""

    def call(self) -> None:
        self._errand()


class Scene:
    """A child in the middle of a batch, and its helper. Nothing runs; the test says what is so."""

    def __init__(self, app: Umbel, clock: ManualClock, path: Path) -> None:
        app.clock = clock
        self.clock = clock
        self.notes = Notes()
        consumer = cast(Consumer, self.notes)
        self.page = Page.create(path)
        self.page.identify(1, 1.0, "owner")
        self.child = Child(
            app,
            ("celery",),
            "celery@host",
            1,
            self.page,
            lambda: Settler(app.broker, consumer, app.results),
        )
        self.child.attach()
        self.ours, theirs = socket.socketpair()
        self.left: list[int] = []
        self.helper = Helper(self.child, self.page, theirs, clock, self.left.append)
        self.helper._courier = AtOnce(self.helper.relieve, self.left.append)
        self._theirs = theirs
        self._task: Made = app.task(name="t")(nothing)
        self._runner = Runner(app, "celery@host")

    def prepared(self) -> Prepared:
        return self._runner.prepare(delivery_of(self._task))

    def batch(self, count: int) -> list[Delivery]:
        """Let a batch wait."""
        items = [self.prepared() for _ in range(count)]
        self.page.load([item.delivery.key for item in items])
        self.child.waiting.extend(Waiting(index, item) for index, item in enumerate(items))
        return [item.delivery for item in items]

    def start(self) -> None:
        """Let the next one run, beginning now."""
        item = self.child.waiting.popleft()
        self.child.current, self.child.started_at = item, self.clock.monotonic()
        self.page.start(item.index, self.child.started_at)

    def finish(self) -> None:
        """Let the running one end."""
        item = self.child.current
        assert item is not None
        run = Run(item.prepared, Success(1))
        self.child.finished.append(decide(run, self.child._app.conf.snapshot, self.clock))
        self.page.finish(item.index)
        self.child.current = None

    def look(self, later: float) -> None:
        """Let the helper look, some time later."""
        self.clock.now += later
        self.helper.step(self.clock.monotonic())

    def close(self) -> None:
        for end in (self.ours, self._theirs, self.helper._wake_in, self.helper._wake_out):
            end.close()
        self.page.close()


@pytest.fixture
def scene(app: Umbel, clock: ManualClock, tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(app, clock, tmp_path / "child.page")
    yield scene
    scene.close()


def keys(deliveries: Sequence[Delivery]) -> list[str]:
    return [delivery.key for delivery in deliveries]


def test_errbacks_of_a_chord_are_left_to_the_thread_that_runs_tasks(
    scene: Scene, app: Umbel
) -> None:
    called: list[str] = []

    @app.task(name="fail")
    def fail() -> None:
        raise ValueError("no")

    @app.task(name="tell")
    def tell(request: object, error: Exception, traceback: str) -> None:
        called.append(threading.current_thread().name)

    body = app.tasks["t"].si().on_error(tell.s())
    delivery = delivery_of(fail, chord=dict(body.set(task_id="b")), group_id="g", queue="q")
    store = app.result_store()
    store.open_group("g", 1, None)
    consumer = cast(Consumer, scene.notes)
    scene.child._settler = Settler(app.broker, consumer, store, Chords(app, store))
    (other,) = scene.batch(1)
    scene.start()
    scene.finish()
    run = scene._runner.run(scene._runner.prepare(delivery))
    scene.child.finished.appendleft(decide(run, app.conf.snapshot, scene.clock))
    scene.batch(1)
    scene.start()
    helper = threading.Thread(target=lambda: scene.look(LONG * 1.01))
    helper.start()
    helper.join()
    assert (called, scene.notes.settled) == ([], [[other.key]])
    assert [one.settlement.delivery for one in scene.child.finished] == [delivery]
    scene.child.settle_finished()
    assert called == [threading.current_thread().name]
    assert scene.notes.settled == [[other.key], [delivery.key]]
    assert not scene.child.finished


@pytest.mark.parametrize("stops", [False, True])
def test_what_is_left_to_the_thread_is_not_asked_for_again(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, stops: bool
) -> None:
    tries = []

    def settle(
        verdicts: Sequence[Verdict], fetch: FetchRequest | None, hold: list[Verdict] | None
    ) -> Sequence[Delivery]:
        tries.append(len(verdicts))
        if hold is not None:
            hold += verdicts
        return ()

    monkeypatch.setattr(scene.child.settler, "settle", settle)
    scene.batch(3)
    scene.start()
    scene.finish()
    scene.start()
    if stops:
        scene.child.stopping.set()
    for _ in range(10):
        scene.look(LONG)
    assert tries == [1]
    assert len(scene.child.finished) == 1
    scene.finish()
    scene.child.settle_finished()
    assert (tries, len(scene.child.finished)) == ([1, 2], 0)


def test_what_cannot_be_settled_is_not_asked_for_again_while_the_child_stops(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = []

    def settle(*_: object) -> Sequence[Delivery]:
        tries.append(1)
        raise ValueError("a bug")

    monkeypatch.setattr(scene.child.settler, "settle", settle)
    scene.batch(2)
    scene.start()
    scene.finish()
    scene.start()
    scene.child.stopping.set()
    for _ in range(10):
        scene.look(LONG)
    assert (len(tries), len(scene.child.finished)) == (1, 1)


def test_a_long_task_is_relieved_of_all_around_it(scene: Scene) -> None:
    done, running, *waiting = scene.batch(4)
    scene.start()
    scene.finish()
    scene.start()
    scene.look(LONG * 1.01)
    assert scene.notes.settled == [[done.key]]
    assert sorted(scene.notes.released[0]) == sorted(keys(waiting))
    assert not scene.child.waiting
    assert not scene.child.finished
    found = scene.page.read()
    assert found is not None
    assert found.held == {done.key: Held.FINISHED, running.key: Held.RUNNING}


def test_not_before_it_is_long(scene: Scene) -> None:
    scene.batch(2)
    scene.start()
    scene.look(0)
    scene.look(LONG * 0.9)
    assert (scene.notes.settled, scene.notes.released) == ([], [])
    scene.look(LONG * 0.2)
    assert len(scene.notes.released) == 1


def test_once_for_each_task(scene: Scene) -> None:
    scene.batch(2)
    scene.start()
    for _ in range(10):
        scene.look(LONG)
    assert len(scene.notes.released) == 1
    scene.finish()
    scene.batch(2)
    scene.start()
    for _ in range(10):
        scene.look(LONG)
    assert len(scene.notes.released) == 2


def test_nothing_around_it_is_nothing_to_do(scene: Scene) -> None:
    scene.batch(1)
    scene.start()
    scene.look(LONG * 2)
    assert (scene.notes.settled, scene.notes.released) == ([], [])


def test_nothing_running_is_nothing_to_do(scene: Scene) -> None:
    scene.batch(2)
    scene.look(LONG * 2)
    assert scene.notes.released == []


def test_it_asks_again_when_the_lock_is_taken(scene: Scene) -> None:
    scene.batch(2)
    scene.start()
    with scene.child.lock:
        for _ in range(3):
            scene.look(LONG)
        assert scene.notes.released == []
    scene.look(LONG)
    assert len(scene.notes.released) == 1


def test_it_asks_again_when_the_broker_does_not_answer(scene: Scene) -> None:
    done, _, waiting = scene.batch(3)
    scene.start()
    scene.finish()
    scene.start()
    scene.notes.error = OperationalError("away")
    for _ in range(3):
        scene.look(LONG)
    assert len(scene.child.finished) == len(scene.child.waiting) == 1
    scene.notes.error = None
    scene.look(LONG)
    assert (scene.notes.settled, scene.notes.released) == ([[done.key]], [[waiting.key]])


def test_a_silent_broker_does_not_keep_it_from_looking(scene: Scene) -> None:
    """Time limits pass, and the supervisor speaks, while the broker is waited for."""
    scene.batch(2)
    scene.start()
    asked, silence, answered = threading.Event(), threading.Event(), threading.Event()

    def release(keys: Collection[str]) -> int:
        asked.set()
        silence.wait(SOON)
        answered.set()
        return len(keys)

    scene.notes.release = release  # type: ignore[method-assign]
    scene.helper._courier = Courier(scene.helper.relieve, scene.left.append)
    scene.look(LONG * 1.01)
    assert asked.wait(SOON)
    scene.look(LONG)
    scene.look(LONG)
    assert not answered.is_set()
    silence.set()
    scene.helper._courier.end()
    assert answered.is_set()
    assert not scene.child.waiting


def test_lost_leases_are_left_to_the_main_thread(scene: Scene) -> None:
    scene.batch(3)
    scene.start()
    scene.finish()
    scene.start()
    scene.notes.error = LeaseLost("gone")
    scene.look(LONG * 2)
    scene.notes.error = None
    scene.look(LONG * 2)
    assert (scene.notes.settled, scene.notes.released) == ([], [])
    assert scene.child.finished


def test_each_look_is_a_heartbeat(scene: Scene) -> None:
    scene.look(5.0)
    found = scene.page.read()
    assert found is not None
    assert found.heartbeat == scene.clock.monotonic()


def test_a_batch_wakes_a_helper_that_sleeps_and_costs_nothing_otherwise(scene: Scene) -> None:
    scene.helper._wake_out.setblocking(False)
    scene.child.on_batch()
    with pytest.raises(BlockingIOError):
        scene.helper._wake_out.recv(1)
    scene.helper._asleep = True
    scene.child.on_batch()
    scene.child.on_batch()
    assert scene.helper._wake_out.recv(10) == b"!"


def test_one_that_was_woken_stays_awake_for_some_time(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So short tasks, of which no look sees one run, do not wake it each."""
    monkeypatch.setattr("umbel.worker.helper.QUIET_LOOKS", 5)
    looks: list[float] = []
    monkeypatch.setattr(scene.helper, "step", looks.append)
    scene.helper.start()
    until(lambda: scene.helper._asleep)
    before = len(looks)
    scene.child.on_batch()
    until(lambda: scene.helper._asleep and len(looks) > before)
    assert len(looks) - before > 5
    scene.helper.end()


def test_the_end_of_the_supervisor(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    """It is told by the end of the pipe; the running task is given a moment and is then given up."""
    done, running, waiting = scene.batch(3)
    scene.start()
    scene.finish()
    scene.start()
    scene.ours.close()
    before = scene.clock.monotonic()
    scene.helper.run()
    assert scene.left == [1]
    assert scene.child.stopping.is_set()
    assert scene.notes.interrupted == 1
    assert scene.notes.released == [[waiting.key]]
    assert scene.notes.settled == [[done.key], [running.key]]
    assert scene.clock.monotonic() - before >= 1.0
    assert "The supervisor is gone: handing back and leaving." in caplog.messages
    assert any("runs again: its supervisor died" in said for said in caplog.messages)


def test_the_end_of_supervisor_and_broker(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    scene.batch(2)
    scene.start()
    scene.notes.error = OperationalError("away too")
    scene.ours.close()
    scene.helper.run()
    assert scene.left == [1]
    assert "Could not hand back; the leases end by themselves. away too" in caplog.messages


def test_a_word_from_the_supervisor_stops_the_child(scene: Scene) -> None:
    *_, waiting = scene.batch(2)
    scene.start()
    scene.ours.send(b"stop")
    scene.ours.shutdown(socket.SHUT_WR)
    scene.helper.run()
    assert scene.child.stopping.is_set()
    assert not scene.notes.patient
    assert scene.notes.released == [[waiting.key]]
