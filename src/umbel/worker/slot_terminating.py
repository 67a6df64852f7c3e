"""Ending tasks that are revoked while they run beside others in one process.

That each was terminated is recorded at once, and whatever it does from then on counts for nothing. Then it is
told to end: a coroutine is cancelled, and in a thread an error is raised where the task has time limits, so
that it is known when code of its own runs. What does not end cannot be stopped: its child is replaced, and
leaves when its other tasks have ended.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from umbel.worker.execute import tell_beside
from umbel.worker.executors.base import Executor
from umbel.worker.outcome import Job, Revoked, Waiting
from umbel.worker.revocations import Revocations
from umbel.worker.slot_limits import STUBBORN, SlotLimits
from umbel.worker.terminating import Runs


@dataclass(frozen=True, slots=True)
class _Ended:
    item: Waiting
    at: float


class SlotTermination:
    """Ends what runs in an executor, by places; `give_up` records the outcome.

    Who takes a task to its end asks `has_ended`, which takes it out of `running`; who ends one looks whether
    it is there. So exactly one of the two records its outcome. What was ended is known by its delivery, for
    another one may have its place while its code goes on. What has time limits is ended by `limits`.
    """

    may_end_process = False

    def __init__(
        self,
        executor: Executor,
        running: dict[int, Waiting],
        limits: SlotLimits,
        give_up: Callable[[Waiting, Revoked], None],
    ) -> None:
        self._executor = executor
        self._running = running
        self._limits = limits
        self._give_up = give_up
        self._looked_at = 0
        self._lock = threading.Lock()
        #: By the identities of their deliveries, which live as long.
        self._ended: dict[int, _Ended] = {}

    def await_end(self, child: Runs) -> None:
        """Do nothing: who has ended asks `has_ended`."""

    def is_owed(self, revocations: Revocations) -> bool:
        """Say that the courier has nothing to do: the helper ends what is to be ended."""
        return False

    def look(self, child: Runs) -> None:
        """Do nothing."""

    def end_revoked(self, revocations: Revocations, now: float) -> None:
        """End what runs and is to be ended; called by the helper."""
        reads = revocations.reads
        if reads == self._looked_at:
            return
        self._looked_at = reads
        for item in list(self._running.values()):
            number = revocations.signal_for(item.prepared)
            if number is not None:
                self._end(item, Revoked("terminated", number), now)

    def _end(self, item: Waiting, outcome: Revoked, now: float) -> None:
        if not self._limits.terminate(item, outcome, now):
            if not self._claim(item, now):
                return
            self._give_up(item, outcome)
            self._executor.cancel_call(item)
        tell_beside(outcome, item.prepared)

    def _claim(self, item: Waiting, now: float) -> bool:
        """Have it count as ended; False where it has just ended by itself."""
        with self._lock:
            if self._running.get(item.index) is not item:
                return False
            self._ended[id(item.prepared.delivery)] = _Ended(item, now)
        job = item.prepared.work
        if isinstance(job, Job):
            # So that no handler hears of a failure.
            job.request.__dict__["given_back"] = True
        return True

    def has_ended(self, item: Waiting) -> bool:
        """Tell whether what comes out of its code now was ended before, and has its outcome.

        Else it is no more among what runs.
        """
        delivery = item.prepared.delivery
        with self._lock:
            if self._ended.pop(id(delivery), None) is not None:
                return True
            running = self._running.get(item.index)
            if running is not None and running.prepared.delivery is delivery:
                del self._running[item.index]
        return False

    @property
    def watches(self) -> bool:
        """Whether something was ended that has not come out of its code."""
        return bool(self._ended)

    def is_stubborn(self, now: float) -> bool:
        """Tell whether something was ended that cannot be stopped."""
        with self._lock:
            return any(now - one.at >= STUBBORN for one in self._ended.values())
