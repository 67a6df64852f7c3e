"""Soft limits, in this process: the main thread runs what a task would, the test is the helper."""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from tests.conftest import ManualClock
from umbel.clock import SYSTEM
from umbel.driving import Loop
from umbel.exceptions import SoftTimeLimitExceeded
from umbel.testing.conformance.support import PATIENCE
from umbel.worker.softlimit import SoftLimit

SIGNAL = signal.SIGUSR1


@pytest.fixture(autouse=True)
def _handler() -> Iterator[None]:
    before = signal.getsignal(SIGNAL)
    yield
    signal.signal(SIGNAL, before)


class Helper:
    """Looks every millisecond, in a thread, until the block ends."""

    def __init__(self, soft: SoftLimit) -> None:
        self._soft = soft
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.told = 0

    def _run(self) -> None:
        while not self._ended.wait(0.001):
            self.told += self._soft.look(SYSTEM.monotonic())

    def __enter__(self) -> Helper:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()


@pytest.fixture
def soft() -> Iterator[SoftLimit]:
    soft = SoftLimit(SYSTEM)
    with Helper(soft):
        yield soft
    soft.end()


def soon() -> float:
    return SYSTEM.monotonic() + 0.02


def spin() -> None:
    end = SYSTEM.monotonic() + PATIENCE
    while SYSTEM.monotonic() < end:
        pass


def read() -> None:
    ours, theirs = socket.socketpair()
    ours.settimeout(PATIENCE)
    with ours, theirs:
        ours.recv(1)


@pytest.mark.parametrize(
    "wait", [lambda: SYSTEM.sleep(PATIENCE), read, spin, lambda: threading.Event().wait(PATIENCE)]
)
def test_whatever_a_task_waits_for_is_interrupted(
    soft: SoftLimit, wait: Callable[[], object]
) -> None:
    begun = SYSTEM.monotonic()
    soft.begin(soon())
    with pytest.raises(SoftTimeLimitExceeded):
        soft.call(wait, (), {})
    assert SYSTEM.monotonic() - begun < PATIENCE / 2


def test_a_task_may_catch_it_and_is_told_once(soft: SoftLimit) -> None:
    def task(a: int, b: int) -> str:
        try:
            SYSTEM.sleep(PATIENCE)
        except SoftTimeLimitExceeded:
            SYSTEM.sleep(0.03)  # time for another, which does not come
        return f"cleaned up {a} {b}"

    soft.begin(soon())
    assert soft.call(task, (1,), {"b": 2}) == "cleaned up 1 2"


def test_one_that_passes_on_the_way_into_the_task_is_told_there(soft: SoftLimit) -> None:
    soft.begin(SYSTEM.monotonic() - 1)
    SYSTEM.sleep(0.02)  # outside: nothing is raised
    with pytest.raises(SoftTimeLimitExceeded):
        soft.call(SYSTEM.sleep, (PATIENCE,), {})


def test_one_that_passes_after_the_task_is_told_to_nobody(soft: SoftLimit) -> None:
    soft.begin(SYSTEM.monotonic() + 0.01)
    assert soft.call(lambda: 5, (), {}) == 5
    SYSTEM.sleep(0.02)
    soft.end()
    soft.begin(SYSTEM.monotonic() + PATIENCE)
    assert soft.call(SYSTEM.sleep, (0.02,), {}) is None


def test_a_signal_meant_for_the_task_before_does_no_harm(clock: ManualClock) -> None:
    soft = SoftLimit(clock)
    soft.begin(clock.now + 5)
    soft.end()
    soft.begin(clock.now + 100)

    def late() -> str:
        signal.raise_signal(SIGNAL)
        return "unharmed"

    assert soft.call(late, (), {}) == "unharmed"
    soft.end()
    assert soft.call(late, (), {}) == "unharmed"


def test_a_signal_that_interrupts_nothing_is_sent_again(
    clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python has only taken note of it when a call begins to wait just then."""
    soft, sent = SoftLimit(clock), list[float]()
    monkeypatch.setattr(signal, "pthread_kill", lambda thread, number: sent.append(clock.now))
    begun = clock.now
    soft.begin(begun + 1)

    def waits() -> None:
        for now in (0.9, 1.0, 1.05, 1.1, 1.15, 1.2):
            clock.now = begun + now
            assert soft.look(clock.now) is (now == 1.0)  # it is told of once
        signal.raise_signal(SIGNAL)

    with pytest.raises(SoftTimeLimitExceeded):
        soft.call(waits, (), {})
    assert not soft.look(begun + 9)
    assert [round(moment - begun, 2) for moment in sent] == [1.0, 1.1, 1.2]


def test_who_has_no_limit_is_not_told(clock: ManualClock) -> None:
    soft = SoftLimit(clock)
    assert not soft.look(clock.now)
    soft.begin(clock.now + 5)
    assert not soft.look(clock.now + 4.9)
    clock.now += 6

    def told_once() -> bool:
        try:
            return soft.look(clock.now)
        except SoftTimeLimitExceeded:
            return not soft.look(clock.now)

    assert soft.call(told_once, (), {})


def test_a_handler_of_the_tasks_own_is_left_alone(
    clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    soft = SoftLimit(clock)
    soft.begin(clock.now + 1)
    heard: list[int] = []
    signal.signal(SIGNAL, lambda number, _: heard.append(number))
    for _ in range(3):
        assert not soft.look(clock.now + 2)
    assert heard == []
    assert len(caplog.messages) == 1
    assert "SIGUSR1" in caplog.text


def test_other_threads_get_no_signals(clock: ManualClock) -> None:
    soft = SoftLimit(clock)
    found: list[bool] = []
    thread = threading.Thread(target=lambda: found.append(soft.begin(clock.now + 1)))
    thread.start()
    thread.join()
    assert found == [False]
    assert not soft.look(clock.now + 2)


# Coroutines


@pytest.fixture
def drive() -> Iterator[Callable[[Coroutine[Any, Any, Any]], Any]]:
    loop = Loop()
    yield loop.drive
    loop.close()


Drive = Callable[[Coroutine[Any, Any, Any]], Any]


async def asleep() -> str:
    await asyncio.sleep(PATIENCE)
    return "not told"


async def gathered() -> tuple[str, str]:
    return await asyncio.gather(asleep(), asleep())


async def within() -> str:
    async with asyncio.timeout(PATIENCE):
        return await asleep()


async def blocked() -> None:
    await asyncio.sleep(0)
    SYSTEM.sleep(PATIENCE)


@pytest.mark.parametrize("kind", [asleep, gathered, within, blocked])
def test_a_coroutine_is_told_where_it_is(
    soft: SoftLimit, drive: Drive, kind: Callable[[], Coroutine[Any, Any, Any]]
) -> None:
    soft.begin(soon())
    with pytest.raises(SoftTimeLimitExceeded):
        drive(soft.watched(kind()))
    # The loop is as good as before.
    assert drive(asyncio.sleep(0, "fine")) == "fine"


def test_a_coroutine_may_catch_it_and_wait_for_more(soft: SoftLimit, drive: Drive) -> None:
    async def task() -> str:
        try:
            await asleep()
        except SoftTimeLimitExceeded:
            await asyncio.sleep(0.03)
        return "cleaned up"

    soft.begin(soon())
    assert drive(soft.watched(task())) == "cleaned up"


def test_what_else_comes_to_a_coroutine_is_handed_on(soft: SoftLimit, drive: Drive) -> None:
    async def fails() -> None:
        await asyncio.sleep(0)
        raise ValueError("mine")

    async def cancels_itself() -> str:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        try:
            await asyncio.sleep(1)
        except asyncio.CancelledError:
            task.uncancel()
            return "cancelled"
        return "not cancelled"

    async def hears() -> str:
        try:
            await asyncio.wait_for(asyncio.Event().wait(), 0.001)
        except TimeoutError:
            return "a timeout of its own"
        return ""

    soft.begin(SYSTEM.monotonic() + PATIENCE)
    with pytest.raises(ValueError, match="mine"):
        drive(soft.watched(fails()))
    assert drive(soft.watched(cancels_itself())) == "cancelled"
    assert drive(soft.watched(hears())) == "a timeout of its own"


def test_a_limit_that_passes_around_its_end_is_in_time_or_not_but_nothing_else(
    soft: SoftLimit,
) -> None:
    """Hundreds of tasks that end in the very moment: each returns or is told, and nothing else is hit."""
    ended = {"returned": 0, "told": 0}
    for number in range(300):
        limit = 0.0005 + number % 10 * 0.0001
        soft.begin(SYSTEM.monotonic() + limit)
        try:
            soft.call(SYSTEM.sleep, (0.0009,), {})
            ended["returned"] += 1
        except SoftTimeLimitExceeded:
            ended["told"] += 1
        finally:
            soft.end()
    assert sum(ended.values()) == 300
