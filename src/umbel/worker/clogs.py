"""Whether there is anything for which a child of many slots has none left, so that it takes no more of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from umbel.worker.executors.base import Executor
from umbel.worker.outcome import Waiting


class Clogs:
    """Which kinds of tasks, on the event loop or not, came back because there was no slot for them.

    And whether some did because the loop was held up. No more is taken until that is over, when `wake` is
    called.
    """

    def __init__(self, executor: Executor, wake: Callable[[], None]) -> None:
        self._executor = executor
        self._wake = wake
        self._full, self._held_up = set[bool](), False

    def are_there(self) -> bool:
        """Tell whether nothing more is to be taken."""
        if self._full:  # what was to end may have done so before this was said
            self._full &= self._executor.taken()
        return bool(self._full or self._held_up)

    def came_back(self, back: Sequence[Waiting], full: set[bool]) -> None:
        """Note what was taken back, while of `full` kinds all slots were taken."""
        kinds = {self._executor.runs_async(item) for item in back}
        self._full.update(kinds & full)
        if True in kinds - full:  # there are slots, and the event loop is held up
            self._held_up = True
            self._executor.when_loop_goes_on(self._loop_goes_on)

    def go_on(self, item: Waiting) -> None:
        """Note that tasks of a kind go on."""
        if self._full:
            self._full.discard(self._executor.runs_async(item))

    def freed(self) -> None:
        """Note that a slot is free, where all were taken when somebody looked."""
        if self._full:
            self._wake()

    def _loop_goes_on(self) -> None:
        """Note that the event loop is held up no more: there may be slots, though nothing begins or ends."""
        self._held_up = False
        self._wake()
