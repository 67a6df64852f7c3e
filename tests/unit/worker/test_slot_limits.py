"""Time limits of many tasks, without a child around: the test runs them, and looks."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.conftest import ManualClock
from tests.unit.worker.support import delivery_of
from umbel import Umbel
from umbel.exceptions import Ignore, SoftTimeLimitExceeded
from umbel.worker.execute import Runner
from umbel.worker.outcome import Waiting
from umbel.worker.page import Held
from umbel.worker.slot_limits import STUBBORN, SlotLimits, Timed
from umbel.worker.slot_page import SlotPage


class Scene:
    """Deliveries that start under limits, and what is given up of them."""

    def __init__(self, app: Umbel, clock: ManualClock) -> None:
        self.clock = clock
        self.page = SlotPage.private(SlotPage.capacity_for(4))
        self.page.identify(1, 1.0, "owner")
        self.given_up: list[Waiting] = []
        self.limits = SlotLimits(clock, self.page, lambda item, _: self.given_up.append(item))
        self._task = app.task(name="t")(lambda: None)
        self._runner = Runner(app, "host")

    def start(self, **limits: float) -> Timed | None:
        prepared = self._runner.prepare(delivery_of(self._task, **limits))
        item = Waiting(self.page.take(), prepared)
        self.page.put([item.index], [prepared.delivery.key])
        timed = self.limits.start(item, self.clock.now)
        assert self.page.start(
            item.index, self.clock.now, *((0, 0) if timed is None else timed.deadlines)
        )
        return timed

    def timed(self, **limits: float) -> Timed:
        timed = self.start(**limits)
        assert timed is not None
        return timed

    def look(self, later: float) -> None:
        self.clock.now += later
        self.limits.look(self.clock.now)

    def late(self) -> str:
        snapshot = self.page.read()
        assert snapshot is not None
        return snapshot.late(self.clock.now)


@pytest.fixture
def scene(app: Umbel, clock: ManualClock) -> Iterator[Scene]:
    scene = Scene(app, clock)
    yield scene
    scene.page.close()


def test_who_has_no_limits_costs_nothing(scene: Scene) -> None:
    assert scene.start() is None
    assert scene.page.hard_deadline == 0.0


def test_a_task_is_told_of_its_soft_limit_once(scene: Scene) -> None:
    timed = scene.timed(soft_time_limit=1)
    scene.look(0.9)
    assert timed.guard.call(lambda: 5, (), {}) == 5
    scene.look(0.1)
    scene.look(0.1)
    with pytest.raises(SoftTimeLimitExceeded):
        timed.guard.call(lambda: 5, (), {})
    assert timed.guard.call(lambda: 5, (), {}) == 5
    assert scene.limits.end(timed)
    assert scene.given_up == []


def test_what_exceeds_its_hard_limit_is_given_up_and_its_neighbours_are_not(scene: Scene) -> None:
    late, other = scene.timed(time_limit=1), scene.timed(time_limit=1.5)
    assert scene.page.hard_deadline == late.hard_at
    scene.look(1.0)
    assert scene.given_up == [late.item]
    assert scene.page.hard_deadline == other.hard_at
    assert scene.late() == ""  # its supervisor has nothing to do
    assert not scene.limits.end(late)
    with pytest.raises(Ignore):
        late.guard.call(lambda: 5, (), {})
    assert scene.limits.end(other)
    scene.look(1.0)
    assert scene.given_up == [late.item]
    assert scene.page.hard_deadline == 0.0


def test_what_was_given_up_is_watched_until_it_ends(scene: Scene) -> None:
    first, second = scene.timed(time_limit=1), scene.timed(time_limit=1)
    assert not scene.limits.watches
    scene.look(1.0)
    assert scene.limits.watches
    assert scene.limits.stubborn(scene.clock.now + STUBBORN / 2) == []
    first.is_out = True
    assert scene.limits.stubborn(scene.clock.now + STUBBORN) == [second]
    second.is_out = True
    assert not scene.limits.watches


def test_what_ends_while_its_child_is_condemned_waits_for_what_becomes_of_it(scene: Scene) -> None:
    timed = scene.timed(time_limit=1)
    scene.page.condemn(timed.item.prepared.delivery.key)
    ended: list[bool] = []
    thread = threading.Thread(target=lambda: ended.append(scene.limits.end(timed)))
    thread.start()
    thread.join(0.02)
    assert ended == []
    scene.page.pardon()
    thread.join()
    assert ended == [True]


def test_all_that_were_late_when_a_child_was_condemned(scene: Scene) -> None:
    """Where something holds the interpreter's lock, several may exceed their limits before anybody looks."""
    short, long = scene.timed(time_limit=1), scene.timed(time_limit=2)
    longer, unlimited = scene.timed(time_limit=9), scene.start()
    assert unlimited is None
    scene.clock.now += 3
    latest = scene.late()
    assert latest == long.item.prepared.delivery.key
    scene.page.condemn(latest)
    snapshot = scene.page.read()
    assert snapshot is not None
    keys = [one.item.prepared.delivery.key for one in (short, long, longer)]
    assert [snapshot.was_late(key) for key in keys] == [True, True, False]
    assert sum(snapshot.was_late(key) for key in snapshot.keys(Held.RUNNING)) == 2
    assert not replace(snapshot, condemned="").was_late(latest)
