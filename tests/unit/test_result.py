from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from tests.conftest import ManualClock
from umbel import AsyncResult, Umbel, states
from umbel.current import running
from umbel.exceptions import (
    ImproperlyConfigured,
    OperationalError,
    RemoteError,
    TaskRevokedError,
    TimeoutError,
    UmbelError,
)
from umbel.ports import ResultStore
from umbel.records import TaskResult, encode
from umbel.request import Request
from umbel.result import WAIT
from umbel.settings import Config
from umbel.testing.conformance.support import PATIENCE, at_most, in_thread


class Ticking(ManualClock):
    """A clock that passes half a second whenever someone looks."""

    def monotonic(self) -> float:
        self.now += 0.5
        return self.now


class Source:
    """What a result needs of an app."""

    def __init__(self, clock: Any, store: Any) -> None:
        self.clock = clock
        self.conf = Config()
        self._store = store

    def result_store(self) -> ResultStore:
        return cast(ResultStore, self._store)


class Never:
    """A store to which no result ever comes; it notes how long it was asked to wait."""

    def __init__(self) -> None:
        self.waits: list[float] = []

    def wait(self, task_ids: Any, timeout: float) -> dict[str, Any]:
        self.waits.append(timeout)
        return {}


def stored(
    app: Umbel, state: str, value: Any = None, traceback: str | None = None, id: str = "i"
) -> AsyncResult[Any]:
    """Store an outcome and return its result."""
    done = datetime(2026, 1, 2, tzinfo=UTC) if state in states.READY_STATES else None
    app.result_store().put([encode(TaskResult(id, state, value, traceback, done))])
    return app.AsyncResult(id)


# States


def test_what_nobody_knows_is_pending(app: Umbel) -> None:
    result = app.AsyncResult("nobody")
    assert (result.state, result.status, result.result, result.info) == (
        states.PENDING,
        states.PENDING,
        None,
        None,
    )
    assert (result.traceback, result.date_done) == (None, None)
    assert (result.ready(), result.successful(), result.failed()) == (False, False, False)


@pytest.mark.parametrize(
    ("state", "ready", "successful", "failed"),
    [
        (states.STARTED, False, False, False),
        (states.RETRY, False, False, False),
        ("PROGRESS", False, False, False),
        (states.SUCCESS, True, True, False),
        (states.FAILURE, True, False, True),
        (states.REVOKED, True, False, False),
    ],
)
def test_states(app: Umbel, state: str, ready: bool, successful: bool, failed: bool) -> None:
    error = state in states.EXCEPTION_STATES
    result = stored(app, state, ValueError("boom") if error else {"a": 1})
    assert result.state == state
    assert (result.ready(), result.successful(), result.failed()) == (ready, successful, failed)
    assert repr(result.result) == ("ValueError('boom')" if error else "{'a': 1}")
    assert (result.date_done is not None) is ready


def test_what_is_not_final_is_asked_for_again(app: Umbel) -> None:
    result = stored(app, states.STARTED)
    assert result.state == states.STARTED
    stored(app, states.SUCCESS, 5)
    assert (result.state, result.result) == (states.SUCCESS, 5)


def test_what_is_final_is_remembered(app: Umbel) -> None:
    result = stored(app, states.SUCCESS, 5)
    assert result.get() == 5
    app.AsyncResult("i").forget()
    assert (result.state, result.get(timeout=0)) == (states.SUCCESS, 5)
    assert app.AsyncResult("i").state == states.PENDING


def test_forget(app: Umbel) -> None:
    result = stored(app, states.SUCCESS, 5)
    assert result.ready()
    result.forget()
    assert result.state == states.PENDING


# get


def test_get_waits_for_the_result(app: Umbel) -> None:
    result = app.AsyncResult("i")
    with in_thread(lambda: result.get(timeout=PATIENCE)) as found:
        stored(app, states.SUCCESS, 5)
        assert found.result(PATIENCE) == 5


def test_get_does_not_wait_longer_than_it_was_told(app: Umbel) -> None:
    with at_most(5.0), pytest.raises(TimeoutError) as caught:
        app.AsyncResult("i").get(timeout=0.02)
    assert str(caught.value) == (
        "The result of task i did not arrive within 0.02 s. Is a worker running that consumes from its"
        " queue?"
    )


@pytest.mark.parametrize("timeout", [0, 0.0])
def test_a_timeout_of_nothing_only_looks(app: Umbel, timeout: float) -> None:
    with pytest.raises(AsyncResult.TimeoutError):
        app.AsyncResult("i").get(timeout=timeout)
    assert stored(app, states.SUCCESS, 5).get(timeout=timeout) == 5


def test_the_error_is_the_builtin_timeout_too(app: Umbel) -> None:
    assert issubclass(TimeoutError, __builtins__["TimeoutError"])  # type: ignore[index]


def test_a_state_that_is_not_final_does_not_end_the_wait(app: Umbel) -> None:
    with pytest.raises(TimeoutError):
        stored(app, states.RETRY, ValueError("boom")).get(timeout=0.01)


def test_on_interval_is_called_while_waiting_and_bounds_each_wait() -> None:
    store, called = Never(), []
    result: AsyncResult[Any] = AsyncResult("i", Source(Ticking(), store))
    with pytest.raises(TimeoutError):
        result.get(timeout=4, interval=0.75, on_interval=lambda: called.append(1))
    assert len(store.waits) >= 3
    assert max(store.waits) == 0.75
    assert len(called) == len(store.waits) - 1


def test_a_failure_is_raised_as_it_was(app: Umbel) -> None:
    result = stored(app, states.FAILURE, ValueError("boom", 7), "Traceback ...\nValueError\n")
    with pytest.raises(ValueError, match="boom") as caught:
        result.get()
    assert caught.value.args == ("boom", 7)
    assert caught.value.__notes__ == ["\nIn the worker:\nTraceback ...\nValueError\n"]
    assert result.traceback == "Traceback ...\nValueError\n"


def test_the_note_is_added_once(app: Umbel) -> None:
    result = stored(app, states.FAILURE, ValueError("boom"), "Traceback ...\n")
    for _ in range(3):
        with pytest.raises(ValueError, match="boom") as caught:
            result.get()
    assert len(caught.value.__notes__) == 1


def test_a_failure_whose_class_is_not_known_here(app: Umbel) -> None:
    class Local(Exception):
        pass

    with pytest.raises(RemoteError, match="Local: gone"):
        stored(app, states.FAILURE, Local("gone")).get()


def test_a_revoked_task_raises_too(app: Umbel) -> None:
    with pytest.raises(TaskRevokedError, match="expired"):
        stored(app, states.REVOKED, TaskRevokedError("expired")).get()


def test_a_failure_without_an_exception_is_an_error_all_the_same(app: Umbel) -> None:
    with pytest.raises(UmbelError, match="Task i ended as FAILURE: 'text'"):
        stored(app, states.FAILURE, "text").get()


def test_without_propagate_the_exception_is_returned(app: Umbel) -> None:
    found = stored(app, states.FAILURE, ValueError("boom")).get(propagate=False)
    assert isinstance(found, ValueError)


def test_the_callback_hears_of_success_and_failure(app: Umbel) -> None:
    heard: list[tuple[str, Any]] = []

    def hear(task_id: str, value: Any) -> None:
        heard.append((task_id, value))

    assert stored(app, states.SUCCESS, 5).get(callback=hear) == 5
    failed = stored(app, states.FAILURE, ValueError("boom"), id="j")
    with pytest.raises(ValueError, match="boom"):
        failed.get(callback=hear)
    assert [(task_id, repr(value)) for task_id, value in heard] == [
        ("i", "5"),
        ("j", "ValueError('boom')"),
    ]


# Never within a task


@pytest.fixture
def _within_a_task() -> Any:
    token = running.set(Request(id="outer", task="outer"))
    yield
    running.reset(token)


@pytest.mark.usefixtures("_within_a_task")
def test_never_within_a_task(app: Umbel) -> None:
    result = stored(app, states.SUCCESS, 5)
    with pytest.raises(RuntimeError, match=r"^Never call result\.get\(\) within a task: when all"):
        result.get()
    assert result.get(disable_sync_subtasks=False) == 5
    assert result.result == 5


@pytest.mark.usefixtures("_within_a_task")
def test_nor_await_within_a_task(app: Umbel) -> None:
    async def main() -> Any:
        return await stored(app, states.SUCCESS, 5)

    with pytest.raises(RuntimeError, match="Never call"):
        asyncio.run(main())


# In coroutines


def test_await(app: Umbel) -> None:
    async def main() -> tuple[Any, Any]:
        result = app.AsyncResult("i")
        waiting = asyncio.ensure_future(result.aget(timeout=PATIENCE))
        await asyncio.to_thread(stored, app, states.SUCCESS, 5)
        return await waiting, await result

    assert asyncio.run(main()) == (5, 5)


def test_awaiting_leaves_the_event_loop_free(app: Umbel) -> None:
    async def main() -> None:
        waiting = asyncio.ensure_future(app.AsyncResult("i").aget(timeout=PATIENCE))
        for _ in range(10):
            await asyncio.sleep(0)
        assert not waiting.done()
        stored(app, states.FAILURE, ValueError("boom"))
        assert isinstance(await app.AsyncResult("i").aget(propagate=False), ValueError)
        with pytest.raises(ValueError, match="boom"):
            await waiting

    asyncio.run(main())


def waiting_threads(of: str) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == f"umbel-result-{of}"]


@pytest.mark.parametrize("end", ["cancel", "wait_for"])
def test_who_stops_awaiting_leaves_no_thread(app: Umbel, end: str) -> None:
    id = f"never-{end}"

    async def main() -> None:
        result = app.AsyncResult(id)
        if end == "cancel":
            waiting = asyncio.ensure_future(result.aget())
            while not waiting_threads(id):
                await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        else:
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(result.aget(), 0.01)

    with at_most(0.8 * WAIT + 5):
        asyncio.run(main())
    for thread in waiting_threads(id):
        thread.join(WAIT + PATIENCE)
    assert waiting_threads(id) == []


def test_however_many_wait_there_is_a_thread_left(app: Umbel) -> None:
    task = app.task(name="t")(lambda: None)

    async def main() -> int:
        waiting = [asyncio.ensure_future(app.AsyncResult("i").aget()) for _ in range(100)]
        while len(waiting_threads("i")) < len(waiting):
            await asyncio.sleep(0)
        await asyncio.wait_for(task.adelay(), PATIENCE)
        await asyncio.to_thread(stored, app, states.SUCCESS, 5)
        return sum(await asyncio.wait_for(asyncio.gather(*waiting), PATIENCE))

    assert asyncio.run(main()) == 500


def test_a_store_that_fails_raises_where_it_is_awaited() -> None:
    class Broken:
        def wait(self, task_ids: Any, timeout: float) -> dict[str, Any]:
            raise OperationalError("away")

    async def main() -> None:
        await AsyncResult("i", Source(ManualClock(), Broken()))

    with pytest.raises(OperationalError, match="away"):
        asyncio.run(main())


# Identity


def test_a_result_is_its_id(app: Umbel) -> None:
    result = app.AsyncResult("i")
    assert str(result) == result.id == result.task_id == "i"
    assert repr(result) == "<AsyncResult: i>"
    assert hash(result) == hash("i")
    assert result == AsyncResult("i", app)
    assert result == "i"
    assert result != AsyncResult("j", app)
    assert result != "j"
    assert result != 1
    assert {result, AsyncResult("i", app), AsyncResult("j", app)} == {"i", "j"}


@pytest.mark.parametrize("id", [None, ""])
def test_a_result_needs_an_id(id: Any) -> None:
    with pytest.raises(ValueError, match="AsyncResult requires valid id, not <class"):
        AsyncResult(id)


def test_without_an_app_it_asks_the_current_one(app: Umbel) -> None:
    stored(app, states.SUCCESS, 5)
    assert AsyncResult("i").get() == 5
    assert AsyncResult("i").app is app


LOOKS: list[Callable[[AsyncResult[Any]], object]] = [
    lambda result: result.state,
    lambda result: result.get(timeout=1),
    lambda result: result.ready(),
    lambda result: result.forget(),
]


@pytest.mark.parametrize("look", LOOKS)
def test_without_a_store_every_look_says_what_to_set(
    memory: str, look: Callable[[AsyncResult[Any]], object]
) -> None:
    app = Umbel(broker=memory)
    with pytest.raises(
        ImproperlyConfigured, match=r"Results are not kept.*Set result_backend, for"
    ):
        look(app.AsyncResult("i"))


def test_many_threads_may_wait_for_one_result(app: Umbel) -> None:
    found: list[Any] = []
    result = app.AsyncResult("i")
    threads = [
        threading.Thread(target=lambda: found.append(result.get(timeout=PATIENCE)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    stored(app, states.SUCCESS, 5)
    for thread in threads:
        thread.join(PATIENCE)
    assert found == [5] * 8
