"""The supervisor's thread, step by step and without children."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import ManualClock
from tests.unit.worker.support import consumer_of
from umbel import Umbel
from umbel.clock import unique_id
from umbel.exceptions import OperationalError
from umbel.ports import Owner
from umbel.testing.conformance.support import until
from umbel.worker.attempts import SILENT
from umbel.worker.bootstrap import Orders, Source
from umbel.worker.children import ChildProcess
from umbel.worker.ending import LAST_TRIES
from umbel.worker.forkserver import READY, RETIRES
from umbel.worker.health import HANGS, judge
from umbel.worker.keeper import CALM_TICK, TICK, Keeper
from umbel.worker.nodes import NodeDirectory
from umbel.worker.places import GIVE_UP, GaveUp, Slot
from umbel.worker.processes import start_time
from umbel.worker.recovery import Recovery
from umbel.worker.settler import Settler


@pytest.fixture
def keeper(app: Umbel, tmp_path: Path) -> Iterator[Keeper]:
    orders = Orders(Source("app", "/", {}), ("celery",), "celery@host", "node", 1, "INFO")
    recovery = Recovery(app, app.broker, lambda: Settler(app.broker, consumer_of(app), app.results))
    directory = NodeDirectory(tmp_path, "node")
    directory.enter("")
    keeper = Keeper(app, orders, app.broker, app.results, recovery, directory, None)
    yield keeper
    keeper.close()
    recovery.close()
    directory.leave()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OperationalError("away"), "The broker does not answer the supervisor"),
        (RuntimeError("mine"), "The supervisor failed at"),
    ],
)
def test_a_complaint_is_made_once_though_other_duties_work(
    keeper: Keeper, caplog: pytest.LogCaptureFixture, error: Exception, said: str
) -> None:
    works = [False]

    def duty() -> None:
        if not works[0]:
            raise error

    def other() -> None: ...

    def told() -> int:
        return sum(said in text for text in caplog.messages)

    for _ in range(3):
        assert not keeper._try(duty)
        assert keeper._try(other)
    assert told() == 1
    works[0] = True
    assert keeper._try(duty)
    works[0] = False
    assert not keeper._try(duty)
    assert told() == 2


def test_a_broker_that_is_away_is_told_of_once_by_all_duties(
    keeper: Keeper, caplog: pytest.LogCaptureFixture
) -> None:
    away = True

    def one() -> None:
        if away:
            raise OperationalError("away")

    def other() -> None:
        one()

    for _ in range(2):
        assert not keeper._try(one)
        assert not keeper._try(other)
    away = False
    assert keeper._try(one)
    assert len(caplog.messages) == 1
    assert keeper._try(other)
    assert keeper._try(other)
    assert [text.partition(" the supervisor")[0] for text in caplog.messages] == [
        "The broker does not answer",
        "The broker answers",
    ]


def test_leases_are_renewed_with_the_next_step_where_that_failed(
    keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    renew = keeper._broker.renew

    def fail(node: str, ttl: float) -> frozenset[str]:
        asked.append(node)
        if len(asked) < 3:
            raise OperationalError("away")
        return renew(node, ttl)

    monkeypatch.setattr(keeper._broker, "renew", fail)
    now = keeper._clock.monotonic()
    for _ in range(5):
        keeper.step(now)
    assert len(asked) == 3


def test_it_looks_less_often_while_nothing_goes_on(
    keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = keeper._clock.monotonic()
    keeper.step(now)
    assert keeper._pause() == CALM_TICK

    def fail() -> list[Owner]:
        raise OperationalError("away")

    with monkeypatch.context() as patch:
        patch.setattr(keeper._broker, "expired", fail)
        keeper.step(now + 1.1)
    assert keeper._pause() == TICK
    keeper.step(now + 2.2)
    assert keeper._pause() == CALM_TICK


def test_while_nothing_goes_on_it_steps_only_for_what_is_due(keeper: Keeper) -> None:
    now = keeper._clock.monotonic()
    assert not keeper._is_idle(now)
    keeper.step(now)
    assert keeper._is_idle(now + 0.5)
    assert not keeper._is_idle(now + 1.5)
    keeper.step(now + 1.5)
    assert keeper._is_idle(now + 2.0)
    keeper.stop()
    assert not keeper._is_idle(now + 2.0)


def test_probes_see_when_the_broker_answered_last(
    keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = keeper._clock.monotonic()
    keeper.step(now)
    seen = keeper.seen
    assert seen is not None
    assert seen.contact is not None
    assert now <= seen.contact <= seen.step
    assert (seen.started, seen.stopping, seen.children, seen.asks) == (True, False, (), True)

    def fail(*_: object) -> list[Owner]:
        raise OperationalError("away")

    monkeypatch.setattr(keeper._broker, "expired", fail)
    monkeypatch.setattr(keeper._broker, "renew", fail)
    keeper.step(now + 100.0)
    assert keeper.seen is not None
    assert keeper.seen is not seen
    assert keeper.seen.contact == seen.contact


def test_a_keeper_that_waits_for_a_silent_broker_with_each_duty_does_not_hang(
    app: Umbel, keeper: Keeper, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    app.clock = keeper._clock = keeper._attempts._clock = clock
    keeper.step(clock.monotonic())
    judged: list[bool] = []

    def wait(*_: object) -> None:
        clock.now += HANGS * 0.6
        judged.append(judge(keeper.seen, clock.monotonic(), 15.0).live)
        raise OperationalError("silent")

    for name in ("renew", "expired"):
        monkeypatch.setattr(keeper._broker, name, wait)
    monkeypatch.setattr(keeper._recovery, "nodes_died", wait)
    clock.now += 6.0
    keeper.step(clock.monotonic())
    assert len(judged) > 1
    assert all(judged)


def test_it_ends_when_it_is_told_to(keeper: Keeper) -> None:
    ended: list[bool] = []
    keeper.on_end = lambda: ended.append(True)
    keeper.start()
    assert keeper.news.heard()
    assert keeper.is_ready  # there are no children to wait for
    keeper.stop()
    assert until(lambda: not keeper.news.heard())
    assert keeper.join(20.0)
    assert (ended, keeper.error) == ([True], None)


def test_it_begins_with_a_step_and_not_by_waiting(
    keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node whose children are started with its second step takes as long as a step to start."""
    did: list[str] = []

    def wait() -> bool:
        did.append("wait")
        keeper.stop()
        return True

    monkeypatch.setattr(keeper, "step", lambda now: did.append("step"))
    monkeypatch.setattr(keeper, "_wait", wait)
    keeper._run()
    assert did[:2] == ["step", "wait"]


@pytest.fixture
def retiring(keeper: Keeper) -> Iterator[tuple[Slot, ChildProcess, socket.socket]]:
    """A slot with a child that says that it retires."""
    page = keeper._directory.new_page(unique_id())
    page.identify(os.getpid(), start_time(os.getpid()), "retired")
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    slot = Slot(1)
    slot.child = child = ChildProcess(1, page, ours, begun=0.0, pid=os.getpid())
    keeper._slots.append(slot)
    theirs.send(READY)
    theirs.send(RETIRES)
    with ours, theirs:
        yield slot, child, theirs


def test_the_next_child_may_begin_while_one_leaves(
    keeper: Keeper,
    retiring: tuple[Slot, ChildProcess, socket.socket],
    caplog: pytest.LogCaptureFixture,
) -> None:
    slot, child, _ = retiring
    keeper._hear(child)
    assert (child.ready, child.retires, child.hung_up) == (True, True, False)
    now = keeper._clock.monotonic()
    keeper.step(now)
    assert (slot.child, slot.expects, keeper._is_empty()) == (None, True, False)
    assert keeper.pages() == [child.page]  # what still runs in it has its limits
    keeper._ending.ask(None, now)
    keeper.step(now)
    assert child.told_to_stop
    child.told_to_stop, child.status = False, 0
    keeper.step(now)
    assert keeper._is_empty()
    assert not child.page.path.exists()
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


@pytest.mark.parametrize(("status", "errors"), [(0, 0), (-9, 1)])
def test_the_last_word_of_a_dead_child_is_heard(
    keeper: Keeper,
    retiring: tuple[Slot, ChildProcess, socket.socket],
    caplog: pytest.LogCaptureFixture,
    status: int,
    errors: int,
) -> None:
    slot, child, _ = retiring
    child.status = status
    keeper.step(keeper._clock.monotonic())
    assert (slot.child, slot.expects) == (None, not errors)
    assert [record.levelname for record in caplog.records].count("ERROR") == errors


@pytest.mark.parametrize(
    ("replaces", "expected", "level", "said"),
    [
        (False, False, "INFO", "Child 1: pid {}."),
        (True, False, "WARNING", "Child 1: pid {} takes its place."),
        (True, True, "INFO", "Child 1: pid {} takes its place."),
    ],
)
def test_a_child_that_begins_is_told_of_and_warned_of_where_another_one_died(
    keeper: Keeper,
    retiring: tuple[Slot, ChildProcess, socket.socket],
    caplog: pytest.LogCaptureFixture,
    replaces: bool,
    expected: bool,
    level: str,
    said: str,
) -> None:
    caplog.set_level("INFO", "umbel.worker")
    keeper.is_ready = True
    _, child, _ = retiring
    child.replaces, child.expected = replaces, expected
    keeper._hear(child)
    (record,) = caplog.records
    assert (record.levelname, record.getMessage()) == (level, said.format(child.pid))


class Nursing:
    """Starts a child and is told to stop meanwhile, or cannot start any."""

    failures = 0

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        self.started: list[int] = []

    def is_ready(self) -> bool:
        return True

    def start(self, number: int, *_: object) -> ChildProcess:
        self.started.append(number)
        self._keeper.stop()
        raise OSError("too many processes")


def test_no_more_children_are_started_by_a_keeper_that_is_to_stop(keeper: Keeper) -> None:
    nursing = Nursing(keeper)
    keeper._nursery = nursing  # type: ignore[assignment]
    keeper._slots = [Slot(number) for number in range(1, 401)]
    keeper.step(keeper._clock.monotonic())
    assert nursing.started == [1]


def test_a_child_that_was_killed_for_its_task_does_not_stumble(
    keeper: Keeper,
    retiring: tuple[Slot, ChildProcess, socket.socket],
    caplog: pytest.LogCaptureFixture,
) -> None:
    slot, child, _ = retiring
    child.control.recv(64)
    child.page.condemn("key")
    child.status = -9
    keeper.step(child.begun + 0.1)
    assert (slot.child, slot.short_lives, slot.not_before) == (None, 0, 0.0)
    said = f"Child 1: pid {os.getpid()} was killed: its task exceeded the hard time limit."
    assert (said in caplog.messages, "ended with" in caplog.text) == (True, False)


@pytest.mark.parametrize("neighbour", [True, False])
def test_it_gives_up_when_child_after_child_dies_at_once(
    keeper: Keeper, caplog: pytest.LogCaptureFixture, neighbour: bool
) -> None:
    """Unless another one can work."""
    slot, now = Slot(1), keeper._clock.monotonic()
    keeper._slots.append(slot)
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    if neighbour:
        other = Slot(2)
        page = keeper._directory.new_page(unique_id())
        other.child = ChildProcess(2, page, ours, begun=now, ready=True)
        keeper._slots.append(other)
    pauses = []
    for number in range(GIVE_UP):
        assert not keeper.stopping
        page = keeper._directory.new_page(unique_id())
        slot.child = ChildProcess(
            1, page, theirs.dup(), begun=now, pid=4711, hung_up=True, status=1
        )
        now += 10.0  # it took so long to come to nothing
        keeper.step(now)
        pauses.append(slot.not_before - now)
        assert slot.failures == number + 1
    assert pauses == sorted(pauses)
    assert "It had not begun to take messages: the next one begins in 0.2 s." in caplog.text
    assert keeper.stopping is isinstance(keeper.error, GaveUp) is not neighbour
    if keeper.error is not None:
        said = f"{GIVE_UP} children in a row died before they took messages. The last one: pid 4711 ended"
        assert str(keeper.error).startswith(said)
    keeper._slots.clear()
    ours.close()
    theirs.close()


@pytest.mark.parametrize("cold", [True, False])
def test_a_stop_does_not_wait_long_for_what_cannot_be_taken_over(
    keeper: Keeper, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, cold: bool
) -> None:
    page = keeper._directory.new_page(unique_id())
    page.identify(os.getpid(), 1.0, "dead")
    ours, theirs = socket.socketpair()
    keeper._dead.append(ChildProcess(1, page, ours, begun=0.0, status=-9))
    tried: list[str] = []

    def refuse(owner: str, *_: object) -> None:
        tried.append(owner)
        raise RuntimeError("no")

    monkeypatch.setattr(keeper._recovery, "child_died", refuse)
    keeper.start()
    keeper.stop()
    until(lambda: len(tried) > 1)  # the warm one waits a little
    if cold:
        keeper.stop(0.0)
    else:
        monkeypatch.setattr("umbel.worker.keeper.LAST_TRIES", 0.0)
    assert keeper.join(20.0)
    assert keeper.error is None
    assert "what dead children (1) held was taken over" in caplog.text
    ours.close()
    theirs.close()
    page.remove()


@pytest.fixture
def silent(keeper: Keeper, monkeypatch: pytest.MonkeyPatch, clock: ManualClock) -> list[str]:
    """A broker that leaves everything unanswered, and the names of what it was asked."""
    asked: list[str] = []
    monkeypatch.setattr(keeper._attempts, "_clock", clock)

    def asking(name: str) -> Callable[..., object]:
        def ask(*_: object) -> object:
            asked.append(name)
            clock.sleep(SILENT)
            raise OperationalError("silent")

        return ask

    monkeypatch.setattr(keeper._broker, "renew", asking("renew"))
    monkeypatch.setattr(keeper._broker, "expired", asking("expired"))
    monkeypatch.setattr(keeper._recovery, "child_died", asking("child_died"))
    return asked


def test_a_child_is_told_to_stop_while_the_keeper_waits_for_a_silent_broker(
    keeper: Keeper, retiring: tuple[Slot, ChildProcess, socket.socket]
) -> None:
    """Without a step of its thread."""
    _, child, theirs = retiring
    keeper.stop()
    keeper.stop()
    assert child.told_to_stop
    assert theirs.recv(64).split() == [b"stop"]


@pytest.mark.parametrize(
    ("runs", "first", "later"),
    [(True, ["renew"], ["renew"]), (False, ["renew"], ["child_died"])],
)
def test_a_node_that_stops_waits_for_a_silent_broker_once_in_a_step(
    keeper: Keeper,
    retiring: tuple[Slot, ChildProcess, socket.socket],
    silent: list[str],
    runs: bool,
    first: list[str],
    later: list[str],
) -> None:
    """Every wait may take seconds; but the leases of what runs are tried for."""
    slot, child, _ = retiring
    child.retires = False
    child.control.recv(64)
    now = keeper._clock.monotonic()
    keeper.step(now)
    assert silent == ["renew", "expired"]  # it goes on: each is tried
    keeper.stop()
    if runs:
        child.page.load(["key"])
        child.page.start(0, now)
    silent.clear()
    keeper.step(now + 100.0)
    assert silent == first
    if not runs:
        child.status = 0
    silent.clear()
    keeper.step(now + 200.0)
    assert silent == later
    if not runs:
        assert not keeper._is_empty()
        keeper._ending.alone_since = keeper._clock.monotonic() - LAST_TRIES
        assert keeper._is_empty()
        assert keeper.is_cut_off
    slot.child = None
    child.page.remove()


def test_a_node_that_stops_takes_over_from_all_dead_children_though_one_is_refused(
    keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as where a key of one holds something else: what costs no time keeps nobody waiting."""
    owners = ["one", "other"]
    for number, owner in enumerate(owners):
        page = keeper._directory.new_page(unique_id())
        page.identify(os.getpid(), 1.0, owner)
        ours, theirs = socket.socketpair()
        theirs.close()
        keeper._dead.append(ChildProcess(number, page, ours, begun=0.0, status=-9))
    child = keeper._dead[0]
    asked: list[str] = []

    def child_died(owner: str, *_: object) -> None:
        asked.append(owner)
        if owner == owners[0]:
            raise OperationalError("refused")

    monkeypatch.setattr(keeper._recovery, "child_died", child_died)
    keeper.stop()
    keeper.step(keeper._clock.monotonic())
    assert asked == owners
    assert keeper._dead == [child]
    assert not keeper.is_cut_off
    child.control.close()
    child.page.remove()


def test_who_could_not_tidy_up_before_it_was_told_to_stop_is_not_cut_off(
    keeper: Keeper, monkeypatch: pytest.MonkeyPatch, clock: ManualClock
) -> None:
    """It gives back what it holds: the broker answers, whatever a store did a while ago."""

    def cleanup() -> int:
        clock.sleep(SILENT)
        raise OperationalError("silent")

    now = keeper._clock.monotonic()
    monkeypatch.setattr(keeper._attempts, "_clock", clock)
    monkeypatch.setattr(keeper._results, "cleanup", cleanup)
    keeper._clean_up.due = now
    keeper.step(now)
    assert keeper._attempts.are_owed
    keeper.stop()
    keeper.step(now + 0.1)
    assert not keeper.is_cut_off
