"""Loops on which other threads run coroutines."""

from __future__ import annotations

import threading

import pytest

from umbel.driving import SharedLoop


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
