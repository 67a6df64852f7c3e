"""The timer of bootsteps."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import NoReturn

import pytest

from tests.conftest import ManualClock
from umbel.clock import SYSTEM
from umbel.testing.conformance.support import until
from umbel.worker.timer import Timer


class Stepped(Timer):
    """One whose thread is the test."""

    def _begin(self) -> None:
        """Start no thread."""


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def exits() -> list[bool]:
    return []


@pytest.fixture
def timer(clock: ManualClock, exits: list[bool]) -> Stepped:
    return Stepped(clock, lambda: exits.append(True))


@pytest.fixture
def real() -> Iterator[Timer]:
    timer = Timer(SYSTEM, lambda: None)
    yield timer
    timer.end()


def test_calls_come_when_they_are_due(timer: Stepped, clock: ManualClock) -> None:
    begun = clock.monotonic()
    called: list[str] = []
    timer.call_after(2.0, called.append, ("after",))
    timer.call_at(clock.time() + 3.0, called.append, ("at",))
    timer.call_repeatedly(2.5, called.append, ("again",), priority=10)
    gone = timer.call_after(1.0, called.append, ("never",))
    timer.cancel(gone)
    seen = {}
    for now in (1.9, 2.0, 2.9, 3.0, 5.4, 5.5):
        clock.sleep(begun + now - clock.monotonic())
        timer.step(clock.monotonic())
        seen[now] = list(called)
    assert seen == {
        1.9: [],
        2.0: ["after"],
        2.9: ["after", "again"],
        3.0: ["after", "again", "at"],
        5.4: ["after", "again", "at", "again"],
        5.5: ["after", "again", "at", "again"],
    }


def test_a_call_that_raises_is_logged_and_comes_again(
    timer: Stepped, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    called: list[int] = []

    def fail(kind: str) -> NoReturn:
        called.append(len(called))
        raise ValueError(kind)

    timer.call_repeatedly(1.0, fail, kwargs={"kind": "mine"})
    for _ in range(2):
        clock.sleep(1.0)
        timer.step(clock.monotonic())
    assert called == [0, 1]
    assert caplog.text.count("ValueError: mine") == 2


def test_one_that_exits_ends_the_worker(
    timer: Stepped, clock: ManualClock, exits: list[bool]
) -> None:
    def leave() -> NoReturn:
        raise SystemExit

    timer.call_repeatedly(1.0, leave)
    for _ in range(2):
        clock.sleep(1.0)
        timer.step(clock.monotonic())
    assert exits == [True]


def test_its_thread_wakes_for_what_is_due_first(real: Timer) -> None:
    called = threading.Event()
    late = real.call_after(3600.0, called.set)
    real.call_after(0.01, called.set)
    assert called.wait(20.0)
    late.cancel()
    again: list[int] = []
    entry = real.call_repeatedly(0.01, again.append, (1,))
    until(lambda: len(again) > 2)
    entry.cancel()


def test_nothing_is_called_after_its_end(real: Timer) -> None:
    called = threading.Event()
    real.call_after(0.0, called.set)
    assert called.wait(20.0)
    real.call_repeatedly(3600.0, called.clear)
    thread = real._thread
    assert thread is not None
    real.end()
    assert not thread.is_alive()
    real.call_after(0.0, called.clear)
    assert called.is_set()
    assert real._due == []


def test_calls_may_be_cleared(timer: Stepped, clock: ManualClock) -> None:
    called: list[int] = []
    timer.call_after(1.0, called.append, (1,))
    timer.clear()
    clock.sleep(2.0)
    timer.step(clock.monotonic())
    assert called == []
