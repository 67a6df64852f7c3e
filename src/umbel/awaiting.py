"""Waiting for results in coroutines, without blocking the event loop: see `umbel.waiting`.

There is one way, `Wait`, for a single result and for many. What ends is kept by the thread that hears of it,
which wakes the event loop once for all that comes before that looks; what does not end a wait wakes nobody.
Nothing is left behind by who stops waiting, however that ends.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Collection
from types import TracebackType
from typing import Self

from umbel.checks import require_patience
from umbel.parents import Parents, listened
from umbel.ports import ResultStore
from umbel.records import ResultRecord
from umbel.states import PROPAGATE_STATES
from umbel.waiting import News, OutOfPatience, hub_of


class Wait:
    """Waits for tasks within a block: ``with Wait(...) as wait: record = await wait.next()``."""

    def __init__(
        self,
        store: ResultStore,
        task_ids: Collection[str],
        timeout: float | None,
        parents: Collection[str] = (),
    ) -> None:
        """Wait for `timeout` seconds (None: for ever), also for one of the `parents` to fail."""
        self._store = store
        self._loop = asyncio.get_running_loop()
        self._parents = frozenset(parents)
        self._ids, looked_at = listened(task_ids, parents)
        self._before = Parents(store, parents, self._loop.time, heard=not looked_at)
        require_patience(timeout)
        self._deadline = None if timeout is None else self._loop.time() + timeout
        self._is_over = timeout is not None and timeout <= 0
        self._has_looked = False
        self._news: deque[News] = deque()
        #: Whether the event loop is told already that there are news.
        self._told = False
        self._waiter: asyncio.Future[None] | None = None

    def __enter__(self) -> Self:
        if not self._is_over:
            hub_of(self._store).add(self._ids, self._hear)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not self._is_over:
            hub_of(self._store).remove(self._ids, self._hear)

    async def next(self) -> ResultRecord:
        """Return the record of a task that has ended, or of one of the parents that has failed.

        That of one of the parents comes before that of a failure after it. Raises OutOfPatience in the end,
        and OperationalError when the store fails.
        """
        while not self._news:
            self._told = False
            if not self._news:  # else it came in between, and nobody was told
                await self._more()
        found = self._news.popleft()
        if isinstance(found, Exception):
            raise found.with_traceback(None)
        if self._before.left and found.state in PROPAGATE_STATES:
            failed = await asyncio.to_thread(self._before.look)
            if failed is not None:
                self._news.appendleft(found)
                return failed
        return found

    async def _more(self) -> None:
        """Return when there may be news; raise OutOfPatience when there will be none."""
        now, due = self._loop.time(), self._before.due
        if self._is_over and not self._has_looked:
            self._has_looked = True
            await self._look()
        elif self._deadline is not None and now >= self._deadline:
            raise OutOfPatience
        elif due is not None and now >= due:
            failed = await asyncio.to_thread(self._before.look)
            if failed is not None:
                self._news.appendleft(failed)
        else:
            await self._sleep(
                min((one for one in (self._deadline, due) if one is not None), default=None)
            )

    async def _look(self) -> None:
        """Take what is stored now."""
        looked_at = list(dict.fromkeys((*self._before.left, *self._ids)))
        said = await asyncio.to_thread(self._store.get, looked_at)
        found = self._before.and_what_is_there(said, self._ids)
        self._news.extend(one for one in found if self._counts(one))

    async def _sleep(self, until: float | None) -> None:
        self._waiter = self._loop.create_future()
        alarm = None if until is None else self._loop.call_at(until, self._wake)
        try:
            await self._waiter
        finally:
            self._waiter = None
            if alarm is not None:
                alarm.cancel()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _hear(self, news: News) -> None:
        """Take what comes, in the thread that hears of it."""
        if isinstance(news, ResultRecord) and not self._counts(news):
            return
        self._news.append(news)
        if not self._told:
            self._told = True
            with contextlib.suppress(RuntimeError):  # the loop has been closed
                self._loop.call_soon_threadsafe(self._wake)

    def _counts(self, record: ResultRecord) -> bool:
        if record.task_id in self._parents:
            return record.state in PROPAGATE_STATES
        return record.ready
