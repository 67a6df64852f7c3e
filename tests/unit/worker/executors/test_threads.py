"""Threads that run deliveries, without a child around."""

from __future__ import annotations

import threading

import pytest

from umbel.message import Delivery, Message
from umbel.testing.conformance.support import PATIENCE, until
from umbel.worker.executors.threads import Threads
from umbel.worker.outcome import Ignored, Prepared, Waiting


def nothing() -> None:
    """Tell nobody that a thread is free."""


def items(count: int) -> list[Waiting]:
    delivery = Delivery("key", "celery", Message({}, {}, b""), "tag")
    return [Waiting(index, Prepared(delivery, Ignored(None))) for index in range(count)]


def test_what_no_thread_has_begun_can_be_withdrawn() -> None:
    begun: list[int] = []
    gate = threading.Event()

    def work(item: Waiting) -> None:
        begun.append(item.index)
        assert gate.wait(PATIENCE)

    threads = Threads(2, work, nothing)
    threads.submit(items(5))
    until(lambda: len(begun) == 2)
    assert threads.is_full()
    assert threads.waiting == 3
    assert [item.index for item in threads.withdraw()] == [2, 3, 4]
    assert not threads.is_full()
    gate.set()
    threads.close()
    assert sorted(begun) == [0, 1]


def test_whoever_withdraws_at_the_end_leaves_the_ends_to_the_threads() -> None:
    gate = threading.Event()

    def work(item: Waiting) -> None:
        assert gate.wait(PATIENCE)

    threads = Threads(3, work, nothing)
    threads.submit(items(3))
    until(lambda: threads.waiting == 0)
    closing = threading.Thread(target=threads.close)
    closing.start()
    until(lambda: threads.waiting == 3)
    assert threads.withdraw() == []
    gate.set()
    closing.join(PATIENCE)
    assert not closing.is_alive()


def test_where_the_system_allows_no_more_threads_those_that_there_are_do(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    gate, begun, allowed = threading.Event(), list[int](), [1]
    start = threading.Thread.start

    def start_or_refuse(thread: threading.Thread) -> None:
        if not allowed[0]:
            raise RuntimeError("can't start new thread")
        allowed[0] -= 1
        start(thread)

    def work(item: Waiting) -> None:
        begun.append(item.index)
        assert gate.wait(PATIENCE)

    monkeypatch.setattr(threading.Thread, "start", start_or_refuse)
    threads = Threads(3, work, nothing)
    threads.submit(items(2))
    threads.submit(items(2))
    until(lambda: begun == [0])
    assert threads.is_full()
    assert len(threads.withdraw()) == 3
    assert len(caplog.messages) == 1
    assert "allows no more than 1 of 3 threads" in caplog.text
    allowed[0] = 2
    threads.submit(items(2))
    until(lambda: len(begun) == 3)
    gate.set()
    threads.close()


def test_threads_are_started_when_they_are_needed() -> None:
    names: list[str] = []
    threads = Threads(3, lambda item: names.append(threading.current_thread().name), nothing)
    threads.close()
    threads.submit(items(1))
    until(lambda: names == ["umbel-task-1"])
    threads.close()
