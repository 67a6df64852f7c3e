"""Results in memory."""

from __future__ import annotations

import math
import threading
from collections.abc import Collection, Sequence

from umbel import states
from umbel.clock import Clock
from umbel.engines.memory.space import Group, Space
from umbel.ports import GroupPart, ResultStore, ResultSubscription
from umbel.records import ResultRecord

#: Seconds that a closed group is remembered.
CLOSED = 86_400.0


def store_results(space: Space, records: Sequence[ResultRecord], now: float) -> None:
    """Store results and tell who listens for them; the lock of the space is held by the caller."""
    for record in records:
        before = space.results.get(record.task_id)
        if before is None or not states.stays(before.state, record.state) or _is_over(before, now):
            space.results[record.task_id] = record
        for subscription in list(space.result_subscriptions):
            subscription.tell(space.results[record.task_id])


def stored_results(space: Space, task_ids: Collection[str], now: float) -> dict[str, ResultRecord]:
    """Return results that have not expired."""
    with space.lock:
        found = {task_id: space.results.get(task_id) for task_id in task_ids}
    return {
        task_id: record
        for task_id, record in found.items()
        if record is not None and not _is_over(record, now)
    }


class MemoryResults(ResultStore):
    """See `umbel.ports.ResultStore`."""

    def __init__(self, space: Space, clock: Clock) -> None:
        self.space = space
        self._clock = clock

    def put(self, records: Sequence[ResultRecord]) -> None:
        """Store under the lock."""
        with self.space.lock:
            store_results(self.space, records, self._clock.time())

    def get(
        self, task_ids: Collection[str], timeout: float | None = None
    ) -> dict[str, ResultRecord]:
        """Look them up."""
        return stored_results(self.space, task_ids, self._clock.time())

    def subscribe(self) -> ResultSubscription:
        """Listen in this process."""
        return MemoryResultSubscription(self.space, self._clock)

    def forget(self, task_ids: Collection[str]) -> None:
        """Delete them."""
        with self.space.lock:
            for task_id in task_ids:
                self.space.results.pop(task_id, None)

    def open_group(self, group: str, size: int, expires: float | None) -> None:
        """Note the size under the lock."""
        with self.space.lock:
            found = self.space.groups.setdefault(group, Group())
            if not found.closed and found.size is None:
                found.size, found.expires = size, expires

    def restart_groups(self, groups: Collection[str]) -> None:
        """Delete them under the lock."""
        with self.space.lock:
            for group in groups:
                self.space.groups.pop(group, None)

    def extend_group(self, group: str, part: str) -> None:
        """Note the id under the lock."""
        with self.space.lock:
            found = self.space.groups.setdefault(group, Group())
            if not found.closed:
                found.more.add(part)

    def add_parts(self, parts: Sequence[GroupPart]) -> list[bool]:
        """Record, count and claim under the lock."""
        with self.space.lock:
            return [self._add_part(part) for part in parts]

    def _add_part(self, part: GroupPart) -> bool:
        found = self.space.groups.setdefault(part.group, Group())
        if found.closed:
            return False
        found.parts.setdefault((part.part, part.index), part.document)
        found.expires = part.expires
        if not found.is_complete:
            return False
        if found.claimant is None:
            found.claimant = part.claimant
        return found.claimant == part.claimant

    def parts(self, group: str) -> list[str | bytes]:
        """Sort them."""
        with self.space.lock:
            found = dict(self.space.groups.get(group, Group()).parts)
        return [found[key] for key in sorted(found, key=_place)]

    def close_group(self, group: str, claimant: str) -> bool:
        """Delete parts and claim."""
        with self.space.lock:
            found = self.space.groups.get(group)
            if found is None or found.claimant != claimant:
                return False
            self.space.groups[group] = Group(closed=True, expires=self._clock.time() + CLOSED)
        return True

    def save_group(self, group: str, document: str | bytes, expires: float | None) -> None:
        """Keep it under the lock."""
        with self.space.lock:
            self.space.saved_groups[group] = (document, expires)

    def saved_group(self, group: str) -> str | bytes | None:
        """Look it up."""
        with self.space.lock:
            document, expires = self.space.saved_groups.get(group, (None, None))
        return None if expires is not None and expires <= self._clock.time() else document

    def forget_group(self, group: str) -> None:
        """Delete it."""
        with self.space.lock:
            self.space.saved_groups.pop(group, None)

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
            groups = self.space.saved_groups
            old_groups = [
                name
                for name, (_, expires) in groups.items()
                if expires is not None and expires <= now
            ]
            for name in old_groups:
                del groups[name]
            open_groups = self.space.groups
            given_up = [
                name
                for name, group in open_groups.items()
                if group.expires is not None and group.expires <= now
            ]
            for name in given_up:
                del open_groups[name]
            for name in old_results:
                del results[name]
            for number in old_dead:
                del dead[number]
        return len(old_results) + len(old_groups) + len(given_up) + len(old_dead)

    def close(self) -> None:
        """Nothing to give back."""


class MemoryResultSubscription(ResultSubscription):
    """See `umbel.ports.ResultSubscription`."""

    def __init__(self, space: Space, clock: Clock) -> None:
        self._space = space
        self._clock = clock
        self._wanted: set[str] = set()
        self._news: dict[str, ResultRecord] = {}
        #: What was told last of a task that goes on.
        self._told: dict[str, ResultRecord] = {}
        self._interrupted = False
        self._condition = threading.Condition(space.lock)
        with space.lock:
            space.result_subscriptions.add(self)

    def tell(self, record: ResultRecord) -> None:
        """Hear of a record that was stored; the lock of the space is held by the caller."""
        if record.task_id in self._wanted and self._told.get(record.task_id) != record:
            self._news[record.task_id] = record
            self._condition.notify()

    def add(self, task_ids: Collection[str], timeout: float | None = None) -> None:
        """Listen and look under the lock."""
        with self._condition:
            self._wanted.update(task_ids)
            for record in stored_results(self._space, task_ids, self._clock.time()).values():
                self.tell(record)

    def discard(self, task_ids: Collection[str]) -> None:
        """Forget them under the lock."""
        with self._condition:
            self._wanted.difference_update(task_ids)
            for task_id in task_ids:
                self._news.pop(task_id, None)
                self._told.pop(task_id, None)

    def receive(self, timeout: float) -> dict[str, ResultRecord]:
        """Sleep until something was told."""
        with self._condition:
            self._condition.wait_for(lambda: self._news or self._interrupted, max(timeout, 0.0))
            self._interrupted = False
            news, self._news = self._news, {}
            for task_id, record in news.items():
                if record.ready:
                    self._wanted.discard(task_id)
                    self._told.pop(task_id, None)
                else:
                    self._told[task_id] = record
        return news

    def interrupt(self) -> None:
        """Wake the one who sleeps."""
        with self._condition:
            self._interrupted = True
            self._condition.notify()

    def close(self) -> None:
        """Leave the space."""
        with self._condition:
            self._space.result_subscriptions.discard(self)


def _place(key: tuple[str, int | None]) -> tuple[float, str]:
    """Return what sorts parts by their places; those without one come last."""
    part, index = key
    return (math.inf if index is None else index, part)


def _is_over(record: ResultRecord, now: float) -> bool:
    return record.expires is not None and record.expires <= now
