"""The timekeeper, by its pages; those whom it kills are real."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from umbel.clock import SYSTEM
from umbel.testing.conformance.support import PATIENCE, until
from umbel.worker.page import Page
from umbel.worker.processes import start_time
from umbel.worker.timekeeper import TICK, Timekeeper


class Clock:
    """Time stands still; while the timekeeper waits a moment, the test may do something."""

    time = monotonic = staticmethod(lambda: 100.0)

    def __init__(self) -> None:
        self.meanwhile: Callable[[], object] = lambda: None

    def sleep(self, seconds: float) -> None:
        self.meanwhile()


class Scene:
    """A child that sleeps, its page, and who watches it. It holds two deliveries, `a` and `b`."""

    def __init__(self, path: Path) -> None:
        self.process = subprocess.Popen(["sleep", "60"])
        self.page = Page.create(path)
        self.page.identify(self.process.pid, start_time(self.process.pid), "owner")
        self.page.load(["a", "b"])
        self.clock = Clock()
        self.keeper = Timekeeper(self.clock, lambda: [self.page])

    def runs(self) -> bool:
        return self.process.poll() is None

    def was_killed(self) -> bool:
        return self.process.wait(PATIENCE) == -signal.SIGKILL


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(tmp_path / "page")
    yield scene
    scene.process.kill()
    scene.process.wait()


def test_who_exceeds_the_limit_is_killed_and_the_page_says_for_what(scene: Scene) -> None:
    scene.page.start(0, 90.0, hard=100.0)
    assert scene.keeper.step(100.0) == TICK
    assert scene.was_killed()
    assert scene.page.condemned == "a"
    assert scene.keeper.step(101.0) == TICK  # until it is buried


def test_it_waits_for_the_next_deadline(scene: Scene) -> None:
    assert scene.keeper.step(100.0) == TICK
    scene.page.start(0, 90.0, soft=95.0)
    assert scene.keeper.step(100.0) == TICK
    scene.page.start(0, 90.0, hard=100.25)
    assert scene.keeper.step(100.0) == 0.25
    scene.page.start(0, 90.0, hard=200.0)
    assert scene.keeper.step(100.0) == TICK
    assert scene.runs()
    assert scene.page.condemned == ""


def test_what_ends_in_the_last_moment_has_ended_in_time(scene: Scene) -> None:
    scene.page.start(0, 90.0, hard=100.0)
    seen: list[str] = []
    scene.clock.meanwhile = lambda: seen.append(scene.page.lift(0))
    scene.keeper.step(100.0)
    assert seen == ["a"]  # the child waits, until
    assert scene.page.lift(0) == ""
    assert scene.runs()


def test_nobody_is_killed_for_the_task_before(scene: Scene) -> None:
    scene.page.start(0, 90.0, hard=100.0)

    def go_on() -> None:
        scene.page.lift(0)
        scene.page.finish(0)
        scene.page.start(1, 100.0, hard=100.0)  # the same moment, by chance

    scene.clock.meanwhile = go_on
    scene.keeper.step(100.0)
    assert (scene.page.condemned, scene.runs()) == ("", True)


def test_a_deadline_that_was_left_there_counts_for_nothing(scene: Scene) -> None:
    scene.page.fence(1)
    assert not scene.page.start(0, 90.0, hard=100.0)  # fenced: it does not start
    scene.keeper.step(100.0)
    assert (scene.page.condemned, scene.runs()) == ("", True)


def test_who_died_before_is_not_condemned(scene: Scene) -> None:
    scene.page.start(0, 90.0, hard=100.0)
    scene.process.kill()
    scene.process.wait()
    scene.keeper.step(100.0)
    assert scene.page.condemned == ""


def test_a_page_whose_child_was_buried_is_passed_over(scene: Scene, tmp_path: Path) -> None:
    buried = Page.create(tmp_path / "buried")
    buried.remove()
    new = Page.create(tmp_path / "new")  # nobody has said yet whose it is
    scene.page.start(0, 90.0, hard=100.0)
    Timekeeper(scene.clock, lambda: [buried, new, scene.page]).step(100.0)
    assert scene.was_killed()
    new.remove()


def test_the_thread_looks_until_it_is_told_to_end(scene: Scene) -> None:
    keeper = Timekeeper(SYSTEM, lambda: [scene.page])
    scene.page.start(0, SYSTEM.monotonic(), hard=SYSTEM.monotonic() + 0.01)
    keeper.start()
    until(lambda: not scene.runs())
    keeper.end()
    assert scene.page.condemned == "a"


def test_the_thread_goes_on_whatever_fails(
    scene: Scene, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("umbel.worker.timekeeper.TICK", 0.001)
    asked: list[int] = []

    def pages() -> list[Page]:
        asked.append(1)
        raise OSError("no such thing")

    keeper = Timekeeper(SYSTEM, pages)
    keeper.start()
    until(lambda: len(asked) > 2)
    keeper.end()
    assert "failed to look after time limits" in caplog.text


def test_one_that_was_never_started_ends_too(scene: Scene) -> None:
    scene.keeper.end()
