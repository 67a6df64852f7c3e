from __future__ import annotations

import threading

import pytest

from umbel.worker.courier import Courier

#: Seconds that a test waits for what has to come.
SOON = 10.0


def test_it_has_no_thread_before_its_first_errand() -> None:
    done = threading.Event()
    courier = Courier(done.set, lambda code: None)
    before = threading.active_count()
    courier.end()
    assert threading.active_count() == before
    assert not done.is_set()


def test_it_may_have_its_thread_before_it_needs_it() -> None:
    done = threading.Event()
    courier = Courier(done.set, lambda code: None)
    before = threading.active_count()
    courier.start()
    courier.start()
    assert threading.active_count() == before + 1
    courier.call()
    assert done.wait(SOON)
    assert threading.active_count() == before + 1
    courier.end()


def test_calls_during_an_errand_are_one_errand_more() -> None:
    begun, go_on = threading.Semaphore(0), threading.Semaphore(0)

    def errand() -> None:
        begun.release()
        assert go_on.acquire(timeout=SOON)

    courier = Courier(errand, lambda code: None)
    courier.call()
    assert begun.acquire(timeout=SOON)
    for _ in range(3):
        courier.call()
    go_on.release()
    assert begun.acquire(timeout=SOON)
    go_on.release()
    courier.end()
    assert not begun.acquire(blocking=False)


def test_a_bug_in_an_errand_ends_the_child(caplog: pytest.LogCaptureFixture) -> None:
    left: list[int] = []
    has_left = threading.Event()

    def errand() -> None:
        raise ValueError("a bug")

    def leave(code: int) -> None:
        left.append(code)
        has_left.set()

    courier = Courier(errand, leave)
    courier.call()
    assert has_left.wait(SOON)
    courier.end()
    assert left == [1]
    assert "The courier of a child failed; the child ends." in caplog.messages
