"""The hub: many wait, one subscription hears, and nothing is left behind."""

from __future__ import annotations

import asyncio
import gc
import os
import queue
import threading
import weakref
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from umbel.awaiting import Wait
from umbel.clock import SYSTEM, unique_id
from umbel.engines.memory import MemoryEngine
from umbel.engines.memory.space import forget_space
from umbel.engines.sqlite import SqliteEngine
from umbel.exceptions import OperationalError
from umbel.parents import FEW, Parents
from umbel.ports import Engine, ResultStore, ResultSubscription
from umbel.records import ResultRecord
from umbel.testing.conformance.forks import forked
from umbel.testing.conformance.support import PATIENCE, at_most, in_thread, record, until
from umbel.waiting import Hub, OutOfPatience, Patience, hub_of, stop_listening, watch

MANY = 300


def opened(url: str) -> Engine:
    kind = MemoryEngine if url.startswith("memory") else SqliteEngine
    return kind(url, {})


@pytest.fixture(params=["memory", "sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    name = unique_id()
    sqlite = request.param == "sqlite"
    yield f"sqlite:///{tmp_path}/umbel.db?durability=normal" if sqlite else f"memory://{name}"
    forget_space(name)


@pytest.fixture
def store(url: str) -> Iterator[ResultStore]:
    engine = opened(url)
    assert engine.results is not None
    yield engine.results
    stop_listening(engine.results)
    engine.close()


def waited_for(store: ResultStore, task_id: str, **patience: Any) -> ResultRecord:
    patience.setdefault("timeout", PATIENCE)
    return next(
        found for found in watch(store, [task_id], Patience(SYSTEM, **patience)) if found.ready
    )


async def awaited(store: ResultStore, task_id: str, timeout: float = PATIENCE) -> ResultRecord:
    with Wait(store, [task_id], timeout) as wait:
        return await wait.next()


def test_a_state_that_is_there_is_told_once(
    store: ResultStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a look says until when it is kept, and what is told does not, as on Redis."""
    store.put([record("1", "PROGRESS")])
    get = store.get

    def look(task_ids: Collection[str], timeout: float | None = None) -> dict[str, ResultRecord]:
        return {name: replace(one, expires=4e9) for name, one in get(task_ids, timeout).items()}

    monkeypatch.setattr(store, "get", look)
    patience = Patience(SYSTEM, PATIENCE, 0.1, lambda: store.put([record("1", "SUCCESS")]))
    told: list[str] = []
    for found in watch(store, ["1"], patience):
        told.append(found.state)
        if found.ready:
            break
    assert told == ["PROGRESS", "SUCCESS"]


def is_at_rest(hub: Hub) -> bool:
    return not hub._listeners and not hub._changes and hub._driver is None


class Counting:
    """Counts the subscriptions of a store, and what they receive."""

    def __init__(self, store: ResultStore) -> None:
        self.subscriptions = 0
        make = store.subscribe

        def subscribe() -> ResultSubscription:
            self.subscriptions += 1
            return make()

        store.subscribe = subscribe  # type: ignore[method-assign]


def test_a_plain_wait_needs_no_thread(store: ResultStore) -> None:
    def later() -> None:
        threads = {thread.name for thread in threading.enumerate()}
        store.put([record("1", "PROGRESS" if "umbel-results" in threads else "SUCCESS")])

    assert waited_for(store, "1", interval=0.01, on_interval=later).state == "SUCCESS"
    assert is_at_rest(hub_of(store))


def test_who_has_just_sent_listens_without_a_look_before(store: ResultStore) -> None:
    asked: list[Any] = []
    get = store.get

    def asking(task_ids: Collection[str], timeout: float | None = None) -> dict[str, ResultRecord]:
        asked.append(task_ids)
        return get(task_ids, timeout)

    store.get = asking  # type: ignore[method-assign]
    store.put([record("1", "SUCCESS"), record("2", "SUCCESS")])
    assert waited_for(store, "1", just_sent=True).state == "SUCCESS"
    assert waited_for(store, "2").state == "SUCCESS"
    assert asked == [["2"]]


# Many parents

PARENTS = [f"parent {number}" for number in range(FEW + 1)]


def followed(store: ResultStore, **patience: Any) -> ResultRecord:
    """Wait for a task with many parents; return its record, or that of a parent that has failed."""
    patience.setdefault("timeout", PATIENCE)
    news = watch(store, ["1"], Patience(SYSTEM, **patience), PARENTS)
    return next(found for found in news if found.ready)


def followed_by_a_coroutine(store: ResultStore, timeout: float = PATIENCE) -> ResultRecord:
    async def wait_for_it() -> ResultRecord:
        with Wait(store, ["1"], timeout, PARENTS) as wait:
            return await wait.next()

    return asyncio.run(wait_for_it())


WAYS = pytest.mark.parametrize("wait", [followed, followed_by_a_coroutine])


@WAYS
def test_many_parents_are_not_listened_for(
    store: ResultStore, wait: Callable[[ResultStore], ResultRecord]
) -> None:
    with in_thread(lambda: wait(store)) as found:
        hub = hub_of(store)
        until(lambda: bool(hub._listeners))
        assert list(hub._listeners) == ["1"]
        store.put([record("1", "SUCCESS")])
        assert found.result(PATIENCE).task_id == "1"


@WAYS
def test_one_of_many_parents_that_fails_ends_the_wait(
    store: ResultStore, wait: Callable[[ResultStore], ResultRecord]
) -> None:
    with in_thread(lambda: wait(store)) as found:
        until(lambda: bool(hub_of(store)._listeners))
        store.put([record(PARENTS[0], "SUCCESS"), record(PARENTS[50], "FAILURE")])
        assert found.result(PATIENCE).task_id == PARENTS[50]


@WAYS
@pytest.mark.parametrize("state", ["FAILURE", "REVOKED"])
def test_one_of_many_parents_that_has_failed_comes_before_the_failure_of_what_follows(
    store: ResultStore, wait: Callable[[ResultStore], ResultRecord], state: str
) -> None:
    store.put([record("1", "FAILURE"), record(PARENTS[-1], "FAILURE"), record(PARENTS[50], state)])
    with at_most(PATIENCE):
        assert wait(store).task_id == PARENTS[50]
        assert followed(store, just_sent=True).task_id == PARENTS[50]
        assert followed(store, timeout=0).task_id == PARENTS[50]
        assert followed_by_a_coroutine(store, timeout=0).task_id == PARENTS[50]


@WAYS
def test_a_failure_of_which_no_parent_tells_comes_all_the_same(
    store: ResultStore, wait: Callable[[ResultStore], ResultRecord]
) -> None:
    store.put([record("1", "FAILURE"), *(record(each, "SUCCESS") for each in PARENTS)])
    with at_most(PATIENCE):
        assert wait(store).task_id == "1"


def test_a_hub_that_is_closed_while_its_thread_connects_waits_for_nothing(
    store: ResultStore,
) -> None:
    subscribe, connects, may_connect = store.subscribe, threading.Event(), threading.Event()
    waits: list[float] = []

    def slowly() -> ResultSubscription:
        connects.set()
        assert may_connect.wait(PATIENCE)
        subscription = subscribe()
        receive = subscription.receive

        def received(timeout: float) -> dict[str, ResultRecord]:
            waits.append(timeout)
            return receive(timeout)

        subscription.receive = received  # type: ignore[method-assign]
        return subscription

    store.subscribe = slowly  # type: ignore[method-assign]
    hub, news = hub_of(store), queue.SimpleQueue[Any]()
    hub.add(["1"], news.put)
    assert connects.wait(PATIENCE)
    hub.remove(["1"], news.put)
    with in_thread(hub.close):
        until(lambda: hub._closing)
        may_connect.set()
    until(lambda: hub._thread is None)
    assert waits == [0.0]
    assert hub._subscription is None


@pytest.mark.parametrize("timeout", [0, 0.01])
def test_parents_that_go_on_for_too_long_are_waited_for_in_vain(
    store: ResultStore, timeout: float
) -> None:
    with pytest.raises(OutOfPatience):
        followed(store, timeout=timeout)
    with pytest.raises(OutOfPatience):
        followed_by_a_coroutine(store, timeout)
    assert not hub_of(store)._listeners


@WAYS
def test_a_look_at_parents_that_fails_ends_no_wait(
    store: ResultStore, wait: Callable[[ResultStore], ResultRecord]
) -> None:
    get, looks = store.get, list[int]()

    def fail(task_ids: Collection[str], timeout: float | None = None) -> dict[str, ResultRecord]:
        if len(task_ids) == len(PARENTS):  # else it is the look of who begins to wait
            looks.append(len(task_ids))
            raise OperationalError("away")
        return get(task_ids, timeout)

    store.get = fail  # type: ignore[method-assign]
    with in_thread(lambda: wait(store)) as found:
        until(lambda: len(looks) > 1)
        store.put([record("1", "SUCCESS")])
        assert found.result(PATIENCE).task_id == "1"


def test_what_was_found_of_parents_is_not_looked_for_again(store: ResultStore) -> None:
    parents = Parents(store, PARENTS, lambda: 0.0)
    store.put([record(each, "SUCCESS") for each in PARENTS[1:]])
    store.put([record(PARENTS[0], "STARTED")])
    assert parents.look() is None
    assert parents.left == PARENTS[:1]
    store.put([record(PARENTS[0], "SUCCESS")])
    assert parents.look() is None
    assert (parents.left, parents.due) == ([], None)


def test_the_pauses_between_looks_at_parents_grow_to_a_second(store: ResultStore) -> None:
    now = 0.0
    parents = Parents(store, PARENTS, lambda: now)
    dues = []
    for _ in range(5):
        assert parents.due is not None
        dues.append(parents.due)
        now = parents.due
        parents.look()
    assert dues == [0.25, 0.75, 1.75, 2.75, 3.75]


def test_on_interval_is_called_as_often_as_without_parents(store: ResultStore) -> None:
    called: list[float] = []

    def call() -> None:
        called.append(SYSTEM.monotonic())
        if len(called) == 2:
            store.put([record("1", "SUCCESS")])

    began = SYSTEM.monotonic()
    assert followed(store, interval=0.6, on_interval=call).task_id == "1"
    assert called[0] - began >= 0.6
    assert called[1] - called[0] >= 0.6


def test_who_comes_while_the_driver_connects_is_heard_too(store: ResultStore) -> None:
    """It used to be heard of when the driver woke by itself, up to a minute later."""
    connecting, go_on = threading.Event(), threading.Event()
    make = store.subscribe

    def subscribe() -> ResultSubscription:
        connecting.set()
        assert go_on.wait(PATIENCE)
        return make()

    store.subscribe = subscribe  # type: ignore[method-assign]
    with at_most(PATIENCE), ThreadPoolExecutor(2) as executor:
        first = executor.submit(waited_for, store, "1")
        assert connecting.wait(PATIENCE)
        second = executor.submit(waited_for, store, "2")
        until(lambda: len(hub_of(store)._listeners) == 2)
        go_on.set()
        store.put([record("2", "SUCCESS")])
        try:
            assert second.result(PATIENCE).task_id == "2"
        finally:
            store.put([record("1", "SUCCESS")])
        assert first.result(PATIENCE).task_id == "1"


def test_threads_and_coroutines_share_one_subscription(store: ResultStore) -> None:
    counting = Counting(store)
    ids = [f"{number}" for number in range(MANY)]

    async def all_awaited() -> list[ResultRecord]:
        return await asyncio.gather(*(awaited(store, id) for id in ids))

    with at_most(PATIENCE), ThreadPoolExecutor(34) as executor:
        loops = [executor.submit(asyncio.run, all_awaited()) for _ in range(2)]
        plain = [executor.submit(waited_for, store, id) for id in ids[:32]]
        until(lambda: len(hub_of(store)._listeners) == MANY)
        for start in range(0, MANY, 10):
            store.put([record(id, "SUCCESS") for id in ids[start : start + 10]])
        assert [found.result(PATIENCE).task_id for found in plain] == ids[:32]
        for loop in loops:
            assert [found.task_id for found in loop.result(PATIENCE)] == ids
    assert counting.subscriptions == 1
    assert not hub_of(store).busy


def test_who_drives_leaves_it_to_the_others(store: ResultStore) -> None:
    counting = Counting(store)
    with in_thread(lambda: waited_for(store, "1")) as first:
        until(lambda: hub_of(store)._driver)
        with in_thread(lambda: waited_for(store, "2")) as second:
            until(lambda: len(hub_of(store)._listeners) == 2)
            store.put([record("1", "SUCCESS")])
            assert first.result(PATIENCE).task_id == "1"
            store.put([record("2", "SUCCESS")])
            assert second.result(PATIENCE).task_id == "2"
    assert counting.subscriptions == 1


def test_what_runs_between_two_waits_keeps_nobody(store: ResultStore) -> None:
    entered, go_on = threading.Event(), threading.Event()

    def block() -> None:
        entered.set()
        assert go_on.wait(PATIENCE)

    with in_thread(lambda: waited_for(store, "1", interval=0.001, on_interval=block)) as slow:
        assert entered.wait(PATIENCE)
        with in_thread(lambda: waited_for(store, "2")) as other:
            store.put([record("1", "SUCCESS"), record("2", "SUCCESS")])
            assert other.result(PATIENCE).task_id == "2"
        go_on.set()
        assert slow.result(PATIENCE).task_id == "1"


def test_none_is_missed_whenever_it_is_stored(store: ResultStore, url: str) -> None:
    ids: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    other = opened(url)

    def store_each() -> None:
        while (id := ids.get()) is not None:
            assert other.results is not None
            other.results.put([record(id, "SUCCESS")])

    async def some() -> None:
        for number in range(100):
            ids.put(f"await {number}")
            await awaited(store, f"await {number}")

    with at_most(PATIENCE), in_thread(store_each):
        for number in range(200):
            ids.put(f"{number}")
            assert waited_for(store, f"{number}").ready
        asyncio.run(some())
        ids.put(None)
    other.close()


@pytest.mark.parametrize("busy", [False, True])
def test_who_waits_in_vain_leaves_nothing_behind(store: ResultStore, busy: bool) -> None:
    hub = hub_of(store)
    heard: queue.SimpleQueue[Any] = queue.SimpleQueue()
    if busy:
        hub.add(["other"], heard.put)
    for _ in range(3):
        with pytest.raises(OutOfPatience):
            waited_for(store, "1", timeout=0.005)
        with pytest.raises(OutOfPatience):
            asyncio.run(awaited(store, "1", 0.005))
    assert set(hub._listeners) == ({"other"} if busy else set())
    if busy:
        store.put([record("other", "SUCCESS")])
        assert heard.get(timeout=PATIENCE).task_id == "other"
    hub.close()
    until(lambda: is_at_rest(hub))


def test_rows_of_who_waited_in_vain_are_gone(tmp_path: Path) -> None:
    engine = SqliteEngine(f"sqlite:///{tmp_path}/umbel.db", {})

    def rows() -> int:
        with engine._database.read() as connection:
            (count,) = connection.execute("SELECT count(*) FROM listener").fetchone()
        return int(count)

    store, seen = engine.results, []
    with pytest.raises(OutOfPatience):
        waited_for(store, "1", timeout=0.3, interval=0.01, on_interval=lambda: seen.append(rows()))
    assert (set(seen), rows()) == ({1}, 0)

    async def cancelled() -> None:
        waiting = [asyncio.ensure_future(awaited(store, f"{number}")) for number in range(5)]
        while rows() < 5:
            await asyncio.sleep(0)
        for one in waiting:
            one.cancel()
        await asyncio.wait(waiting)

    asyncio.run(cancelled())
    until(lambda: rows() == 0)
    stop_listening(store)
    engine.close()


def test_ctrl_c_while_driving_loses_nothing_for_the_others(store: ResultStore) -> None:
    hub = hub_of(store)
    subscription = hub._connected()
    receive = subscription.receive
    interrupted: list[int] = []

    def interrupt(timeout: float) -> dict[str, ResultRecord]:
        found = receive(timeout)
        if found and not interrupted:
            interrupted.append(1)
            raise KeyboardInterrupt
        return found

    subscription.receive = interrupt  # type: ignore[method-assign]
    entered = threading.Event()

    def drive() -> None:
        entered.set()
        with pytest.raises(KeyboardInterrupt):
            waited_for(store, "1")

    with in_thread(drive) as driving:
        until(lambda: hub._driver)
        with in_thread(lambda: waited_for(store, "2")) as other:
            until(lambda: len(hub._listeners) == 2)
            store.put([record("2", "SUCCESS")])
            assert other.result(PATIENCE).task_id == "2"
        driving.result(PATIENCE)
    assert interrupted


def test_what_fails_is_told_to_all_and_the_next_begin_anew(store: ResultStore) -> None:
    subscribe = store.subscribe

    def fail() -> ResultSubscription:
        raise OperationalError("away")

    store.subscribe = fail  # type: ignore[method-assign]
    for _ in range(2):
        with pytest.raises(OperationalError, match="away"):
            waited_for(store, "1")
        with pytest.raises(OperationalError, match="away"):
            asyncio.run(awaited(store, "1"))
    store.subscribe = subscribe  # type: ignore[method-assign]
    with in_thread(lambda: waited_for(store, "1")) as found:
        store.put([record("1", "SUCCESS")])
        assert found.result(PATIENCE).task_id == "1"


def test_a_listener_that_raises_does_not_hurt_the_others(
    store: ResultStore, caplog: pytest.LogCaptureFixture
) -> None:
    heard: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def broken(news: object) -> None:
        raise ValueError("broken")

    hub_of(store).add(["1"], broken)
    hub_of(store).add(["1"], heard.put)
    store.put([record("1", "SUCCESS")])
    assert heard.get(timeout=PATIENCE).task_id == "1"
    assert "A listener for results failed." in caplog.text


def test_a_loop_that_has_ended_does_not_hurt_the_others(store: ResultStore) -> None:
    async def leave() -> None:
        asyncio.ensure_future(awaited(store, "1"))  # noqa: RUF006 - it is lost on purpose
        while not hub_of(store).busy:
            await asyncio.sleep(0)

    asyncio.run(leave())
    with in_thread(lambda: waited_for(store, "1")) as found:
        store.put([record("1", "SUCCESS")])
        assert found.result(PATIENCE).task_id == "1"


def test_a_store_that_is_gone_takes_its_hub_along(url: str) -> None:
    engine = opened(url)
    assert engine.results is not None
    with pytest.raises(OutOfPatience):
        waited_for(engine.results, "1", timeout=0.01)
    hub = weakref.ref(hub_of(engine.results))
    engine.close()
    del engine
    gc.collect()
    assert hub() is None


def test_closing_ends_thread_and_subscription(store: ResultStore) -> None:
    hub = hub_of(store)
    asyncio.run(awaited_soon(store))
    assert hub._thread is not None
    hub.close()
    until(lambda: hub._thread is None and hub._subscription is None)
    assert waited_for(store, "1").ready


async def awaited_soon(store: ResultStore) -> None:
    waiting = asyncio.ensure_future(awaited(store, "1"))
    while not hub_of(store).busy:
        await asyncio.sleep(0)
    await asyncio.to_thread(store.put, [record("1", "SUCCESS")])
    await waiting


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks on this system")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_aforkeded_child_waits_by_itself_and_the_parent_goes_on(tmp_path: Path) -> None:
    engine = SqliteEngine(f"sqlite:///{tmp_path}/umbel.db", {})
    store = engine.results

    async def both() -> None:
        await asyncio.gather(awaited(store, "1"), awaited(store, "2"))

    def child() -> None:
        store.put([record("1", "SUCCESS")])
        assert waited_for(store, "1").ready
        threading.Thread(target=store.put, args=([record("3", "SUCCESS")],)).start()
        assert asyncio.run(awaited(store, "3")).ready

    with in_thread(lambda: asyncio.run(both())) as found:
        until(lambda: len(hub_of(store)._listeners) == 2)
        waits: list[Callable[[], None]] = [forked(child)]
        waits[0]()
        store.put([record("2", "SUCCESS")])
        found.result(PATIENCE)
    stop_listening(store)
    engine.close()
