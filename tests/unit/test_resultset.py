"""Several results as one, and the results of groups."""

from __future__ import annotations

import asyncio
import copy
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from umbel import AsyncResult, TimeoutError, Umbel
from umbel.current import running
from umbel.request import Request
from umbel.result import (
    EagerResult,
    GroupResult,
    ResultSet,
    allow_join_result,
    result_from_tuple,
)
from umbel.testing.conformance.support import PATIENCE, in_thread, until
from umbel.waiting import hub_of


def done(app: Umbel, **values: Any) -> None:
    for name, value in values.items():
        state = "FAILURE" if isinstance(value, Exception) else "SUCCESS"
        app.backend.store_result(name, value, state)


def group(app: Umbel, *names: str, id: str = "g") -> GroupResult:
    return app.GroupResult(id, [app.AsyncResult(name) for name in names])


@contextmanager
def within_a_task() -> Iterator[None]:
    token = running.set(Request(id="i", task="t", called_directly=False))
    try:
        yield
    finally:
        running.reset(token)


# Members


def test_members_are_added_and_removed(app: Umbel) -> None:
    results = app.ResultSet([app.AsyncResult("a")])
    results.add(app.AsyncResult("a"))
    results.add(app.AsyncResult("b"))
    results.update([app.AsyncResult("b"), app.AsyncResult("c")])
    assert [one.id for one in results] == ["a", "b", "c"]
    assert (len(results), results[1].id) == (3, "b")
    assert repr(results) == "<ResultSet: [a, b, c]>"
    results.remove("a")
    results.discard(app.AsyncResult("b"))
    results.discard("none")
    assert results == app.ResultSet([app.AsyncResult("c")])
    with pytest.raises(KeyError):
        results.remove("none")
    results.clear()
    assert (list(results), results.get()) == ([], [])
    with pytest.raises(TypeError):
        hash(results)


def test_a_set_knows_its_app_by_its_members(app: Umbel) -> None:
    other = Umbel(broker="memory://", backend="memory://")
    assert ResultSet([AsyncResult("a", app=app)]).app is app
    empty = ResultSet()
    assert empty.app is other
    empty.app = app
    assert empty.backend is app.backend


# What is known


def test_what_became_of_all(app: Umbel) -> None:
    results = group(app, "a", "b", "c")
    assert (results.ready(), results.waiting(), results.completed_count()) == (False, True, 0)
    done(app, a=1, b=2)
    app.backend.store_result("c", None, "STARTED")
    assert (results.ready(), results.successful(), results.completed_count()) == (False, False, 2)
    done(app, c=ValueError("no"))
    assert (results.ready(), results.successful(), results.failed()) == (True, False, True)
    assert results.completed_count() == 2
    with pytest.raises(ValueError, match="no"):
        results.maybe_throw()
    seen: list[Any] = []
    results.maybe_throw(lambda id, value: seen.append((id, repr(value))), propagate=False)
    assert seen == [("a", "1"), ("b", "2"), ("c", "ValueError('no')")]


def test_a_group_among_the_members_counts_as_one(app: Umbel) -> None:
    outer = app.GroupResult("outer", [app.AsyncResult("a"), group(app, "b", "c")])
    done(app, a=1, b=2)
    assert outer.completed_count() == 1
    done(app, c=3)
    assert (outer.completed_count(), outer.successful()) == (2, True)
    assert outer.get() == [1, [2, 3]]


def test_states_are_read_in_one_call(app: Umbel, monkeypatch: pytest.MonkeyPatch) -> None:
    store = app.result_store()
    reads: list[Any] = []
    read = store.get

    def counting(ids: Any) -> Any:
        reads.append(ids)
        return read(ids)

    monkeypatch.setattr(store, "get", counting)
    results = group(app, *(str(number) for number in range(100)))
    assert not results.ready()
    assert [len(ids) for ids in reads] == [100]


def test_results_that_were_run_here_are_known(app: Umbel) -> None:
    task = app.task(name="t")(lambda x: x)
    results = app.ResultSet([task.apply((1,)), task.apply((2,))])
    assert (results.ready(), results.successful(), results.get()) == (True, True, [1, 2])
    ignored: EagerResult[None] = EagerResult("i", None, "IGNORED")
    assert app.ResultSet([ignored]).ready()


def test_an_ignored_result_is_none_at_once(app: Umbel) -> None:
    task = app.task(name="t", ignore_result=True)(lambda: None)
    assert app.ResultSet([task.delay()]).get(timeout=0) == [None]


# Waiting


def test_values_come_in_order_however_they_arrive(app: Umbel) -> None:
    results = group(app, "a", "b", "c")
    with in_thread(lambda: results.get(timeout=PATIENCE)) as found:
        for name in ("c", "a", "b"):
            done(app, **{name: name.upper()})
        assert found.result(PATIENCE) == ["A", "B", "C"]
    assert results.join() == results.join_native() == ["A", "B", "C"]


def test_a_failure_is_raised_before_the_others_have_ended(app: Umbel) -> None:
    results = group(app, "a", "b")
    done(app, b=ValueError("no"))
    with pytest.raises(ValueError, match="no"):
        results.get(timeout=PATIENCE)
    nested = app.GroupResult("outer", [app.AsyncResult("x"), results])
    with pytest.raises(ValueError, match="no"):
        nested.get(timeout=PATIENCE)


def test_exceptions_are_values_without_propagate(app: Umbel) -> None:
    done(app, a=1, b=ValueError("no"))
    first, second = group(app, "a", "b").get(propagate=False)
    assert (first, repr(second)) == (1, "ValueError('no')")


def test_a_failed_parent_is_raised(app: Umbel) -> None:
    parent = app.AsyncResult("p")
    results = app.GroupResult("g", [AsyncResult("a", app=app, parent=parent)], parent=parent)
    done(app, p=ValueError("before"))
    with pytest.raises(ValueError, match="before"):
        results.get(timeout=PATIENCE)
    after: AsyncResult[Any] = AsyncResult("after", app=app, parent=group(app, "p", "q"))
    with pytest.raises(ValueError, match="before"):
        after.get(timeout=PATIENCE)


@pytest.mark.parametrize("how", ["get", "await"])
def test_what_failed_before_comes_first_in_whichever_order_it_is_heard(
    app: Umbel, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """News of few come as they are found; who hears that a call failed looks at those before it."""
    store = app.results
    assert store is not None
    result: AsyncResult[Any] = AsyncResult("a", app=app, parent=app.AsyncResult("p"))
    told: list[Any] = []

    def adding(task_ids: Any, listener: Any, **more: Any) -> None:
        done(app, p=ValueError("before"), a=ValueError("after"))
        told.append(store.get(["a"])["a"])
        listener(told[0])

    monkeypatch.setattr(hub_of(store), "add", adding)
    result.just_sent = True
    with pytest.raises(ValueError, match="before"):
        asyncio.run(result.aget(timeout=PATIENCE)) if how == "await" else result.get(PATIENCE)
    assert told


@pytest.mark.parametrize("how", ["get", "aget"])
@pytest.mark.parametrize("kind", ["result", "set"])
def test_the_failure_before_is_told_when_what_is_waited_for_has_failed_too(
    app: Umbel, monkeypatch: pytest.MonkeyPatch, kind: str, how: str
) -> None:
    """Else who looks which of a group have failed would find that none has."""
    one: AsyncResult[Any] = AsyncResult("a", app=app, parent=app.AsyncResult("p"))
    waiting: Any = one if kind == "result" else app.ResultSet([one, app.AsyncResult("b")])
    store = app.result_store()
    read = store.get

    def reading(task_ids: Any, *more: Any) -> Any:
        if list(task_ids) == ["a"]:
            done(app, a=ValueError("after"))
        return read(task_ids, *more)

    def wait() -> dict[str, Any]:
        with pytest.raises(ValueError, match="before"):
            asyncio.run(waiting.aget(PATIENCE)) if how == "aget" else waiting.get(PATIENCE)
        return read(["a"])

    monkeypatch.setattr(store, "get", reading)
    with in_thread(wait) as found:
        until(lambda: "p" in hub_of(store)._listeners)
        done(app, p=ValueError("before"))
        assert found.result(PATIENCE)["a"].state == "FAILURE"


def test_running_out_of_time_says_how_many_are_missing(app: Umbel) -> None:
    done(app, a=1)
    with pytest.raises(TimeoutError, match=r"2 of 3 results, among them that of task b, did not"):
        group(app, "a", "b", "c").get(timeout=0)


def test_callbacks_get_what_comes(app: Umbel) -> None:
    done(app, a=1, b=2)
    seen: list[Any] = []
    results = group(app, "a", "b")
    assert results.get(callback=lambda id, value: seen.append((id, value))) is None
    assert results.join(callback=lambda id, value: seen.append((id, value))) == []
    assert seen == [("a", 1), ("b", 2)] * 2
    told: list[Any] = []
    assert group(app, "a", "b").join_native(on_message=told.append) == [1, 2]
    assert sorted(meta["task_id"] for meta in told) == ["a", "b"]


def test_callbacks_come_in_order_before_all_are_there(app: Umbel) -> None:
    done(app, a=1, c=3)
    seen: list[Any] = []
    with pytest.raises(TimeoutError):
        group(app, "a", "b", "c").join(0.05, callback=lambda id, value: seen.append((id, value)))
    assert seen == [("a", 1)]


def test_waiting_calls_back_between(app: Umbel) -> None:
    results = group(app, "a")
    calls: list[int] = []

    def tick() -> None:
        calls.append(1)
        if len(calls) == 2:
            done(app, a=1)

    assert results.get(interval=0.001, on_interval=tick) == [1]


def test_iterating_gives_each_as_it_ends(app: Umbel) -> None:
    done(app, b=2, c=3)
    outer = app.ResultSet([app.AsyncResult("a"), app.AsyncResult("b"), group(app, "c")])
    news = outer.iter_native(timeout=PATIENCE)
    assert [next(news)[0], next(news)[0]] == ["b", "g"]
    done(app, a=1)
    id, meta = next(news)
    assert (id, meta["status"], meta["result"]) == ("a", "SUCCESS", 1)
    assert list(news) == []


def test_within_a_task_nobody_waits(app: Umbel) -> None:
    done(app, a=1)
    results = group(app, "a")
    with within_a_task():
        with pytest.raises(RuntimeError, match=r"Never call result.get\(\) within a task"):
            results.get()
        with pytest.raises(RuntimeError):
            results.join()
        assert results.get(disable_sync_subtasks=False) == [1]
        with allow_join_result():
            assert results.join_native() == [1]


def test_thousands_are_waited_for_by_one_subscription(
    app: Umbel, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = app.result_store()
    subscriptions: list[Any] = []
    subscribe = store.subscribe

    def counting() -> Any:
        subscriptions.append(1)
        return subscribe()

    monkeypatch.setattr(store, "subscribe", counting)
    names = [f"{number}" for number in range(2_000)]
    results = group(app, *names)
    with in_thread(lambda: results.get(timeout=60)) as found:
        for name in names:
            app.backend.store_result(name, int(name), "SUCCESS")
        assert found.result(60) == list(range(2_000))
    assert len(subscriptions) <= 1


def test_a_coroutine_waits_for_a_group(app: Umbel) -> None:
    done(app, a=1, b=2)

    async def wait() -> Any:
        return await group(app, "a", "b")

    assert asyncio.run(wait()) == [1, 2]


def test_then_is_called_when_the_last_has_ended(app: Umbel) -> None:
    results = group(app, "a", "b")
    seen: list[Any] = []
    with in_thread(lambda: results.get(timeout=PATIENCE)) as found:
        assert results.then(seen.append) is results
        done(app, b=2)
        done(app, a=1)
        found.result(PATIENCE)
    hub_of(app.result_store()).close()
    assert seen == [results]
    results.then(seen.append)
    assert seen == [results] * 2


def test_forgetting_all(app: Umbel) -> None:
    done(app, a=1, b=2, p=3)
    parent = app.AsyncResult("p")
    results = app.ResultSet([AsyncResult(name, app=app, parent=parent) for name in "ab"])
    assert results.get() == [1, 2]
    results.forget()
    assert [app.AsyncResult(name).state for name in "abp"] == ["PENDING"] * 3
    assert not results.ready()


def test_forgetting_what_was_before(app: Umbel) -> None:
    """Of a group what was before it, of a chord the chains in its header, too."""
    done(app, **dict.fromkeys("abcdefg", 1))
    made: dict[str, AsyncResult[int]] = {name: app.AsyncResult(name) for name in "abcdefg"}
    made["b"].parent = made["a"]
    header = GroupResult("header", [made["b"], made["c"]], made["d"], app=app)
    made["e"].parent = header
    end = GroupResult("end", [made["f"], GroupResult("in", [made["g"]], app=app)], made["e"])
    end.forget()
    assert {app.AsyncResult(name).state for name in "abcdefg"} == {"PENDING"}


def test_what_ran_here_is_not_forgotten(app: Umbel) -> None:
    ran: EagerResult[int] = EagerResult("i", 1, "SUCCESS")
    ResultSet([ran]).forget()
    assert ran.get() == 1


# Groups


def test_a_group_without_an_id_is_not_saved(app: Umbel) -> None:
    with pytest.raises(ValueError, match="has no id to be saved under: give it one"):
        GroupResult(None, [app.AsyncResult("a")]).save()


def test_a_set_without_an_id_may_be_a_member(app: Umbel) -> None:
    done(app, a=1, b=2)
    inner = app.ResultSet([app.AsyncResult("a")])
    outer = app.GroupResult("g", [inner, app.AsyncResult("b")])
    assert repr(outer) == "<GroupResult: g [<ResultSet: [a]>, b]>"
    assert repr(app.ResultSet([inner])) == "<ResultSet: [<ResultSet: [a]>]>"
    told: list[Any] = []
    outer.get(timeout=0, callback=lambda id, value: told.append((id, value)))
    outer.join(timeout=0, callback=lambda id, value: told.append((id, value)))
    assert sorted(told, key=str) == sorted([(None, [1]), ("b", 2)] * 2, key=str)
    assert (None, inner.results) in list(outer.iter_native(timeout=0))


@pytest.mark.parametrize("id", [None, ""])
def test_a_group_without_an_id_is_not_stored(app: Umbel, id: Any) -> None:
    nameless = app.GroupResult(id, [app.AsyncResult("a")])
    for store in (nameless.save, nameless.delete):
        with pytest.raises(ValueError, match="has no id to be saved under: give it one"):
            store()
    with pytest.raises(ValueError, match=f"needs the id that a group was saved under, not {id!r}"):
        app.GroupResult.restore(id)


@pytest.mark.parametrize("written", [5, "ab", ("a",), [], [["a", None]], (("g", None), [7])])
def test_what_is_no_written_result_says_so(app: Umbel, written: Any) -> None:
    with pytest.raises(
        ValueError, match=r"is no result as a tuple: give what as_tuple\(\) returned"
    ):
        result_from_tuple(written, app)


def test_a_group_is_saved_and_restored(app: Umbel) -> None:
    parent = app.AsyncResult("p")
    saved = app.GroupResult("g", [app.AsyncResult("a"), group(app, "b", id="inner")], parent)
    assert saved.save() is saved
    for restored in (
        app.GroupResult.restore("g"),
        GroupResult.restore("g", app=app),
        GroupResult.restore("g", app.backend),
        app.backend.restore_group("g"),
    ):
        assert restored == saved
        assert restored is not None
        assert restored.app is app
    assert app.backend.get_key_for_group("g") == "celery-taskset-meta-g"
    saved.delete()
    assert app.GroupResult.restore("g") is None
    assert app.backend.get_group_meta("g") is None


def test_a_saved_group_expires_as_results_do(app: Umbel) -> None:
    app.conf.result_expires = 60
    group(app, "a").save()
    store: Any = app.result_store()
    assert store.space.saved_groups["g"][1] == pytest.approx(app.clock.time() + 60, abs=10)
    app.conf.result_expires = 0
    group(app, "a").save()
    assert store.space.saved_groups["g"][1] is None


def test_what_is_saved_is_written_as_results_are(app: Umbel) -> None:
    app.conf.update(
        result_serializer="pickle", result_compression="zlib", accept_content=["json", "pickle"]
    )
    saved = group(app, "a").save()
    assert isinstance(app.result_store().saved_group("g"), bytes)
    assert app.GroupResult.restore("g") == saved


def test_tuples_say_what_is_in_a_group(app: Umbel) -> None:
    made = app.GroupResult("g", [app.AsyncResult("a")], app.AsyncResult("p"))
    written = (("g", (("p", None), None)), [(("a", None), None)])
    assert made.as_tuple() == written
    read = result_from_tuple(written, app)
    assert read == made
    assert (read.parent, read.children) == (app.AsyncResult("p"), [app.AsyncResult("a")])
    assert result_from_tuple(made) is made


def test_groups_as_values(app: Umbel) -> None:
    one, other = group(app, "a", "b"), group(app, "a", "b")
    assert one == other == "g"
    assert one != group(app, "a")
    assert one != group(app, "a", "b", id="h")
    assert one != 5
    assert (hash(one), str(one), bool(one)) == (hash("g"), "g", True)
    assert repr(one) == "<GroupResult: g [a, b]>"
    assert not GroupResult()
    app.set_current()
    assert pickle.loads(pickle.dumps(one)) == one  # noqa: S301 - written just now
    assert copy.copy(one) == one


def test_a_group_that_a_task_made_is_its_child(app: Umbel) -> None:
    request = Request(id="i", children=[group(app, "a", "b")])
    app.backend.store_result("i", 0, "SUCCESS", request=request)
    done(app, a=1, b=2)
    result = app.AsyncResult("i")
    assert result.children == [group(app, "a", "b")]
    assert [(str(node), value) for node, value in result.collect()] == [
        ("i", 0),
        ("g", [1, 2]),
        ("a", 1),
        ("b", 2),
    ]
    assert {str(one): [str(other) for other in result.graph[one]] for one in result.graph} == {
        "i": ["g"],
        "g": ["a", "b"],
        "a": [],
        "b": [],
    }
    assert result.get_leaf() == 2


# In coroutines


def test_members_come_as_they_end(app: Umbel) -> None:
    inner = group(app, "b", "c", id="inner")
    results = app.ResultSet([app.ResultSet([]), app.AsyncResult("a"), inner, app.AsyncResult("d")])
    done(app, c=3, d=ValueError("boom"))

    async def main() -> None:
        ending = aiter(results)
        assert await anext(ending) is results[0]
        assert await anext(ending) is results[3]
        with pytest.raises(ValueError, match="boom"):
            await results[3]
        for name, member in (("b", inner), ("a", results[1])):
            coming = asyncio.ensure_future(anext(ending))
            await asyncio.to_thread(done, app, **{name: 1})
            assert await coming is member
        assert await inner == [1, 3]
        assert [one async for one in ending] == []

    asyncio.run(asyncio.wait_for(main(), PATIENCE))
    assert not hub_of(app.result_store()).busy


def test_who_breaks_off_leaves_nothing_behind(app: Umbel) -> None:
    done(app, a=1)

    async def main() -> None:
        async for member in group(app, "a", "never"):
            assert member.id == "a"
            break

    asyncio.run(main())
    assert not hub_of(app.result_store()).busy


def test_members_come_to_no_task(app: Umbel) -> None:
    async def main() -> None:
        async for _ in group(app, "a"):
            pass

    with within_a_task(), pytest.raises(RuntimeError, match="Never call"):
        asyncio.run(main())


def test_an_exception_ends_the_wait_for_all(app: Umbel) -> None:
    hub = hub_of(app.result_store())
    done(app, a=ValueError("boom"))

    async def main() -> None:
        before = asyncio.all_tasks()
        with pytest.raises(ValueError, match="boom"):
            await group(app, "a", "never", "nor")
        assert asyncio.all_tasks() == before
        assert not hub.busy
        (error,) = await group(app, "a").aget(propagate=False)
        assert isinstance(error, ValueError)

    asyncio.run(asyncio.wait_for(main(), PATIENCE))


@pytest.mark.parametrize("timeout", [0, 0.5])  # which a busy machine has time to look in
def test_awaiting_says_how_many_are_missing(app: Umbel, timeout: float) -> None:
    done(app, a=1)
    with pytest.raises(TimeoutError, match=r"2 of 3 results, among them that of task b, did not"):
        asyncio.run(group(app, "a", "b", "c").aget(timeout=timeout))
    done(app, b=2, c=3)
    assert asyncio.run(group(app, "a", "b", "c").aget(timeout=timeout)) == [1, 2, 3]


@pytest.mark.parametrize("parents", [1, 101])
def test_a_parent_that_fails_ends_the_wait_in_coroutines(app: Umbel, parents: int) -> None:
    before = group(app, *(f"p{number}" for number in range(parents)))
    results = app.ResultSet([app.AsyncResult("a", parent=before)])

    async def main() -> None:
        waiting = asyncio.ensure_future(results.aget())
        await asyncio.to_thread(done, app, p0=ValueError("boom"))
        with pytest.raises(ValueError, match="boom"):
            await waiting

    asyncio.run(asyncio.wait_for(main(), PATIENCE))


def test_what_is_no_result_is_refused(app: Umbel) -> None:
    with pytest.raises(TypeError, match=r"given 'an-id', which is none.*app.AsyncResult\(id\)"):
        app.ResultSet(["an-id"])
    found = group(app, "a")
    for add in (found.add, lambda one: found.update([one])):
        with pytest.raises(TypeError, match="which is none"):
            add(object())
    assert len(found) == 1
