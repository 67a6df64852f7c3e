"""Waiting for results in coroutines, without blocking the event loop: see `umbel.waiting`.

Nothing is left behind by who stops waiting, however that ends.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Collection
from typing import Any

from umbel.parents import Parents, listened
from umbel.ports import ResultStore
from umbel.records import ResultRecord
from umbel.states import PROPAGATE_STATES
from umbel.waiting import News, OutOfPatience, hub_of


async def result_of(
    store: ResultStore,
    task_ids: Collection[str],
    ends: Callable[[ResultRecord], bool],
    timeout: float | None,
    parents: Collection[str] = (),
) -> ResultRecord:
    """Return the first record for which `ends` is true, without blocking the event loop.

    Or that of one of many `parents` that has failed; see `watch`. Raises OutOfPatience when there was none
    in `timeout` seconds.
    """
    task_ids, parents = listened(task_ids, parents)
    loop = asyncio.get_running_loop()
    future: asyncio.Future[ResultRecord] = loop.create_future()

    def hear(news: News) -> None:
        if isinstance(news, Exception):
            loop.call_soon_threadsafe(_settle, future.set_exception, future, news)
        elif ends(news):
            loop.call_soon_threadsafe(_settle, future.set_result, future, news)

    def listener(news: News) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has been closed
            hear(news)

    before = Parents(store, parents, loop.time)
    if timeout is not None and timeout <= 0:
        said = await asyncio.to_thread(store.get, [*parents, *task_ids])
        own = (said[task_id] for task_id in task_ids if task_id in said)
        found = before.failed(said) or next((one for one in own if ends(one)), None)
        if found is None:
            raise OutOfPatience
        return found
    hub = hub_of(store)
    hub.add(task_ids, listener)
    try:
        return await _first(future, before, None if timeout is None else loop.time() + timeout)
    finally:
        hub.remove(task_ids, listener)


async def _first(
    future: asyncio.Future[ResultRecord], parents: Parents, deadline: float | None
) -> ResultRecord:
    """Return what comes, or a parent that has failed; raise OutOfPatience when nothing does."""
    now = asyncio.get_running_loop().time
    while True:
        ends = [one for one in (deadline, parents.due) if one is not None]
        await asyncio.wait([future], timeout=max(min(ends) - now(), 0.0) if ends else None)
        if future.done():
            found = future.result()
            if not (parents.left and found.state in PROPAGATE_STATES):
                return found
            return await asyncio.to_thread(parents.look) or found
        if deadline is not None and now() >= deadline:
            raise OutOfPatience
        if parents.due is not None and now() >= parents.due:
            failed = await asyncio.to_thread(parents.look)
            if failed is not None:
                return failed


def _settle(set_outcome: Callable[[Any], None], future: asyncio.Future[Any], outcome: Any) -> None:
    if not future.done():
        set_outcome(outcome)


async def heard(
    store: ResultStore,
    task_ids: Collection[str],
    timeout: float | None,
    parents: Collection[str] = (),
) -> AsyncGenerator[ResultRecord, None]:
    """Yield what is stored for tasks, and then what will be, for `timeout` seconds (None: for ever).

    That of one of many `parents` comes only when it has failed; see `umbel.waiting.watch`. Raises
    OutOfPatience in the end, and OperationalError when the store fails. Close it to wait no longer.
    """
    task_ids, parents = listened(task_ids, parents)
    loop = asyncio.get_running_loop()
    before = Parents(store, parents, loop.time)
    if timeout is not None and timeout <= 0:
        said = await asyncio.to_thread(store.get, [*parents, *task_ids])
        failed = before.failed(said)
        if failed is not None:
            yield failed
        for task_id in task_ids:
            if task_id in said:
                yield said[task_id]
        raise OutOfPatience
    news: asyncio.Queue[News] = asyncio.Queue()

    def listener(found: News) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has been closed
            loop.call_soon_threadsafe(news.put_nowait, found)

    hub = hub_of(store)
    hub.add(task_ids, listener)
    try:
        deadline = None if timeout is None else loop.time() + timeout
        while True:
            found = await _next_of(news, before, deadline)
            if isinstance(found, Exception):
                raise found.with_traceback(None)
            if before.left and found.state in PROPAGATE_STATES:
                failed = await asyncio.to_thread(before.look)
                if failed is not None:
                    yield failed
            yield found
    finally:
        hub.remove(task_ids, listener)


async def _next_of(news: asyncio.Queue[News], before: Parents, deadline: float | None) -> News:
    """Return what comes next; raise OutOfPatience when nothing does."""
    now = asyncio.get_running_loop().time
    while news.empty():
        ends = [one for one in (deadline, before.due) if one is not None]
        left = max(min(ends) - now(), 0.0) if ends else None
        with contextlib.suppress(asyncio.TimeoutError):
            return await asyncio.wait_for(news.get(), left)
        if deadline is not None and now() >= deadline:
            raise OutOfPatience
        if before.due is not None and now() >= before.due:
            failed = await asyncio.to_thread(before.look)
            if failed is not None:
                return failed
    return news.get_nowait()
