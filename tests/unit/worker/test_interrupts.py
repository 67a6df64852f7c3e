"""Telling one of many tasks: they run in threads of this process, the test is the helper."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from umbel.clock import SYSTEM
from umbel.driving import SharedLoop
from umbel.exceptions import Ignore, SoftTimeLimitExceeded
from umbel.testing.conformance.support import PATIENCE, until
from umbel.worker.interrupts import Interrupt


class Task:
    """A function that runs in a thread under an interrupt."""

    def __init__(self, threads: ThreadPoolExecutor, work: Callable[[Task], Any]) -> None:
        self.guard = Interrupt()
        self.entered = threading.Event()
        self.ended: Future[Any] = threads.submit(self.guard.call, work, (self,), {})
        assert self.entered.wait(PATIENCE)

    def spin(self, seconds: float = PATIENCE) -> str:
        self.entered.set()
        end = SYSTEM.monotonic() + seconds
        while SYSTEM.monotonic() < end:
            pass
        return "not told"


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as threads:
        yield threads


def test_python_code_is_told_at_once_and_its_neighbour_is_not(threads: ThreadPoolExecutor) -> None:
    task, neighbour = Task(threads, Task.spin), Task(threads, lambda task: task.spin(0.05))
    task.guard.tell(SoftTimeLimitExceeded)
    with pytest.raises(SoftTimeLimitExceeded):
        task.ended.result(PATIENCE)
    assert neighbour.ended.result(PATIENCE) == "not told"


def test_it_may_catch_that_and_is_told_once(threads: ThreadPoolExecutor) -> None:
    def work(task: Task) -> str:
        try:
            return task.spin()
        except SoftTimeLimitExceeded:
            task.spin(0.02)
        return "cleaned up"

    task = Task(threads, work)
    task.guard.tell(SoftTimeLimitExceeded)
    assert task.ended.result(PATIENCE) == "cleaned up"


def test_what_was_told_before_is_raised_on_the_way_in() -> None:
    guard = Interrupt()
    guard.tell(SoftTimeLimitExceeded)
    with pytest.raises(SoftTimeLimitExceeded):
        guard.call(lambda: None, (), {})
    assert guard.call(lambda: 5, (), {}) == 5


def test_what_was_told_after_is_raised_nowhere() -> None:
    guard = Interrupt()
    assert guard.call(lambda: 5, (), {}) == 5
    guard.tell(SoftTimeLimitExceeded)
    end = SYSTEM.monotonic() + 0.01
    while SYSTEM.monotonic() < end:
        pass


TRACED = """
import sys
from umbel.worker.interrupts import Interrupt

def told_at_its_end():
    guard._sent = True  # as when it is told right after its last step

guard = Interrupt()
guard.call(told_at_its_end, (), {})
sys.settrace(lambda *_: None)
(lambda: None)()
sys.settrace(None)
"""


def test_what_was_taken_back_is_gone_and_traced_functions_run() -> None:
    """In a process of its own: on Python 3.11 none of them would begin."""
    subprocess.run([sys.executable, "-c", TRACED], check=True, timeout=PATIENCE)


def test_of_what_was_given_up_nothing_follows(threads: ThreadPoolExecutor) -> None:
    task = Task(threads, Task.spin)
    task.guard.give_up()
    with pytest.raises(Ignore):
        task.ended.result(PATIENCE)
    gate = threading.Event()

    def waits(task: Task) -> str:
        task.entered.set()
        assert gate.wait(PATIENCE)
        return "late"

    late = Task(threads, waits)
    late.guard.is_given_up = True
    gate.set()
    with pytest.raises(Ignore):
        late.ended.result(PATIENCE)


def test_around_its_end_it_is_told_or_not_and_no_code_of_ours_ever_is(
    threads: ThreadPoolExecutor,
) -> None:
    """Hundreds of calls that end in the very moment, one after the other in the same thread."""
    ended = {"returned": 0, "told": 0}
    guards: list[Interrupt] = []
    begun = threading.Semaphore(0)

    def all_of_them() -> None:
        for number in range(400):
            guard = Interrupt()
            guards.append(guard)
            begun.release()
            try:
                guard.call(sum, (range(number * 50),), {})
                ended["returned"] += 1
            except SoftTimeLimitExceeded:
                ended["told"] += 1

    all_ended = threads.submit(all_of_them)
    for number in range(400):
        assert begun.acquire(timeout=PATIENCE)
        guards[number].tell(SoftTimeLimitExceeded)
    all_ended.result(PATIENCE)
    assert sum(ended.values()) == 400


# Coroutines


@pytest.fixture
def loop() -> Iterator[SharedLoop]:
    loop = SharedLoop()
    yield loop
    loop.close()


async def asleep() -> str:
    await asyncio.sleep(PATIENCE)
    return "not told"


async def gathered() -> tuple[str, str]:
    return await asyncio.gather(asleep(), asleep())


async def blocked() -> None:
    await asyncio.sleep(0)
    end = SYSTEM.monotonic() + PATIENCE
    while SYSTEM.monotonic() < end:
        pass


async def cleans_up() -> None:
    try:
        await asleep()
    except SoftTimeLimitExceeded:
        await asyncio.sleep(0.01)
        raise


@pytest.mark.parametrize("kind", [asleep, gathered, blocked, cleans_up])
def test_a_coroutine_is_told_where_it_is(
    threads: ThreadPoolExecutor, loop: SharedLoop, kind: Callable[[], Any]
) -> None:
    guard, beside = Interrupt(), Interrupt()
    ended = threads.submit(loop.drive, guard.watched(kind()))
    neighbour = threads.submit(loop.drive, beside.watched(asyncio.sleep(0.05, "not told")))
    until(lambda: guard._waits or guard.holds_up_its_loop())
    guard.tell(SoftTimeLimitExceeded)
    with pytest.raises(SoftTimeLimitExceeded):
        ended.result(PATIENCE)
    assert neighbour.result(PATIENCE) == "not told"


def test_one_that_was_given_up_is_cancelled(threads: ThreadPoolExecutor, loop: SharedLoop) -> None:
    seen: list[type[BaseException]] = []

    async def work() -> None:
        try:
            await asleep()
        except BaseException as error:
            seen.append(type(error))
            raise

    guard = Interrupt()
    ended = threads.submit(loop.drive, guard.watched(work()))
    until(lambda: guard._waits)
    guard.give_up()
    with pytest.raises(Ignore):
        ended.result(PATIENCE)
    assert seen == [asyncio.CancelledError]


def test_who_holds_up_the_loop_is_known(threads: ThreadPoolExecutor, loop: SharedLoop) -> None:
    gate = threading.Event()

    async def holds() -> None:
        assert gate.wait(PATIENCE)

    waiting, holding = Interrupt(), Interrupt()
    first = threads.submit(loop.drive, waiting.watched(asleep()))
    until(lambda: waiting._waits)
    second = threads.submit(loop.drive, holding.watched(holds()))
    until(holding.holds_up_its_loop)
    assert not waiting.holds_up_its_loop()
    gate.set()
    second.result(PATIENCE)
    assert not holding.holds_up_its_loop()
    waiting.give_up()
    with contextlib.suppress(Ignore):
        first.result(PATIENCE)
