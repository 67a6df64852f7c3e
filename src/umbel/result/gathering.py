"""Waiting for several results at once: one subscription, however many there are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any

from umbel import records
from umbel.awaiting import Wait
from umbel.backend import Backend
from umbel.exceptions import TimeoutError
from umbel.records import ResultRecord
from umbel.result.asyncresult import AsyncResult
from umbel.result.following_failure import await_ended, wait_until_ended
from umbel.result_backend import Meta
from umbel.states import PROPAGATE_STATES
from umbel.waiting import OutOfPatience, Patience

Leaf = AsyncResult[Any]


def arriving(
    backend: Backend,
    leaves: Sequence[Leaf],
    parents: Mapping[str, Leaf],
    patience: Patience,
    on_message: Callable[[Meta], object] | None = None,
) -> Iterator[Leaf]:
    """Yield results as they end, beginning with those that are known here.

    Raises the exception of one of the `parents` that fails, and TimeoutError in the end.
    """
    known, waiting = _sorted(leaves)
    yield from known
    if not waiting:
        return
    before = [name for name in parents if name not in waiting]
    since = patience.clock.monotonic()
    try:
        with closing(backend.watch(list(waiting), patience, before)) as news:
            for record in news:
                if record.task_id in parents:
                    if record.state in PROPAGATE_STATES:
                        after = _after(waiting, record.task_id)
                        wait_until_ended(backend, after, patience, since)
                    _require_success(parents[record.task_id], record)
                if on_message is not None and record.task_id in waiting:
                    on_message(records.meta(record, backend.form))
                yield from _ended(waiting, record)
                if not waiting:
                    return
    except OutOfPatience:
        raise _out_of_time(len(waiting), len(leaves), min(waiting), patience.timeout) from None


async def aarriving(
    backend: Backend, leaves: Sequence[Leaf], parents: Mapping[str, Leaf], timeout: float | None
) -> AsyncGenerator[Leaf, None]:
    """Yield them like `arriving`, without blocking the event loop, for `timeout` seconds at most."""
    known, waiting = _sorted(leaves)
    for leaf in known:
        yield leaf
    if not waiting:
        return
    before = [name for name in parents if name not in waiting]
    now = asyncio.get_running_loop().time
    since = now()
    try:
        with Wait(backend.store, list(waiting), timeout, before) as wait:
            while waiting:
                record = await wait.next()
                if record.task_id in parents:
                    if record.state in PROPAGATE_STATES:
                        left = None if timeout is None else since + timeout - now()
                        await await_ended(backend, _after(waiting, record.task_id), left)
                    _require_success(parents[record.task_id], record)
                for leaf in _ended(waiting, record):
                    yield leaf
    except OutOfPatience:
        raise _out_of_time(len(waiting), len(leaves), min(waiting), timeout) from None


def _sorted(leaves: Sequence[Leaf]) -> tuple[list[Leaf], dict[str, list[Leaf]]]:
    """Return the results that are known here, and the others by their ids."""
    known: list[Leaf] = []
    waiting: dict[str, list[Leaf]] = {}
    for leaf in leaves:
        if leaf._is_known:
            known.append(leaf)
        else:
            waiting.setdefault(str(leaf.id), []).append(leaf)
    return known, waiting


class Members:
    """Which members of a set have ended: those of which all results have."""

    def __init__(self, members: Sequence[Any]) -> None:
        self._members = members
        #: Those that have no results.
        self.empty: list[Any] = []
        self._numbers: dict[Leaf, list[int]] = {}
        self._left: list[int] = []
        for number, member in enumerate(members):
            own = member._leaves()
            self._left.append(len(own))
            if not own:
                self.empty.append(member)
            for leaf in own:
                self._numbers.setdefault(leaf, []).append(number)

    def ended(self, leaf: Leaf) -> list[Any]:
        """Return the member that has ended with this result of it, or nothing."""
        number = self._numbers[leaf].pop(0)
        self._left[number] -= 1
        return [] if self._left[number] else [self._members[number]]


def in_turn(
    members: Sequence[Any], gathered: Iterable[tuple[Any, Any]]
) -> Iterator[tuple[Any, Any]]:
    """Yield members with their values in the members' order, each as soon as those before it are there."""
    values: dict[int, Any] = {}
    turn = 0
    for arrived, value in gathered:
        values[id(arrived)] = value
        while turn < len(members) and id(members[turn]) in values:
            yield members[turn], values[id(members[turn])]
            turn += 1


def _after(waiting: Mapping[str, Sequence[Leaf]], parent: str) -> list[str]:
    """Return which results that are waited for a parent is before: all, where it is before the whole set."""
    found = [name for name, leaves in waiting.items() if parent in leaves[0]._parents()]
    return found or list(waiting)


def _require_success(parent: Leaf, record: ResultRecord) -> None:
    """Raise the exception of a parent that has failed."""
    parent._noted(record)
    parent.maybe_throw()


def _ended(waiting: dict[str, list[Leaf]], record: ResultRecord) -> list[Leaf]:
    """Return the results that wait no more, and note what became of them."""
    found = waiting.pop(record.task_id, []) if record.ready else []
    for leaf in found:
        leaf._noted(record)
    return found


def _out_of_time(missing: int, all_of_them: int, first: str, timeout: float | None) -> TimeoutError:
    return TimeoutError(
        f"{missing} of {all_of_them} results, among them that of task {first}, did not arrive within"
        f" {timeout:g} s. Is a worker running that consumes from their queues?"
    )


def look(backend: Backend, leaves: Sequence[Leaf]) -> dict[Leaf, str]:
    """Return the states of results, of which those that are not known here are read at once."""
    unknown = [str(leaf.id) for leaf in leaves if not leaf._is_known]
    found = backend.store.get(unknown) if unknown else {}
    for leaf in leaves:
        record = found.get(str(leaf.id))
        if record is not None and not leaf._is_known:
            leaf._noted(record)
    return {leaf: leaf._state_of(found.get(str(leaf.id))) for leaf in leaves}
