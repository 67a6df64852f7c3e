"""What coroutines wait with; more of it, beside what threads do, is in test_waiting.py."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from umbel.awaiting import Wait
from umbel.clock import unique_id
from umbel.engines.memory import MemoryEngine
from umbel.engines.memory.space import forget_space
from umbel.parents import FEW
from umbel.ports import ResultStore
from umbel.testing.conformance.support import PATIENCE, record, until
from umbel.waiting import OutOfPatience, hub_of, stop_listening


@pytest.fixture
def store() -> Iterator[ResultStore]:
    name = unique_id()
    engine = MemoryEngine(f"memory://{name}", {})
    yield engine.results
    stop_listening(engine.results)
    engine.close()
    forget_space(name)


async def taken(wait: Wait, count: int) -> list[tuple[str, str]]:
    """Return tasks and states of what comes next."""
    found = [await wait.next() for _ in range(count)]
    return [(one.task_id, one.state) for one in found]


def counting_wakes() -> list[Any]:
    """Return a list that grows whenever another thread wakes the loop that runs."""
    loop, wakes = asyncio.get_running_loop(), []
    call: Callable[..., Any] = loop.call_soon_threadsafe

    def counted(*args: Any, **kwargs: Any) -> Any:
        wakes.append(args)
        return call(*args, **kwargs)

    loop.call_soon_threadsafe = counted  # type: ignore[method-assign, assignment]
    return wakes


def test_the_loop_is_woken_once_for_all_that_ends_before_it_looks(store: ResultStore) -> None:
    ids = [f"{number}" for number in range(50)]

    async def main() -> None:
        wakes = counting_wakes()
        with Wait(store, ids, PATIENCE) as wait:
            for task_id in ids:
                store.put([record(task_id, "SUCCESS")])
            until(lambda: len(wait._news) == 50)  # the loop stands still meanwhile
            assert await taken(wait, 50) == [(task_id, "SUCCESS") for task_id in ids]
        assert len(wakes) == 1

    asyncio.run(main())


def test_what_ends_no_wait_wakes_nobody(store: ResultStore) -> None:
    async def main() -> None:
        wakes = counting_wakes()
        with Wait(store, ["1"], PATIENCE, ["parent"]) as wait:
            store.put([record("1", "STARTED"), record("parent", "SUCCESS")])
            until(lambda: "parent" not in hub_of(store)._listeners)
            assert wakes == []
            store.put([record("1", "SUCCESS")])
            assert await taken(wait, 1) == [("1", "SUCCESS")]
        assert len(wakes) == 1

    asyncio.run(main())


@pytest.mark.parametrize("parents", [1, FEW + 1])
def test_without_patience_what_is_stored_comes_in_order(store: ResultStore, parents: int) -> None:
    before = [f"parent {number}" for number in range(parents)]
    store.put([record("2", "SUCCESS"), record("1", "FAILURE"), record("3", "STARTED")])

    async def main() -> list[tuple[str, str]]:
        with Wait(store, ["1", "2", "3"], 0, before) as wait:
            found = await taken(wait, 2)
            with pytest.raises(OutOfPatience):
                await wait.next()
            return found

    assert asyncio.run(main()) == [("1", "FAILURE"), ("2", "SUCCESS")]
    store.put([record("parent 0", "FAILURE")])

    async def again() -> list[tuple[str, str]]:
        with Wait(store, ["1", "2"], 0, before) as wait:
            return await taken(wait, 3)

    assert asyncio.run(again()) == [("parent 0", "FAILURE"), ("1", "FAILURE"), ("2", "SUCCESS")]


def test_who_is_cancelled_while_it_waits_loses_nothing(store: ResultStore) -> None:
    async def main() -> None:
        with Wait(store, ["1"], PATIENCE) as wait:
            first = asyncio.ensure_future(wait.next())
            await asyncio.sleep(0)
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first
            store.put([record("1", "SUCCESS")])
            assert await taken(wait, 1) == [("1", "SUCCESS")]

    asyncio.run(main())
