"""A call whose parent has failed is about to fail, too: who waits for it is told when it has.

A failure is stored before those that come of it. Whoever hears of it at once would find the calls that it was
waiting for still pending, and who looks which of a group have failed would miss some.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator
from itertools import islice

from umbel.backend import Backend
from umbel.exceptions import OperationalError
from umbel.waiting import Patience

#: Seconds that these failures are waited for: where nobody stores them the cause is told all the same.
LONGEST = 1.0
#: Seconds between the first two looks, and at most.
PAUSE, LONGEST_PAUSE = 0.002, 0.1
#: As many calls are looked at.
MOST = 100


def wait_until_ended(
    backend: Backend, task_ids: Collection[str], patience: Patience, since: float
) -> None:
    """Return when calls have ended, or when that takes too long for who waits `since` then."""
    clock = patience.clock
    left = None if patience.timeout is None else since + patience.timeout - clock.monotonic()
    for pause in _pauses(left):
        if _have_ended(backend, task_ids):
            return
        clock.sleep(pause)


async def await_ended(backend: Backend, task_ids: Collection[str], left: float | None) -> None:
    """Return likewise, without blocking the event loop, after `left` seconds at the latest."""
    for pause in _pauses(left):
        if await asyncio.to_thread(_have_ended, backend, task_ids):
            return
        await asyncio.sleep(pause)


def _have_ended(backend: Backend, task_ids: Collection[str]) -> bool:
    """Tell whether calls have ended; what cannot be asked is not waited for."""
    names = list(islice(task_ids, MOST))
    try:
        found = backend.store.get(names)
    except OperationalError:
        return True
    return all(name in found and found[name].ready for name in names)


def _pauses(left: float | None) -> Iterator[float]:
    """Yield pauses that grow, and are no more than a second, or what is left, in all."""
    left, pause = LONGEST if left is None else min(left, LONGEST), PAUSE
    while left > 0:
        yield min(pause, left)
        left, pause = left - pause, min(pause * 2, LONGEST_PAUSE)
