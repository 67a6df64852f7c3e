from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.conftest import ManualClock, calls
from tests.unit.beat.test_persistent import START, TwoClocks
from umbel import Umbel, signals
from umbel.beat import EmbeddedService, PersistentScheduler, ScheduleEntry, Scheduler, Service
from umbel.beat.leader import ASK, DISTRUST, LEASE, PROLONG, Leadership
from umbel.beat.service import beside, scheduler_class
from umbel.exceptions import ImproperlyConfigured, OperationalError
from umbel.ports import StateStore
from umbel.testing.conformance.support import until


class Holds:
    """The leases of a state store, by a test's clock; `away` is when it does not answer."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.owner, self.term, self.ends = "", 0, 0.0
        self.away = False
        self.takes = 0.0

    def hold(self, name: str, owner: str, ttl: float) -> int | None:
        if self.away:
            raise OperationalError("It is away.")
        self.clock.sleep(self.takes)
        if owner != self.owner and self.clock.monotonic() < self.ends:
            return None
        if owner != self.owner or self.clock.monotonic() >= self.ends:
            self.term += 1
        self.owner, self.ends = owner, self.clock.monotonic() + ttl
        return self.term

    def let_go(self, name: str, owner: str) -> bool:
        if self.away:
            raise OperationalError("It is away.")
        self.ends = 0.0
        return True


@pytest.fixture
def clock() -> TwoClocks:
    return TwoClocks()


@pytest.fixture
def holds(clock: TwoClocks) -> Holds:
    return Holds(clock)


def beat(holds: Any, owner: str, clock: TwoClocks) -> Leadership:
    return Leadership(holds, "beat", owner, clock)


# Who leads


def test_one_leads_and_another_takes_over_in_time(holds: Holds, clock: TwoClocks) -> None:
    first, second = beat(holds, "a", clock), beat(holds, "b", clock)
    for _ in range(20):
        assert [first.leads(), second.leads()] == [True, False]
        clock.sleep(min(first.wait(), second.wait()))
    assert first.term == 1
    died = clock.elapsed  # the first is not asked any more
    while not second.leads():
        clock.sleep(second.wait())
    assert clock.elapsed - died <= LEASE + ASK < 5
    assert second.term == 2


def test_who_leaves_need_not_be_waited_for(holds: Holds, clock: TwoClocks) -> None:
    first, second = beat(holds, "a", clock), beat(holds, "b", clock)
    assert [first.leads(), second.leads()] == [True, False]
    first.leave()
    clock.sleep(second.wait())
    assert [first.term, second.leads()] == [None, True]


def test_a_leader_stops_before_its_lease_may_end(
    holds: Holds, clock: TwoClocks, caplog: pytest.LogCaptureFixture
) -> None:
    leader = beat(holds, "a", clock)
    assert leader.leads()
    holds.away = True
    stopped = 0.0
    while clock.elapsed < 10:
        clock.sleep(max(leader.wait(), 0.01))
        if not leader.leads() and not stopped:
            stopped = clock.elapsed
    assert LEASE - DISTRUST <= stopped < LEASE
    holds.away = False
    clock.sleep(ASK)
    assert leader.leads()
    assert leader.term == 2
    said = [one.message for one in caplog.records]
    assert said == [
        "beat: It is away. Asking again until it answers.",
        "beat: The state store does not answer; another one may send.",
        "beat: The state store answers again.",
    ]


def test_an_answer_that_comes_too_late_is_no_other_outage(
    holds: Holds, clock: TwoClocks, caplog: pytest.LogCaptureFixture
) -> None:
    leader = beat(holds, "a", clock)
    assert leader.leads()
    holds.away = True
    clock.sleep(LEASE)
    assert not leader.leads()
    holds.away, holds.takes = False, LEASE
    clock.sleep(ASK)
    assert not leader.leads()
    holds.takes = 0.0
    assert leader.leads()
    assert [one.message for one in caplog.records] == [
        "beat: It is away. Asking again until it answers.",
        "beat: The state store does not answer; another one may send.",
        "beat: The state store answers again.",
    ]


def test_who_was_frozen_asks_before_it_does_anything(holds: Holds, clock: TwoClocks) -> None:
    first, second = beat(holds, "a", clock), beat(holds, "b", clock)
    assert first.leads()
    clock.sleep(30)
    assert second.leads()
    assert not first.leads()


def test_without_a_store_it_always_leads(clock: TwoClocks) -> None:
    alone = Leadership(None, "beat", "a", clock)
    assert alone.leads()
    assert alone.wait() == PROLONG
    alone.leave()


# The service


@pytest.fixture
def app(app: Umbel, clock: TwoClocks) -> Umbel:
    app.clock = clock

    @app.task(name="note")
    def note(what: Any = None) -> Any:
        return what

    app.conf.beat_schedule = {"a": {"task": "note", "schedule": 10.0, "args": ("a",)}}
    return app


def play(clock: TwoClocks, seconds: float, *services: Service) -> None:
    """Let services step for some seconds."""
    end = clock.elapsed + seconds
    while clock.elapsed < end:
        waits = [service.step() for service in services]
        clock.sleep(max(min(*waits, end - clock.elapsed) if waits else 0.0, 0.001))


def led_by(service: Service, holds: Any) -> Service:
    service._leadership = Leadership(holds, "beat", str(id(service)), service.app.clock)
    return service


def test_one_of_several_sends_and_another_takes_over(
    app: Umbel, clock: TwoClocks, holds: Holds, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        first, second = (led_by(Service(app), holds) for _ in range(2))
        play(clock, 25, first, second)
        assert len(calls(app)) == 2
        play(clock, 20, second, second)  # the first was killed
        assert len(calls(app)) == 4
        play(clock, 20, first, second)  # and comes back, as if it had been frozen
    assert len(calls(app)) == 6
    turns = [one.message for one in caplog.records if "turn" in one.message]
    assert turns == [
        "beat: Another one sends what is due. This one waits for its turn.",
        "beat: It is this one's turn to send what is due.",
        "beat: Another one sends what is due. This one waits for its turn.",
    ]


def test_while_the_store_is_away_nobody_is_said_to_lead(
    app: Umbel, clock: TwoClocks, holds: Holds, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        first, second = (led_by(Service(app), holds) for _ in range(2))
        play(clock, 15, first)
        before = first.scheduler
        holds.away = True
        play(clock, 10, first)
        holds.away = False
        play(clock, 10, second)
        play(clock, 10, first, second)
        play(clock, 10, first)
    assert first.scheduler is not before
    assert [one.message for one in caplog.records if one.message.startswith("beat: ")] == [
        "beat: It is away. Asking again until it answers.",
        "beat: The state store does not answer; another one may send.",
        "beat: The state store answers again.",
        "beat: Another one sends what is due. This one waits for its turn.",
        "beat: It is this one's turn to send what is due.",
    ]


class Plain(Scheduler):
    """A scheduler of somebody's own, which does not know of leases."""

    made = 0

    def setup_schedule(self) -> None:
        type(self).made += 1
        super().setup_schedule()


def test_a_scheduler_of_ones_own_is_made_anew_for_each_turn(
    app: Umbel, clock: TwoClocks, holds: Holds
) -> None:
    Plain.made = 0
    first, second = (led_by(Service(app, scheduler_cls=Plain), holds) for _ in range(2))
    play(clock, 25, first, second)
    assert (len(calls(app)), Plain.made) == (2, 1)
    play(clock, 30, second, second)
    assert Plain.made == 2
    assert len(calls(app)) == 4


def test_a_change_is_heard_of_before_the_next_entry_is_due(
    app: Umbel, clock: TwoClocks, holds: Holds
) -> None:
    app.conf.beat_schedule = {}
    service = led_by(Service(app), holds)
    play(clock, 5, service, service)
    service.scheduler.store.say("new", {"task": "note", "schedule": {"every": 2}})
    play(clock, 8, service, service)
    assert len(calls(app)) == 3


def test_the_lease_is_kept_while_a_step_takes_long(
    app: Umbel, clock: TwoClocks, holds: Holds, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = led_by(Service(app), holds)
    play(clock, 5, service, service)
    kept: list[float] = []
    assert service._leadership is not None

    @contextmanager
    def keep() -> Iterator[None]:
        kept.append(clock.elapsed)
        yield

    monkeypatch.setattr(service._leadership, "kept", keep)
    play(clock, 10, service, service)
    assert kept == []
    service.scheduler.sender.patience = 4.0
    play(clock, 10, service, service)
    assert kept


def test_a_step_that_fails_does_not_end_it(
    app: Umbel, clock: TwoClocks, holds: Holds, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(Plain):
        fails = 2

        def tick(self) -> float:
            if self.fails:
                self.fails -= 1
                raise (OperationalError("away") if self.fails else ValueError("wrong"))
            return super().tick()

    service = led_by(Service(app, scheduler_cls=Failing), holds)
    play(clock, 30, service, service)
    assert len(calls(app)) == 2
    errors = [one.message for one in caplog.records if one.levelno == logging.ERROR]
    assert errors == [
        "beat: away It is tried again in 1 s.",
        "beat: This step failed; the next one is made in 5 s.",
    ]


def test_without_a_state_store_only_schedulers_of_ones_own_run(
    app: Umbel, clock: TwoClocks, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    engine = app.engine(app.broker_url)
    monkeypatch.setattr(type(engine), "state", None)
    with pytest.raises(ImproperlyConfigured, match="Set state_url"):
        Service(app).step()
    service = Service(app, scheduler_cls=Plain)
    play(clock, 15, service, service)
    assert len(calls(app)) == 1
    assert "Until then only one beat may run." in caplog.text


def test_classes_are_found_by_celerys_names_and_by_packages_own() -> None:
    names = ["celery.beat:PersistentScheduler", "celery.beat.PersistentScheduler"]
    assert [scheduler_class(name) for name in names] == [PersistentScheduler] * 2
    assert scheduler_class(f"{__name__}:Plain") is scheduler_class(Plain) is Plain
    with pytest.raises(ImproperlyConfigured, match=r"nowhere:Nothing"):
        scheduler_class("nowhere:Nothing")


# As a whole


@pytest.fixture
def heard() -> Iterator[list[tuple[str, Any]]]:
    found: list[tuple[str, Any]] = []

    def init(sender: Any, **_: Any) -> None:
        found.append(("beat_init", sender))

    def embedded(sender: Any, **_: Any) -> None:
        found.append(("beat_embedded_init", sender))

    signals.beat_init.connect(init)
    signals.beat_embedded_init.connect(embedded)
    yield found
    signals.beat_init.disconnect(init)
    signals.beat_embedded_init.disconnect(embedded)


@pytest.fixture
def real(memory: str) -> Umbel:
    app = Umbel(broker=memory)

    @app.task(name="note")
    def note() -> None: ...

    app.conf.beat_schedule = {"a": {"task": "note", "schedule": 0.05}}
    return app


def test_it_runs_until_it_is_stopped(
    real: Umbel, heard: list[tuple[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    real.conf.beat_schedule["bad"] = {"task": "", "schedule": 3600}
    service = Service(real)
    with caplog.at_level(logging.INFO):
        thread = threading.Thread(target=service.start)
        thread.start()
        until(lambda: len(calls(real)) >= 3)
        service.stop(wait=True)
        thread.join(10)
    assert heard == [("beat_init", service)]
    assert caplog.messages[0] == "beat: Starting..."
    assert caplog.messages[1].startswith("The periodic task 'bad' has '' as its task")
    assert caplog.messages[-1] == "beat: Shutting down..."
    # The lease is free at once.
    assert service._leadership is not None
    state: StateStore = real.engines.state_store()
    assert state.hold("beat:beat", "another", 1.0) is not None


def test_a_signal_ends_it_at_whatever_point_of_its_waiting_it_comes(real: Umbel) -> None:
    """As a handler does, which runs in the thread that waits, in the midst of a line."""
    for number in range(24):
        service = Service(real)
        left = [number]

        def line(
            frame: Any, event: str, argument: Any, service: Any = service, left: Any = left
        ) -> Any:
            if event == "line" and left:
                left[0] -= 1
                if left[0] < 0:
                    left.clear()
                    service.stop()
            return line

        def wait(service: Any = service, line: Any = line) -> None:
            sys.settrace(line)
            while not service._shutdown.is_set():
                service._shutdown.wait(0.0)

        thread = threading.Thread(target=wait, daemon=True)
        thread.start()
        thread.join(5)
        assert not thread.is_alive(), f"at line {number}"


def test_beside_a_worker_it_ends_when_that_begins_to_stop(
    real: Umbel, heard: list[tuple[str, Any]]
) -> None:
    with beside(real):
        until(lambda: len(calls(real)) >= 2)
        assert [name for name, _ in heard] == ["beat_init", "beat_embedded_init"]
        thread = next(one for one in threading.enumerate() if one.name == "Beat")
        signals.worker_shutting_down.send("node", sig="SIGTERM", how="Warm", exitcode=0)
        thread.join(10)
        assert not thread.is_alive()
    assert isinstance(thread, EmbeddedService)


def test_what_keeps_it_from_starting_is_said_where_it_is_started(
    real: Umbel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(real.engine(real.broker_url)), "state", None)
    with pytest.raises(ImproperlyConfigured, match="state_url"), beside(real):
        pass


def test_a_receiver_that_raises_ends_it(real: Umbel, caplog: pytest.LogCaptureFixture) -> None:
    service = Service(real, scheduler_cls="nowhere.Nothing")
    with pytest.raises(ImproperlyConfigured):
        service.start()
    service.stop(wait=True)


def test_entries_have_what_celerys_have(app: Umbel) -> None:
    scheduler = PersistentScheduler(app)
    (entry,) = scheduler.schedule.values()
    assert isinstance(entry, ScheduleEntry)
    assert (entry.name, entry.task, entry.args, entry.total_run_count) == ("a", "note", ("a",), 0)
    assert abs(entry.last_run_at.timestamp() - START) < 1
    assert scheduler.info == f"    . db -> {app.show_url(app.broker_url)}"
    assert PersistentScheduler(app, lazy=True).schedule == {}
