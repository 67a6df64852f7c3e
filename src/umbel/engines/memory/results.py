"""Results in memory."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from umbel import states
from umbel.clock import Clock
from umbel.engines.memory.space import Group, Space
from umbel.ports import ResultStore
from umbel.records import ResultRecord


def store_results(space: Space, records: Sequence[ResultRecord], now: float) -> None:
    """Store results and wake who waits for them; the lock of the space is held by the caller."""
    for record in records:
        before = space.results.get(record.task_id)
        # What succeeded stays so, whatever a late duplicate says.
        if (
            before is None
            or before.state != states.SUCCESS
            or record.state == states.SUCCESS
            or _is_over(before, now)
        ):
            space.results[record.task_id] = record
        space.waiters.wake(f"result:{record.task_id}")


class MemoryResults(ResultStore):
    """See `umbel.ports.ResultStore`."""

    def __init__(self, space: Space, clock: Clock) -> None:
        self.space = space
        self._clock = clock

    def put(self, records: Sequence[ResultRecord]) -> None:
        """Store under the lock."""
        with self.space.lock:
            store_results(self.space, records, self._clock.time())

    def get(self, task_ids: Collection[str]) -> dict[str, ResultRecord]:
        """Look them up."""
        with self.space.lock:
            now = self._clock.time()
            found = {task_id: self.space.results.get(task_id) for task_id in task_ids}
        return {
            task_id: record
            for task_id, record in found.items()
            if record is not None and not _is_over(record, now)
        }

    def wait(self, task_ids: Collection[str], timeout: float) -> dict[str, ResultRecord]:
        """Sleep until one is stored that is final."""
        deadline = self._clock.monotonic() + timeout
        while True:
            with self.space.lock:
                found = {
                    task_id: record
                    for task_id, record in self.get(task_ids).items()
                    if record.ready
                }
                left = deadline - self._clock.monotonic()
                if found or left <= 0:
                    return found
                waiter = self.space.waiters.listen(f"result:{task_id}" for task_id in task_ids)
                try:
                    waiter.wait(left)
                finally:
                    self.space.waiters.stop(waiter)

    def forget(self, task_ids: Collection[str]) -> None:
        """Delete them."""
        with self.space.lock:
            for task_id in task_ids:
                self.space.results.pop(task_id, None)

    def add_part(self, group: str, part: str, document: str, size: int, claimant: str) -> bool:
        """Record, count and claim under the lock."""
        with self.space.lock:
            found = self.space.groups.setdefault(group, Group())
            found.parts[part] = document
            if len(found.parts) < size:
                return False
            if found.claimant is None:
                found.claimant = claimant
            return found.claimant == claimant

    def parts(self, group: str) -> dict[str, str]:
        """Copy them."""
        with self.space.lock:
            return dict(self.space.groups.get(group, Group()).parts)

    def close_group(self, group: str, claimant: str) -> bool:
        """Delete parts and claim."""
        with self.space.lock:
            found = self.space.groups.get(group)
            if found is None or found.claimant != claimant:
                return False
            del self.space.groups[group]
        return True

    def cleanup(self) -> int:
        """Delete all that expired: in memory that is quick."""
        with self.space.lock:
            now = self._clock.time()
            results, dead = self.space.results, self.space.messages.dead
            old_results = [name for name, record in results.items() if _is_over(record, now)]
            old_dead = [
                number
                for number, letter in dead.items()
                if letter.expires is not None and letter.expires <= now
            ]
            for name in old_results:
                del results[name]
            for number in old_dead:
                del dead[number]
        return len(old_results) + len(old_dead)

    def close(self) -> None:
        """Nothing to give back."""


def _is_over(record: ResultRecord, now: float) -> bool:
    return record.expires is not None and record.expires <= now
