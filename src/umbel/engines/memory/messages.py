"""The messages of a space: where each is, and in which order they are delivered.

Headers and properties are kept as JSON: whoever changes a mapping after publishing, or one that was
delivered, changes nothing here, and what no other engine could carry is refused here, too.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum

from umbel import serialization
from umbel.engines.memory.waiting import Waiters
from umbel.engines.texts import check_text
from umbel.headers import read as read_headers
from umbel.message import Delivery, Message, Publication
from umbel.ports import Owner

#: A message's number and the number of its handing-over.
Handle = tuple[int, int]

#: When the leases of an owner end that has left and still holds what may not be delivered again.
LEFT = float("-inf")


class Where(Enum):
    """Where a message is."""

    READY = "ready"
    SCHEDULED = "scheduled"
    LEASED = "leased"


@dataclass(slots=True)
class Stored:
    """A message, and what the broker knows about it. `number` is the order of arrival."""

    queue: str
    priority: int
    tag: str
    task_id: str | None
    headers: str
    properties: str
    content_type: str
    content_encoding: str
    body: bytes
    published: float
    number: int = 0
    where: Where = Where.READY
    due: float | None = None
    owner: str | None = None
    lease: int = 0
    early: bool = False
    count: int = 0
    crashes: int = 0

    def message(self) -> Message:
        """Return the message as it was published."""
        return Message(
            read_headers(self.headers),
            serialization.loads_mapping(self.properties),
            self.body,
            self.content_type,
            self.content_encoding,
        )

    def delivery(self) -> Delivery:
        """Return the handing-over of this message to its present owner."""
        return Delivery(
            key=f"{self.number}.{self.lease}",
            queue=self.queue,
            message=self.message(),
            tag=self.tag,
            priority=self.priority,
            count=self.count,
            crashes=self.crashes,
            early=self.early,
            handle=(self.number, self.lease),
        )


@dataclass(slots=True)
class Dead:
    """A dead letter."""

    stored: Stored
    reason: str
    died: float
    expires: float | None


@dataclass(slots=True, eq=False)
class Holder:
    """An owner and what it holds, by handing-over. Who is not listed any more is fenced off."""

    owner: Owner
    expires: float
    held: dict[Handle, Stored] = field(default_factory=dict)

    def take(self, item: Stored) -> None:
        """Hold a message; its lease says by which handing-over."""
        item.owner = self.owner.id
        self.held[item.number, item.lease] = item


def stored(publications: Iterable[Publication], now: float) -> list[Stored]:
    """Return publications as they are kept. Raises EncodeError for what cannot be written."""
    publications = list(publications)
    for item in publications:
        message = item.message
        check_text(item.queue, message.task_id or "", item.tag)
        check_text(message.content_type, message.content_encoding)
    return [
        Stored(
            queue=item.queue,
            priority=item.priority,
            tag=item.tag,
            task_id=item.message.task_id,
            headers=serialization.dumps_mapping(item.message.headers),
            properties=serialization.dumps_mapping(item.message.properties),
            content_type=item.message.content_type,
            content_encoding=item.message.content_encoding,
            body=bytes(item.message.body),
            published=now,
            due=item.due if item.due is not None and item.due > now else None,
        )
        for item in publications
    ]


class Messages:
    """Messages, dead letters and owners of a space. Its lock is held by whoever calls."""

    def __init__(self, waiters: Waiters) -> None:
        self._waiters = waiters
        self._last_number = 0
        self._ready: dict[str, list[tuple[int, int]]] = {}
        self._due: list[tuple[float, int]] = []
        self._tags: set[str] = set()
        self.by_number: dict[int, Stored] = {}
        self.dead: dict[int, Dead] = {}
        self.holders: dict[str, Holder] = {}
        self.ever_consumed = False

    @property
    def queues(self) -> list[str]:
        """The names of all queues that were ever used."""
        return sorted(self._ready)

    def use_queue(self, name: str) -> None:
        """Note that a queue is used."""
        self._ready.setdefault(name, [])

    def next_number(self) -> int:
        """Return a number that was never used in this space."""
        self._last_number += 1
        return self._last_number

    def insert(self, items: Iterable[Stored]) -> int:
        """Put messages on their queues, but for those whose tag is here already.

        Return how many.
        """
        inserted = 0
        for item in items:
            self.use_queue(item.queue)
            if item.tag in self._tags:
                continue
            inserted += 1
            self._tags.add(item.tag)
            item.number = self.next_number()
            self.by_number[item.number] = item
            if item.due is None:
                self.make_ready(item)
            else:
                self.schedule(item, item.due)
        return inserted

    def make_ready(self, item: Stored) -> None:
        """Let a message be delivered, at its place, and wake one who waits for it."""
        item.where, item.due, item.owner, item.early = Where.READY, None, None, False
        heapq.heappush(self._ready[item.queue], (-item.priority, item.number))
        self._waiters.wake(f"queue:{item.queue}", 1)

    def schedule(self, item: Stored, due: float) -> None:
        """Keep a message until it is due. All who wait for its queue look again for how long."""
        item.where, item.due, item.owner, item.early = Where.SCHEDULED, due, None, False
        heapq.heappush(self._due, (due, item.number))
        self._waiters.wake(f"queue:{item.queue}")

    def next_due(self) -> float | None:
        """Return when the next scheduled message is due."""
        while self._due and self._due[0][1] not in self.by_number:
            heapq.heappop(self._due)  # it was purged
        return self._due[0][0] if self._due else None

    def return_due(self, now: float) -> None:
        """Let the messages that are due be delivered."""
        while (due := self.next_due()) is not None and due <= now:
            self.make_ready(self.by_number[heapq.heappop(self._due)[1]])

    def claim(self, holder: Holder, queue: str, limit: int) -> list[Delivery]:
        """Lease the first messages of a queue."""
        self.use_queue(queue)
        ready = self._ready[queue]
        claimed: list[Delivery] = []
        while ready and len(claimed) < limit:
            item = self.by_number[heapq.heappop(ready)[1]]
            item.where, item.lease = Where.LEASED, self.next_number()
            item.count += 1
            holder.take(item)
            claimed.append(item.delivery())
        return claimed

    def waiting(self, queue: str) -> list[Stored]:
        """Return the ready messages of a queue in the order of delivery."""
        return [self.by_number[number] for _, number in sorted(self._ready.get(queue, ()))]

    def purge(self, queue: str) -> int:
        """Delete the ready and scheduled messages of a queue."""
        gone = [
            item
            for item in self.by_number.values()
            if item.queue == queue and item.where is not Where.LEASED
        ]
        for item in gone:
            self.remove(item)
        if gone:
            self._ready[queue].clear()
        return len(gone)

    def remove(self, item: Stored) -> None:
        """Delete a message, and remember its tag no longer."""
        del self.by_number[item.number]
        self._tags.discard(item.tag)

    def release(self, holder: Holder, handles: Iterable[Handle]) -> int:
        """Take messages from their holder as if they had never been fetched; return how many."""
        found = [holder.held.pop(handle) for handle in handles if handle in holder.held]
        for item in found:
            item.count -= 1
            self.make_ready(item)
        return len(found)

    def release_unmarked(self, holder: Holder, handles: Iterable[Handle]) -> int:
        """Do the same, but leave what was marked early."""
        held = holder.held
        return self.release(holder, [one for one in handles if one in held and not held[one].early])
