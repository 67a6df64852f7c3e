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


def test_what_a_coroutine_has_left_in_a_thread_is_not_waited_for_for_ever(
    gate: threading.Event, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("umbel.driving.LINGER", 0.05)
    loop = Loop()

    async def leave() -> str:
        try:
            await asyncio.wait_for(asyncio.to_thread(gate.wait, PATIENCE), 0.01)
        except TimeoutError:
            return "left"
        return "waited"

    assert loop.drive(leave()) == "left"
    loop.close()
    assert not gate.is_set()
    assert [text for text in caplog.messages if text.startswith("1 calls that tasks have left")]


def test_what_ends_in_time_is_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    loop, ended = Loop(), threading.Event()

    async def leave() -> None:
        call = asyncio.get_running_loop().run_in_executor(None, ended.wait, 0.05)
        call.add_done_callback(lambda _: None)
        asyncio.get_running_loop().run_in_executor(None, ended.set)

    loop.drive(leave())
    loop.close()
    assert ended.is_set()
    assert caplog.messages == []
