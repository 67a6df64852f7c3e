"""Loops on which other threads run coroutines."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from umbel.driving import Loop, SharedLoop
from umbel.testing.conformance.support import PATIENCE


async def answer() -> int:
    return 3


def test_a_loop_whose_thread_was_refused_is_started_by_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start, refused = threading.Thread.start, list[str]()

    def refuse_once(thread: threading.Thread) -> None:
        if thread.name == "umbel-loop" and not refused:
            refused.append(thread.name)
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse_once)
    loop = SharedLoop()
    coroutine = answer()
    with pytest.raises(RuntimeError, match="can't start"):
        loop.drive(coroutine)
    coroutine.close()
    assert loop.drive(answer()) == 3
    loop.close()


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    gate = threading.Event()
    yield gate
    gate.set()


def close_at_once(loop: Loop | SharedLoop) -> None:
    """End a loop as a worker does, which waits for a shared one only for as long as it must."""
    if isinstance(loop, SharedLoop):
        loop.close(PATIENCE)
    else:
        loop.close()


@pytest.mark.parametrize("kind", [Loop, SharedLoop])
def test_what_a_coroutine_has_left_in_a_thread_is_not_waited_for_for_ever(
    kind: type[Loop | SharedLoop],
    gate: threading.Event,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("umbel.driving.LINGER", 0.05)
    loop = kind()

    async def leave() -> str:
        try:
            await asyncio.wait_for(asyncio.to_thread(gate.wait, PATIENCE), 0.01)
        except TimeoutError:
            return "left"
        return "waited"

    assert loop.drive(leave()) == "left"
    close_at_once(loop)
    assert not gate.is_set()
    assert [text for text in caplog.messages if text.startswith("1 calls that tasks have left")]
    assert len(caplog.messages) == 1


@pytest.mark.parametrize("kind", [Loop, SharedLoop])
def test_what_ends_in_time_is_waited_for(
    kind: type[Loop | SharedLoop], caplog: pytest.LogCaptureFixture
) -> None:
    loop, ended = kind(), threading.Event()

    async def leave() -> None:
        call = asyncio.get_running_loop().run_in_executor(None, ended.wait, 0.05)
        call.add_done_callback(lambda _: None)
        asyncio.get_running_loop().run_in_executor(None, ended.set)

    loop.drive(leave())
    close_at_once(loop)
    assert ended.is_set()
    assert caplog.messages == []


def test_a_shared_loop_gives_what_is_left_its_time_however_short_it_may_take_itself(
    gate: threading.Event,
) -> None:
    loop, ended = SharedLoop(), threading.Event()

    def call() -> None:
        gate.wait(0.2)
        ended.set()

    async def leave() -> None:
        asyncio.get_running_loop().run_in_executor(None, call)

    loop.drive(leave())
    loop.close(0.01)
    assert ended.is_set()
