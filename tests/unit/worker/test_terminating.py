"""Ending what runs: never what comes after it."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections import deque
from typing import Any

import pytest

from tests.unit.worker.support import delivery_of
from umbel import Umbel
from umbel.clock import SYSTEM
from umbel.worker.execute import Runner
from umbel.worker.outcome import Waiting
from umbel.worker.page import Page
from umbel.worker.revocations import Revocations
from umbel.worker.slot_terminating import SlotTermination
from umbel.worker.stops import heed_nothing
from umbel.worker.terminating import Termination


class Dead(BaseException):
    """In the place of the end of the process."""


class Child:
    """What ends tasks needs of a child."""

    def __init__(self, app: Umbel, page: Page) -> None:
        self.lock = threading.Lock()
        self.revocations = Revocations(app, page)
        self.current: Waiting | None = None
        self.passed: Waiting | None = None
        self.condemned: Waiting | None = None
        self.finished: deque[Any] = deque()
        self.holds = 0
        self.settled = 0

    @property
    def settler(self) -> Any:
        raise AssertionError("the supervisor takes it over")

    def settle_finished(self, request: None = None, by_helper: bool = False) -> list[Any]:
        self.settled += 1
        return []

    def release_waiting(self) -> int:
        return 0


class Scene:
    def __init__(self, app: Umbel, monkeypatch: pytest.MonkeyPatch) -> None:
        self.app, self.page = app, Page.private()
        self.page.identify(1, 1.0, "owner")
        self.child = Child(app, self.page)
        self.termination = Termination(app, self.page)
        self.termination.may_end_process = True
        self.died: list[int] = []
        monkeypatch.setattr(self.termination, "_die", self._die)
        self._task = app.task(name="t")(lambda: None)
        self._runner = Runner(app, "host")

    def _die(self, child: Child, number: int, item: Waiting) -> None:
        self.died.append(number)
        raise Dead

    def ended(self, item: Waiting) -> None:
        """Do what a child does when a task has ended."""
        self.child.passed = item
        if self.child.condemned is item:
            self.termination.await_end(self.child)

    def item(self, name: str) -> Waiting:
        return Waiting(0, self._runner.prepare(delivery_of(self._task, task_id=name)))

    def terminate(self, name: str) -> None:
        self.app.control.terminate(name)
        self.page.tell_revocations(self.app.engines.state_store().version("revoked"))
        self.child.revocations.follow()


@pytest.fixture
def scene(app: Umbel, monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(app, monkeypatch)


def test_what_runs_is_ended_and_the_page_says_for_what(scene: Scene) -> None:
    item = scene.child.current = scene.item("a")
    scene.terminate("a")
    assert scene.termination.is_owed(scene.child.revocations)
    with pytest.raises(Dead):
        scene.termination.look(scene.child)
    assert (scene.died, scene.child.settled) == ([15], 1)
    snapshot = scene.page.read()
    assert snapshot is not None
    assert snapshot.was_terminated(item.prepared.delivery.key)
    assert not snapshot.was_late(item.prepared.delivery.key)
    assert snapshot.signum == 15


def test_another_task_is_left_alone_and_it_is_looked_once(scene: Scene) -> None:
    scene.child.current = scene.item("b")
    scene.terminate("a")
    scene.termination.look(scene.child)
    assert not scene.termination.is_owed(scene.child.revocations)
    assert scene.died == []


def test_what_has_just_ended_is_left_alone(scene: Scene) -> None:
    """It still counts as what runs: its outcome is decided on."""
    item = scene.child.current = scene.item("a")
    scene.terminate("a")
    scene.ended(item)
    scene.termination.look(scene.child)
    assert scene.died == []


def test_the_next_one_is_never_ended_for_the_one_before(scene: Scene) -> None:
    first, second = scene.item("a"), scene.item("b")
    scene.child.current = first
    scene.terminate("a")

    def settle(request: None = None, by_helper: bool = False) -> list[Any]:
        scene.ended(first)  # it ends meanwhile, and the next one begins
        scene.child.current = second
        return []

    scene.child.settle_finished = settle  # type: ignore[method-assign]
    scene.termination.look(scene.child)
    assert scene.died == []
    scene.ended(second)  # and does not wait


def test_who_is_about_to_be_ended_begins_nothing_more(scene: Scene) -> None:
    item = scene.child.current = scene.item("a")
    scene.terminate("a")
    with pytest.raises(Dead):
        scene.termination.look(scene.child)
    thread = threading.Thread(target=scene.ended, args=(item,), daemon=True)
    thread.start()
    thread.join(0.05)
    assert thread.is_alive()
    scene.child.condemned = None
    thread.join(10)


def test_while_the_broker_is_in_use_or_silent_it_is_tried_again(scene: Scene) -> None:
    scene.child.current = scene.item("a")
    scene.terminate("a")
    with scene.child.lock:
        scene.termination.look(scene.child)
    assert scene.termination.is_owed(scene.child.revocations)
    scene.child.finished.append(object())  # could not be settled
    scene.termination.look(scene.child)
    assert scene.termination.is_owed(scene.child.revocations)
    assert scene.died == []


def test_a_process_that_is_not_its_own_goes_on(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    scene.termination.may_end_process = False
    scene.child.current = scene.item("a")
    scene.terminate("a")
    scene.termination.look(scene.child)
    assert "does not end itself" in caplog.text
    assert scene.died == []


def slot_termination(running: dict[int, Waiting]) -> SlotTermination:
    return SlotTermination(None, running, None, lambda *_: None)  # type: ignore[arg-type]


def test_of_who_ends_and_who_is_ended_one_records_the_outcome(scene: Scene) -> None:
    item, running = scene.item("a"), dict[int, Waiting]()
    ends = slot_termination(running)
    running[item.index] = item
    assert ends._claim(item, SYSTEM.monotonic())
    assert ends.watches
    assert ends.has_ended(item)  # what it does counts for nothing
    assert not ends.watches
    running[item.index] = item
    assert not ends.has_ended(item)
    assert not running
    assert not ends._claim(item, SYSTEM.monotonic())
    assert not ends.has_ended(item)


def test_what_was_ended_and_goes_on_leaves_who_has_its_place_now_alone(scene: Scene) -> None:
    first, second, running = scene.item("a"), scene.item("b"), dict[int, Waiting]()
    ends = slot_termination(running)
    running[first.index] = first
    assert ends._claim(first, SYSTEM.monotonic())
    running[second.index] = (
        second  # the outcome of the first is settled, and its place is another's
    )
    assert not ends.has_ended(second)
    running[second.index] = second
    assert ends.has_ended(first)
    assert running == {second.index: second}


@pytest.mark.skipif(sys.platform == "win32", reason="nothing is forked there")
def test_a_child_ends_by_the_signal_itself_where_its_task_has_set_no_handler(app: Umbel) -> None:
    """That it heeds no stopping signal of its own is no handler of the task, which would have some time."""
    page = Page.private()
    termination, child = Termination(app, page), Child(app, page)
    task = app.task(name="t")(lambda: None)
    item = Waiting(0, Runner(app, "host").prepare(delivery_of(task, task_id="a")))
    pid = os.fork()
    if not pid:
        try:
            heed_nothing()
            termination._die(child, signal.SIGTERM, item)
        finally:
            os._exit(1)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status)
    assert os.WTERMSIG(status) == signal.SIGTERM
