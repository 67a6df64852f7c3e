"""Many calls at a time, for `Task.delay_many`: they are sent in batches."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from umbel.calls import Maker, publish, results_of
from umbel.options import CallOptions
from umbel.result import AsyncResult

if TYPE_CHECKING:
    from umbel.app import Umbel
    from umbel.task import Task

#: Calls of one batch.
BATCH = 2000
#: Objects that a collection would look at for each call, from its arguments to its result.
EACH = 16


class Allowance:
    """Lets so many objects not count as what may be garbage, until the end of the block.

    A batch is all alive until it is sent, and goes then without a collection, but for its results. Python
    would look at each of its objects several times, in vain. What else becomes garbage meanwhile, in this
    thread or in others, is collected a batch later.
    """

    def __init__(self, objects: int) -> None:
        self._objects = objects
        self._begin()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._after_fork_in_child)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        #: Threads that are within a block: the first begins it, the last one ends it.
        self._inside = 0

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside > 1:
                return
            youngest, *older = self._own = gc.get_threshold()
            if youngest:
                gc.set_threshold(youngest + self._objects, *older)
            self._given = gc.get_threshold()

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._end()

    def _end(self) -> None:
        """Return to what was, unless somebody has set another threshold since, as a program may."""
        if gc.get_threshold() == self._given:
            gc.set_threshold(*self._own)

    def _after_fork_in_child(self) -> None:
        """End it where other threads of the parent were within a block; they are not here."""
        if self._inside:
            self._end()
        self._begin()


_allowance = Allowance(BATCH * EACH)


def send_many(
    app: Umbel,
    task: Task[Any, Any],
    calls: Iterable[Sequence[Any]],
    publication: Maker,
    options: CallOptions,
) -> list[AsyncResult[Any]]:
    """Send calls of a task, given by their positional arguments; return their results to be.

    `publication` makes the publication of one of them.
    """
    left = iter(calls)
    results: list[AsyncResult[Any]] = []
    while True:
        with _allowance:
            batch = [publication(args, {}) for args in islice(left, BATCH)]
            if not batch:
                return results
            publish(app, batch, options)
            results += results_of(app, batch, options, task)
            del batch
