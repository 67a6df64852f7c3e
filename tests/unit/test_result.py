from __future__ import annotations

import asyncio
import copy
import gc
import io
import json
import pickle
import queue
import threading
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from umbel import AsyncResult, Umbel, kin, states
from umbel.current import running
from umbel.exceptions import (
    ImproperlyConfigured,
    IncompleteStream,
    OperationalError,
    RemoteError,
    TaskRevokedError,
    TimeoutError,
    UmbelError,
)
from umbel.records import CallInfo, TaskResult, encode
from umbel.request import Request
from umbel.result import EagerResult, allow_join_result, denied_join_result, result_from_tuple
from umbel.result.graph import DependencyGraph
from umbel.testing.conformance.support import PATIENCE, at_most, in_thread
from umbel.waiting import hub_of


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


def test_on_interval_is_called_while_waiting(app: Umbel) -> None:
    called: list[int] = []

    def look() -> None:
        called.append(1)
        if len(called) == 3:
            stored(app, states.SUCCESS, 5)

    assert app.AsyncResult("i").get(PATIENCE, interval=0.01, on_interval=look) == 5
    assert len(called) == 3


def test_what_on_interval_raises_ends_the_wait(app: Umbel) -> None:
    def stop() -> None:
        raise KeyError("enough")

    with pytest.raises(KeyError, match="enough"):
        app.AsyncResult("i").get(interval=0.01, on_interval=stop)
    assert not hub_of(app.result_store()).busy


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


def test_the_callback_hears_of_what_is_returned(app: Umbel) -> None:
    heard: list[tuple[str, Any]] = []

    def hear(task_id: str, value: Any) -> None:
        heard.append((task_id, value))

    assert stored(app, states.SUCCESS, 5).get(callback=hear) == 5
    failed = stored(app, states.FAILURE, ValueError("boom"), id="j")
    with pytest.raises(ValueError, match="boom"):
        failed.get(callback=hear)
    failed.get(callback=hear, propagate=False)
    assert [(task_id, repr(value)) for task_id, value in heard] == [
        ("i", "5"),
        ("j", "ValueError('boom')"),
    ]


def test_on_message_hears_of_every_state_on_the_way(app: Umbel) -> None:
    told: list[tuple[str, Any]] = []

    def hear(meta: dict[str, Any]) -> None:
        told.append((meta["status"], meta["result"]))
        if meta["status"] == "PROGRESS":
            following = {10: ("PROGRESS", 60), 60: ("SUCCESS", None)}
            state, done = following[meta["result"]["done"]]
            stored(app, state, {"done": done} if done else 5)

    stored(app, "PROGRESS", {"done": 10})
    assert app.AsyncResult("i").get(PATIENCE, on_message=hear) == 5
    assert told == [("PROGRESS", {"done": 10}), ("PROGRESS", {"done": 60}), ("SUCCESS", 5)]


def test_an_ignored_result_is_nothing_at_once(app: Umbel) -> None:
    result = app.AsyncResult("i")
    assert not result.ignored
    result.ignored = True
    assert result.get() is None
    assert asyncio.run(_awaited(result)) is None


async def _awaited(result: AsyncResult[Any]) -> Any:
    return await result


@pytest.mark.parametrize(
    ("of_task", "of_call", "general", "ignored"),
    [
        (None, None, False, False),
        (True, None, False, True),
        (None, True, False, True),
        (None, None, True, True),
        (False, None, True, False),
        (True, False, False, False),
        (None, False, True, False),
    ],
)
def test_calls_whose_result_is_not_stored_are_ignored(
    app: Umbel, of_task: bool | None, of_call: bool | None, general: bool, ignored: bool
) -> None:
    app.conf.task_ignore_result = general
    task = app.task(name="t", ignore_result=of_task)(lambda: None)
    assert task.apply_async((), {}, ignore_result=of_call).ignored is ignored
    assert app.send_task("t", ignore_result=of_call).ignored is ignored


# Parents


def chained(app: Umbel) -> AsyncResult[Any]:
    first = AsyncResult[Any]("first", app=app)
    return AsyncResult("i", app=app, parent=AsyncResult("second", app=app, parent=first))


def test_the_failure_of_a_parent_is_raised(app: Umbel) -> None:
    stored(app, states.SUCCESS, 1, id="second")
    stored(app, states.FAILURE, ValueError("parent"), id="first")
    with pytest.raises(ValueError, match="parent"):
        chained(app).get(PATIENCE)
    with pytest.raises(ValueError, match="parent"):
        asyncio.run(_awaited(chained(app)))


def test_a_parent_that_fails_later_ends_the_wait(app: Umbel) -> None:
    with in_thread(lambda: chained(app).get(PATIENCE)) as found:
        stored(app, states.SUCCESS, 1, id="first")
        stored(app, states.REVOKED, TaskRevokedError("why"), id="second")
        with pytest.raises(TaskRevokedError, match="why"):
            found.result(PATIENCE)


def test_a_call_may_be_before_itself(app: Umbel) -> None:
    """As where a frozen call stands twice in a chain."""
    result = AsyncResult[Any]("a", app=app, parent=app.AsyncResult("a"))
    with in_thread(lambda: result.get(timeout=1)) as found:
        app.backend.mark_as_done("a", 5)
        assert found.result(PATIENCE) == 5
    again = AsyncResult[Any]("a", app=app, parent=app.AsyncResult("a"))
    assert asyncio.run(again.aget(timeout=1)) == 5


def test_the_failure_of_one_of_many_parents_is_raised(app: Umbel) -> None:
    stored(app, states.SUCCESS, 1, id="0")
    stored(app, states.FAILURE, ValueError("parent"), id="5")
    stored(app, states.FAILURE, KeyError("of the last"), id=str(LONG - 1))
    with pytest.raises(ValueError, match="parent"):
        in_a_row(app).get(PATIENCE)
    with pytest.raises(ValueError, match="parent"):
        asyncio.run(_awaited(in_a_row(app)))
    with pytest.raises(ValueError, match="parent"):
        app.GroupResult("group", [in_a_row(app)]).get(PATIENCE)
    with pytest.raises(KeyError, match="of the last"):
        in_a_row(app).get(PATIENCE, follow_parents=False)


@pytest.mark.parametrize("options", [{"follow_parents": False}, {"propagate": False}])
def test_parents_are_followed_only_if_wanted(app: Umbel, options: dict[str, Any]) -> None:
    stored(app, states.FAILURE, ValueError("parent"), id="first")
    with pytest.raises(TimeoutError):
        chained(app).get(0.01, **options)
    stored(app, states.SUCCESS, 5)
    assert chained(app).get(PATIENCE, **options) == 5


def test_forgetting_forgets_the_parents_too(app: Umbel) -> None:
    for id in ("first", "second", "i", "other"):
        stored(app, states.SUCCESS, 5, id=id)
    result = chained(app)
    assert result.get() == 5
    result.forget()
    exists = {id: app.AsyncResult(id).exists() for id in ("first", "second", "i", "other")}
    assert exists == {"first": False, "second": False, "i": False, "other": True}
    assert result.state == states.PENDING


# maybe_throw, as Celery 5.7 does


def test_maybe_throw(app: Umbel) -> None:
    heard: list[Any] = []

    def hear(_: str, value: Any) -> None:
        heard.append(value)

    assert app.AsyncResult("nobody").maybe_throw(callback=hear) is None
    assert stored(app, states.SUCCESS, 5).maybe_throw(callback=hear) == 5
    failed = stored(app, states.FAILURE, ValueError("boom"), id="j")
    with pytest.raises(ValueError, match="boom"):
        failed.maybe_reraise(callback=hear)
    assert repr(failed.maybe_throw(propagate=False, callback=hear)) == "ValueError('boom')"
    retried = stored(app, states.RETRY, ValueError("again"), id="k")
    assert repr(retried.maybe_throw()) == "ValueError('again')"
    assert list(map(repr, heard)) == ["None", "5", "ValueError('boom')"]


def test_throw(app: Umbel) -> None:
    with pytest.raises(KeyError, match="x"):
        app.AsyncResult("i").throw(KeyError("x"))


# then


def test_then_is_called_when_the_result_is_there(app: Umbel) -> None:
    heard: queue.SimpleQueue[Any] = queue.SimpleQueue()
    result = app.AsyncResult("i")
    assert result.then(heard.put) is result
    stored(app, states.STARTED)
    stored(app, states.FAILURE, ValueError("boom"))
    assert heard.get(timeout=PATIENCE) is result
    assert result.failed()
    result.then(heard.put)
    assert heard.get_nowait() is result


def test_what_a_callback_raises_goes_to_on_error(app: Umbel) -> None:
    heard: queue.SimpleQueue[Any] = queue.SimpleQueue()
    result = app.AsyncResult("i")
    result.then(lambda _: 1 / 0, on_error=heard.put)
    stored(app, states.SUCCESS, 5)
    assert repr(heard.get(timeout=PATIENCE)) == "ZeroDivisionError('division by zero')"
    with pytest.raises(ZeroDivisionError):
        result.then(lambda _: 1 / 0)


def test_a_callback_may_not_wait_for_other_results(app: Umbel) -> None:
    heard: queue.SimpleQueue[Any] = queue.SimpleQueue()
    app.AsyncResult("i").then(lambda _: app.AsyncResult("j").get(), on_error=heard.put)
    stored(app, states.SUCCESS, 5)
    with pytest.raises(RuntimeError, match="must not wait for other results"):
        raise heard.get(timeout=PATIENCE)


def test_a_weak_callback_goes_with_its_result(app: Umbel) -> None:
    heard: queue.SimpleQueue[Any] = queue.SimpleQueue()
    app.AsyncResult("i").then(lambda _: heard.put("weak"), weak=True)
    app.AsyncResult("i").then(lambda _: heard.put("strong"))
    gc.collect()
    stored(app, states.SUCCESS, 5)
    assert heard.get(timeout=PATIENCE) == "strong"
    assert heard.empty()


# What followed


def family(app: Umbel) -> AsyncResult[Any]:
    """Store what two calls left that a task made, one of which made another one."""
    tree: dict[str, list[str]] = {"root": ["a", "b"], "a": ["c"], "b": [], "c": []}
    for number, (id, children) in enumerate(tree.items()):
        made = [[[child, None], None] for child in children]
        result = TaskResult(id, states.SUCCESS, number, children=made)
        app.result_store().put([encode(result)])
    return app.AsyncResult("root")


def test_children_are_results(app: Umbel) -> None:
    root = family(app)
    assert list(map(str, root.children or ())) == ["a", "b"]
    assert root.children is root.children
    assert all(child.app is app for child in root.children or ())
    assert app.AsyncResult("b").children == []
    assert app.AsyncResult("nobody").children is None


def test_what_followed_is_walked_through(app: Umbel) -> None:
    root = family(app)
    walked = [(str(maker), str(node)) for maker, node in root.iterdeps()]
    assert walked == [("None", "root"), ("root", "a"), ("root", "b"), ("a", "c")]
    collected = [(str(node), value) for node, value in root.collect(timeout=1)]
    assert collected == [("root", 0), ("a", 1), ("b", 2), ("c", 3)]
    assert root.get_leaf() == 3


def test_what_has_not_ended_ends_the_walk_unless_that_is_wanted(app: Umbel) -> None:
    root = family(app)
    app.AsyncResult("b").forget()
    with pytest.raises(IncompleteStream, match="The task b has not ended"):
        list(root.iterdeps())
    assert len(list(root.iterdeps(intermediate=True))) == 4


def test_the_graph(app: Umbel) -> None:
    graph = family(app).graph
    assert dict(graph.items()) == {"root": ["a", "b"], "a": ["c"], "b": [], "c": []}
    assert list(graph.edges()) == ["root", "a"]
    assert (graph.valency_of("root"), graph.valency_of("b"), graph.valency_of("x")) == (3, 0, 0)
    order = graph.topsort()
    assert order[-1] == "root"
    assert order.index("c") < order.index("a")
    written = io.StringIO()
    graph.to_dot(written)
    assert written.getvalue().splitlines()[:4] == [
        "digraph dependencies {",
        '    "root"',
        '    "root" -> "a"',
        '    "root" -> "b"',
    ]
    assert ("a" in graph, "x" in graph, len(graph), list(graph)) == (
        True,
        False,
        4,
        ["root", "a", "b", "c"],
    )
    assert repr(graph) == "<DependencyGraph: 4 objects>"
    whole = DependencyGraph([("x", ["y"])])
    whole.connect(graph)
    assert len(whole) == 5


def test_calls_made_by_a_task_are_its_children(app: Umbel) -> None:
    task = app.task(name="t")(lambda: None)
    request = Request(id="maker", task="t", called_directly=False)
    token = running.set(request)
    one, two = task.delay(), *task.delay_many([()])
    running.reset(token)
    task.delay()
    assert request.children == [one, two]


# Extended results


def test_what_is_kept_of_the_call(app: Umbel) -> None:
    call = CallInfo("t", [1], {"x": 2}, "celery@host", 3, "mails")
    app.result_store().put([encode(TaskResult("i", states.SUCCESS, 5, call=call))])
    result = app.AsyncResult("i")
    assert (result.name, result.args, result.kwargs) == ("t", [1], {"x": 2})
    assert (result.worker, result.retries, result.queue) == ("celery@host", 3, "mails")


# Never within a task


@pytest.fixture
def _within_a_task() -> Any:
    token = running.set(Request(id="outer", task="outer", called_directly=False))
    yield
    running.reset(token)


@pytest.mark.usefixtures("_within_a_task")
def test_never_within_a_task(app: Umbel) -> None:
    result = stored(app, states.SUCCESS, 5)
    with pytest.raises(RuntimeError, match=r"^Never call result\.get\(\) within a task: when all"):
        result.get()
    assert result.get(disable_sync_subtasks=False) == 5
    assert result.result == 5
    with allow_join_result():
        assert result.get() == 5
        with denied_join_result(), pytest.raises(RuntimeError, match="Never call"):
            result.get()
    with pytest.raises(RuntimeError, match="Never call"):
        result.get()


def test_within_an_eager_task_it_may_wait(app: Umbel) -> None:
    token = running.set(Request(id="outer", task="outer", is_eager=True))
    assert stored(app, states.SUCCESS, 5).get() == 5
    running.reset(token)


def test_waiting_can_be_denied_anywhere(app: Umbel) -> None:
    with denied_join_result(), pytest.raises(RuntimeError, match="Never call"):
        stored(app, states.SUCCESS, 5).get()


@pytest.mark.usefixtures("_within_a_task")
def test_nor_await_within_a_task(app: Umbel) -> None:
    async def main() -> Any:
        return await stored(app, states.SUCCESS, 5)

    with pytest.raises(RuntimeError, match=r"Never call .*await it in a block"):
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


@pytest.mark.parametrize("end", ["cancel", "wait_for", "timeout"])
def test_who_stops_awaiting_leaves_nothing_behind(app: Umbel, end: str) -> None:
    hub = hub_of(app.result_store())

    async def main() -> None:
        result = app.AsyncResult("never")
        if end == "cancel":
            waiting = asyncio.ensure_future(result.aget())
            while not hub.busy:
                await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        elif end == "timeout":
            with pytest.raises(TimeoutError, match=r"never did not arrive within 0\.01 s"):
                await result.aget(timeout=0.01)
        else:
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(result.aget(), 0.01)

    asyncio.run(main())
    assert not hub.busy


@pytest.mark.parametrize("timeout", [0, -1])
def test_awaiting_for_no_time_only_looks(app: Umbel, timeout: float) -> None:
    with pytest.raises(TimeoutError):
        asyncio.run(app.AsyncResult("i").aget(timeout=timeout))
    assert asyncio.run(stored(app, states.SUCCESS, 5).aget(timeout=timeout)) == 5


@pytest.mark.parametrize("timeout", ["5", timedelta(seconds=5), float("nan")])
def test_a_timeout_that_is_no_number_of_seconds_is_refused(app: Umbel, timeout: Any) -> None:
    for result in (app.AsyncResult("i"), app.ResultSet([app.AsyncResult("i")])):
        with pytest.raises(TypeError, match=r"timeout is .* must be a number of seconds, or None"):
            result.get(timeout=timeout)
        with pytest.raises(TypeError, match=r"timeout is .* must be a number of seconds, or None"):
            asyncio.run(result.aget(timeout=timeout))


def test_a_store_that_fails_raises_where_it_is_awaited() -> None:
    app = Umbel("broken", broker="memory://broken", backend="memory://broken")
    store = app.result_store()

    def fail() -> Any:
        raise OperationalError("away")

    store.subscribe = fail  # type: ignore[method-assign]
    with pytest.raises(OperationalError, match="away"):
        asyncio.run(_awaited(app.AsyncResult("i")))
    with pytest.raises(OperationalError, match="away"):
        app.AsyncResult("i").get(timeout=PATIENCE)


# Identity


def test_a_result_is_its_id(app: Umbel) -> None:
    result = app.AsyncResult("i")
    assert str(result) == result.id == result.task_id == "i"
    assert repr(result) == "<AsyncResult: i>"
    assert hash(result) == hash("i")
    assert result == AsyncResult("i", app=app)
    assert result == "i"
    assert result != AsyncResult("j", app=app)
    assert result != "j"
    assert result != 1
    assert {result, AsyncResult("i", app=app), AsyncResult("j", app=app)} == {"i", "j"}


def test_as_tuple_and_back(app: Umbel) -> None:
    result = chained(app)
    written = (("i", (("second", (("first", None), None)), None)), None)
    assert result.as_tuple() == written
    assert result.as_list() == ["i", "second", "first"]
    assert app.AsyncResult("i").as_tuple() == (("i", None), None)
    found = result_from_tuple(json.loads(json.dumps(written)), app)
    assert found.as_tuple() == written
    assert found.app is app
    assert result_from_tuple(found) is found
    assert result_from_tuple(["i", None], app).as_tuple() == (("i", None), None)


def test_copies(app: Umbel) -> None:
    result = chained(app)
    copied, unpickled = copy.copy(result), pickle.loads(pickle.dumps(result))  # noqa: S301 - ours
    assert copied.as_tuple() == unpickled.as_tuple() == result.as_tuple()
    assert copied.app is app


LONG = 5000


def in_a_row(app: Umbel, count: int = LONG) -> AsyncResult[Any]:
    """Return the result of the last of so many calls that follow each other."""
    result = AsyncResult[Any]("0", app=app)
    for number in range(1, count):
        result = AsyncResult(str(number), app=app, parent=result)
    return result


def test_a_result_may_have_thousands_of_parents(app: Umbel) -> None:
    app.set_current()
    result = in_a_row(app)
    written = result.as_tuple()
    again = [
        result_from_tuple(written, app),
        pickle.loads(pickle.dumps(result)),  # noqa: S301 - ours
        copy.deepcopy(result),
        copy.copy(result),
    ]
    for one in again:
        assert (one.as_list(), repr(one)) == (result.as_list(), "<AsyncResult: 4999>")
        assert kin.split(one.as_tuple()[0])[0] == "4999"
    assert len(result.as_list()) == LONG


def test_groups_may_follow_thousands_of_groups(app: Umbel) -> None:
    def made() -> Any:
        result = None
        for number in range(LONG):
            result = app.GroupResult(f"g{number}", [app.AsyncResult(f"m{number}")], parent=result)
        return result

    app.set_current()
    result = made()
    assert result == made()
    assert result_from_tuple(result.as_tuple(), app) == result
    assert pickle.loads(pickle.dumps(result)) == result  # noqa: S301 - ours


def test_a_walk_may_pass_thousands_of_calls(app: Umbel) -> None:
    for number in range(LONG):
        children = [[[str(number + 1), None], None]] if number < LONG - 1 else []
        done = TaskResult(str(number), states.SUCCESS, number, children=children)
        app.result_store().put([encode(done)])
    root = app.AsyncResult("0")
    graph = root.graph
    assert graph.valency_of("0") == LONG - 1
    assert graph.topsort()[0] == str(LONG - 1)
    assert root.get_leaf() == LONG - 1
    assert len(list(root.collect(timeout=1))) == LONG


def test_the_id_may_be_a_uuid_and_may_change(app: Umbel) -> None:
    id = uuid.UUID(int=5)
    stored(app, states.SUCCESS, 5, id=str(id))
    result = AsyncResult[Any](id, app=app)  # type: ignore[arg-type]
    assert (result.get(), result.exists(), str(result)) == (5, True, str(id))
    other = app.AsyncResult("j")
    other.task_id = str(id)
    assert other.result == 5


def test_a_backend_may_be_given_instead_of_an_app(app: Umbel) -> None:
    stored(app, states.SUCCESS, 5)
    result = AsyncResult[Any]("i", app.backend)
    assert (result.get(), result.backend, result.app) == (5, app.backend, app)


@pytest.mark.parametrize("id", [None, ""])
def test_a_result_needs_an_id(id: Any) -> None:
    with pytest.raises(ValueError, match=r"AsyncResult needs the id of a call, not (None|'')"):
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


def test_packages_ask_for_metas_and_make_results_of_calls_that_were_not_sent(app: Umbel) -> None:
    app.backend.store_result("1", {"done": 3}, "PROGRESS")
    meta = app.AsyncResult("1")._get_task_meta()
    assert (meta["status"], meta["result"]) == ("PROGRESS", {"done": 3})
    assert app.AsyncResult("2")._get_task_meta()["status"] == "PENDING"
    refused = EagerResult[Any](None, None, "REJECTED")
    assert not refused.id
    assert (refused.state, refused.get()) == ("REJECTED", None)
    assert refused._get_task_meta()["status"] == "REJECTED"
