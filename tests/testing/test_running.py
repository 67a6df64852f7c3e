"""`umbel.testing`: a worker in threads, and `run_pending`."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import calls
from umbel import Ignore, Umbel, current_app, revoking, shared_task, signals
from umbel.clock import SYSTEM
from umbel.ports import REVOKED
from umbel.testing import run_pending, worker
from umbel.testing.conformance.support import until


def leases(app: Umbel) -> list[Any]:
    return list(app.queues.holdings())


def test_a_worker_runs_tasks_in_its_own_thread_and_leaves_nothing(
    app: Umbel, new_threads: Callable[[], list[str]]
) -> None:
    @app.task(name="where")
    def where() -> str:
        return threading.current_thread().name

    with worker(app) as running:
        assert where.delay().get(timeout=10) == "umbel-worker-1"
        assert running.queues == ("celery",)
    assert new_threads() == []
    assert leases(app) == []
    where.delay()
    assert len(calls(app)) == 1  # nobody is there any more


def test_a_worker_on_a_file(tmp_path: Path, new_threads: Callable[[], list[str]]) -> None:
    url = f"sqlite:///{tmp_path}/umbel.db"
    app = Umbel("proj", broker=url, backend=url)

    @app.task(name="add")
    def add(x: int, y: int) -> int:
        return x + y

    with worker(app, concurrency=2):
        results = [add.delay(n, n) for n in range(20)]
        assert [one.get(timeout=10) for one in results] == [2 * n for n in range(20)]
    assert new_threads() == []
    assert leases(app) == []
    app.close()


def test_several_threads_run_tasks_at_the_same_time(app: Umbel) -> None:
    met = threading.Barrier(2)

    @app.task(name="meet")
    def meet() -> int:
        return met.wait(10)

    with worker(app, concurrency=2):
        first, second = meet.delay(), meet.delay()
        assert {first.get(timeout=10), second.get(timeout=10)} == {0, 1}


def test_async_tasks_and_shared_tasks_and_the_current_app(app: Umbel) -> None:
    other = Umbel("other", broker="memory://other")  # the current one in this thread

    @app.task(name="wait")
    async def wait() -> str:
        return "waited"

    @shared_task(name="whose")
    def whose() -> str | None:
        return str(current_app.main)

    with worker(app):
        assert wait.delay().get(timeout=10) == "waited"
        assert app.send_task("whose").get(timeout=10) == "proj"
    assert current_app._get_current_object() is other


def test_a_task_that_does_not_end_is_named(
    app: Umbel, new_threads: Callable[[], list[str]]
) -> None:
    started, end = threading.Event(), threading.Event()

    @app.task(name="endless")
    def endless() -> None:
        started.set()
        end.wait(10)

    context = worker(app, timeout=0.05)
    running = context.__enter__()
    endless.delay()
    assert started.wait(10)
    with pytest.raises(RuntimeError, match=r"still runs endless\["):
        context.__exit__(None, None, None)
    end.set()
    running.stop()
    assert new_threads() == []


def test_what_waits_behind_a_long_task_goes_back(app: Umbel) -> None:
    started, end = threading.Event(), threading.Event()

    @app.task(name="long")
    def long() -> None:
        started.set()
        end.wait(10)

    context = worker(app)
    running = context.__enter__()
    long.delay()
    assert started.wait(10)
    long.delay()
    running._lanes[0].tell_to_stop()
    assert running._lanes[0]._child.stopping.wait(10)
    end.set()
    context.__exit__(None, None, None)
    assert len(calls(app)) == 1


def test_signals_come_from_the_thread_of_the_worker(app: Umbel) -> None:
    heard: list[tuple[str, str]] = []

    def hear(name: str) -> Any:
        def receiver(**_: Any) -> None:
            heard.append((name, threading.current_thread().name))

        getattr(signals, name).connect(receiver, weak=False, dispatch_uid=name)
        return receiver

    order = ("worker_init", "worker_process_init", "worker_process_shutdown", "worker_shutdown")
    for name in order:
        hear(name)
    try:
        with worker(app):
            pass
    finally:
        for name in order:
            getattr(signals, name).disconnect(dispatch_uid=name)
    assert [name for name, _ in heard] == list(order)
    assert [thread for _, thread in heard][1:3] == ["umbel-worker-1", "umbel-worker-1"]


# run_pending


def test_what_waits_is_run_here(app: Umbel) -> None:
    @app.task(name="second")
    def second(x: int) -> int:
        return x * 2

    @app.task(name="first")
    def first(x: int) -> None:
        second.delay(x + 1)

    result = first.delay(1)
    ran = run_pending(app)
    assert [(one.name, list(one.args), one.state, one.result) for one in ran] == [
        ("first", [1], "SUCCESS", None),
        ("second", [2], "SUCCESS", 4),
    ]
    assert (ran[0].id, result.state) == (result.id, "SUCCESS")
    assert run_pending(app) == []
    assert leases(app) == []


def test_failures_and_what_is_ignored(app: Umbel) -> None:
    @app.task(name="fail")
    def fail() -> None:
        raise ValueError("boom")

    @app.task(name="ignore")
    def ignore() -> None:
        raise Ignore

    fail.delay()
    ignore.delay()
    app.send_task("unknown")
    failed, ignored, unknown = run_pending(app)
    assert (failed.state, str(failed.result)) == ("FAILURE", "boom")
    assert ignored.state == "IGNORED"
    assert (unknown.name, unknown.state) == ("unknown", None)


def test_time_passes_when_it_is_told_to(app: Umbel) -> None:
    @app.task(name="try_again", bind=True, default_retry_delay=60)
    def try_again(self: Any) -> int:
        if self.request.retries < 2:
            raise self.retry()
        return int(self.request.retries)

    result = try_again.apply_async(countdown=3600)
    clock = app.clock
    assert run_pending(app) == []
    assert [one.state for one in run_pending(app, ahead=3601)] == ["RETRY"]
    assert run_pending(app, ahead=3601) == []
    assert [one.state for one in run_pending(app, ahead=3662)] == ["RETRY"]
    assert [one.retries for one in run_pending(app, ahead=3723)] == [2]
    assert (result.get(timeout=1), app.clock) == (2, clock)


def test_a_call_that_has_expired(app: Umbel) -> None:
    @app.task(name="late")
    def late() -> None: ...

    late.apply_async(expires=60)
    assert [one.state for one in run_pending(app, ahead=61)] == ["REVOKED"]


def test_only_the_queues_that_are_named(app: Umbel) -> None:
    @app.task(name="quick")
    def quick() -> None: ...

    quick.apply_async(queue="other")
    assert run_pending(app) == []
    assert len(run_pending(app, queues=["other"])) == 1


def test_what_goes_on_for_ever_is_stopped(app: Umbel) -> None:
    @app.task(name="again")
    def again() -> None:
        again.delay()

    again.delay()
    with pytest.raises(RuntimeError, match=r"11 calls were run.*again"):
        run_pending(app, limit=10)


def test_time_belongs_to_a_server(tmp_path: Path) -> None:
    app = Umbel("proj", broker=f"sqlite:///{tmp_path}/umbel.db")
    with pytest.raises(ValueError, match="ahead=5 needs a broker in this process"):
        run_pending(app, ahead=5)
    app.close()


def test_what_is_revoked_does_not_run(app: Umbel) -> None:
    @app.task(name="t")
    def t() -> int:
        return 1

    first, second = t.delay(), t.delay()
    first.revoke()
    assert {ran.id: ran.state for ran in run_pending(app)} == {
        first.id: "REVOKED",
        second.id: "SUCCESS",
    }
    third = t.apply_async(countdown=60)
    third.revoke()
    assert [(ran.id, ran.state) for ran in run_pending(app, ahead=60)] == [(third.id, "REVOKED")]


def test_what_has_a_revoked_stamp_does_not_run(app: Umbel) -> None:
    @app.task(name="t")
    def t() -> int:
        return 1

    first, second = t.s().stamp(order=7).apply_async(), t.s().stamp(order="7").apply_async()
    first.revoke_by_stamped_headers({"order": [7, 9]})
    assert {ran.id: ran.state for ran in run_pending(app)} == {
        first.id: "REVOKED",
        second.id: "SUCCESS",
    }
    third = t.s().stamp(order=[8, 9]).apply_async(countdown=60)
    assert [(ran.id, ran.state) for ran in run_pending(app, ahead=60)] == [(third.id, "REVOKED")]


def test_a_worker_discards_what_has_a_revoked_stamp(app: Umbel) -> None:
    @app.task(name="t")
    def t() -> int:
        return 1

    app.control.revoke_by_stamped_headers({"order": 7})
    one, other = t.s().stamp(order=7).apply_async(), t.s().stamp(order=8).apply_async()
    with worker(app):
        assert other.get(timeout=10) == 1
        until(lambda: one.state == "REVOKED")


def test_a_worker_discards_what_is_revoked_and_lets_it_be_forgotten(app: Umbel) -> None:
    @app.task(name="t")
    def t() -> int:
        return 1

    one, other = t.delay(), t.delay()
    app.control.revoke([one.id, "never sent"])
    before = app.engines.state_store().items(REVOKED)
    with worker(app):
        assert other.get(timeout=10) == 1
        until(lambda: one.state == "REVOKED")
        until(lambda: app.engines.state_store().items(REVOKED)[one.id] != before[one.id])
    kept = {
        key: revoking.until(value)
        for key, value in app.engines.state_store().items(REVOKED).items()
    }
    assert kept[one.id] < SYSTEM.time() + revoking.KEPT_DISCARDED + 1
    assert kept["never sent"] > SYSTEM.time() + revoking.KEPT - 60
