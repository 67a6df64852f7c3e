"""Looking into the queues of a Redis server."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from typing import Any
from uuid import UUID

from umbel.engines.redis import envelope
from umbel.engines.redis.calls import Calls
from umbel.engines.redis.keys import Names
from umbel.engines.redis.server import Server
from umbel.message import Delivery
from umbel.ports import DeadLetter, Holding, Owner, QueueAdmin, QueueDepth, StoredMessage

#: Messages that one command reads: what lies on a queue may be large.
PAGE = 500
#: kombu's own queues of remote control and events, which are no queues of tasks.
_CONTROL = ("pidbox", "celeryev")


class RedisQueues(QueueAdmin):
    """See `umbel.ports.QueueAdmin`. What is looked at is not stopped: it may move meanwhile."""

    def __init__(self, server: Server, names: Names) -> None:
        self._calls = Calls(server, names)
        self._server = server
        self._names = names
        self._own = names.own

    # Depths

    def depths(self) -> dict[str, QueueDepth]:
        """Count by queue, in the order in which messages move on.

        One that does so meanwhile is counted twice, and not overlooked: nobody takes for empty what is not.
        """
        ready = {queue: self._ready(queue) for queue in self._known()}
        leased = Counter(queue for queue, *_ in self._held())
        scheduled = Counter(self._parked_for(field)[0] for field, _ in self._parked())
        dead = self._dead()
        found = set(ready) | set(leased) | set(scheduled) | set(dead)
        depths = {}
        for queue in sorted(found):
            count, oldest = ready.get(queue) or self._ready(queue)
            depths[queue] = QueueDepth(count, scheduled[queue], leased[queue], dead[queue], oldest)
        return depths

    def _ready(self, queue: str) -> tuple[int, float | None]:
        """Return how many messages wait, and since when the first of them."""
        length = self._length(queue)
        return length, self._oldest(queue) if length else None

    def _owners(self) -> list[bytes]:
        found: list[bytes] = self._server.call("ZRANGE", f"{self._own}owners", 0, -1)
        return found

    def _known(self) -> set[str]:
        """Return the queues that umbel or kombu used."""
        found = {name.decode() for name in self._server.call("ZRANGE", f"{self._own}queues", 0, -1)}
        start = f"{self._names.prefix}_kombu.binding."
        for key in self._scan(f"{_escaped(start)}*"):
            exchange = key.decode("utf-8", "replace")[len(start) :]
            if exchange.endswith(_CONTROL):
                continue
            for member in self._server.call("SMEMBERS", key):
                queue = (self._names.binding(member) or ("", "", ""))[2]
                if queue and not queue.endswith(_CONTROL):
                    found.add(queue)
        return found

    def _dead(self) -> Counter[str]:
        """Count the dead letters of each queue, page by page."""
        counts: Counter[str] = Counter()
        first = 0
        while True:
            found, *lists = self._calls.run("dead_count", first, first + PAGE - 1)
            for name, base, count in lists:
                counts[self._names.split(name, int(base))[0]] += int(count)
            if found < PAGE:
                return counts
            first += PAGE

    def _length(self, queue: str) -> int:
        return sum(self._server.calls([("LLEN", name) for name in self._names.lists(queue)]))

    def _oldest(self, queue: str) -> float | None:
        """Return when the first waiting message of each priority was published, the earliest of them."""
        firsts = self._server.calls([("LINDEX", name, -1) for name in self._names.lists(queue)])
        times = [_published(envelope.read(raw, queue, 0, "")) for raw in firsts if raw is not None]
        return min((one for one in times if one is not None), default=None)

    # Looking

    def peek(self, queue: str, limit: int, offset: int = 0) -> list[StoredMessage]:
        """Read the lists from the end that messages are taken from."""
        found: list[StoredMessage] = []
        for name, step in self._lists(queue):
            left = limit - len(found)
            if left <= 0:
                break
            length = self._server.call("LLEN", name)
            if offset < length:
                raws = self._server.call("LRANGE", name, -offset - left, -offset - 1)
                found += [self._stored(raw, queue, step, "ready") for raw in reversed(raws)]
            offset = max(offset - length, 0)
        return found

    def find(self, task_id: str) -> list[StoredMessage]:
        """Look at all messages: on the lists, parked, leased and dead."""
        wanted = json.dumps(task_id).encode()
        found = [item for item in self._everything(wanted) if item.message.task_id == task_id]
        found += [
            StoredMessage(letter.key, letter.queue, "dead", letter.message)
            for letter in self._letters()
            if letter.message.task_id == task_id
        ]
        return found

    def _everything(self, wanted: bytes) -> Iterator[StoredMessage]:
        """Give all messages whose envelope has a text in it."""
        for queue in sorted(self._known()):
            for name, step in self._lists(queue):
                for raw in self._on_list(name):
                    if wanted in raw:
                        yield self._stored(raw, queue, step, "ready")
        for field, due in self._parked():
            raw = self._server.call("HGET", self._names.prefix + self._names.unacked, field)
            if raw is not None and wanted in raw:
                queue, step = self._parked_for(field)
                length = int(field.split(b":", 2)[1])
                yield self._stored(raw[1 : 1 + length], queue, step, "scheduled", due=due)
        for queue, step, key, raw, owner in self._held():
            if wanted in raw:
                yield self._stored(raw, queue, step, "leased", key=key, consumer=owner)

    def _lists(self, queue: str) -> Iterator[tuple[str, int]]:
        """Give the lists of a queue with their priorities."""
        return zip(self._names.lists(queue), self._names.steps, strict=True)

    def _on_list(self, name: str) -> Iterator[bytes]:
        at = 0
        while raws := self._server.call("LRANGE", name, -at - PAGE, -at - 1):
            yield from reversed(raws)
            at += PAGE

    def _parked(self) -> Iterator[tuple[bytes, float]]:
        """Give the fields of parked messages of ours, and when they are due."""
        for field, due in self._scanned("ZSCAN", f"{self._own}parked"):
            yield field, float(due) / 1000

    def _held(self) -> Iterator[tuple[str, int, str, bytes, str]]:
        """Give queue, priority, key, envelope and owner of all that is leased.

        First what waiting owners were given, which may run by now and is written down as held later: it has
        the keys that follow.
        """
        for owner in self._owners():
            yield from self._given(owner.decode())
            for key, value in self._scanned("HSCAN", f"{self._own}held:{owner.decode()}"):
                length, base, rest = value[1:].split(b":", 2)
                queue, step = self._names.split(rest[: int(length)], int(base))
                yield queue, step, key.decode(), rest[int(length) :], owner.decode()

    def _given(self, owner: str) -> Iterator[tuple[str, int, str, bytes, str]]:
        (prefix, last), lists = self._server.calls(
            [
                ("HMGET", f"{self._own}owner:{owner}", "p", "n"),
                ("SMEMBERS", f"{self._own}inboxes:{owner}"),
            ]
        )
        number = int(last or 0)
        for base in lists:
            queue, step = self._names.split(base, len(base))
            inbox = f"{self._own}inbox:{owner}:{base.decode()}"
            for raw in reversed(self._server.call("LRANGE", inbox, 0, -1)):
                number += 1
                yield queue, step, f"{(prefix or b'').decode()}.{number}", raw, owner

    def _scanned(self, command: str, key: str) -> Iterator[tuple[bytes, bytes]]:
        """Give the pairs of a hash or sorted set, each once."""
        cursor: Any = 0
        seen: set[bytes] = set()
        while True:
            cursor, flat = self._server.call(command, key, cursor, "COUNT", PAGE)
            pairs = flat.items() if isinstance(flat, dict) else _pairs(flat)
            for name, value in pairs:
                if name not in seen:
                    seen.add(name)
                    yield name, value
            if not int(cursor):
                return

    def _scan(self, pattern: str) -> Iterator[bytes]:
        cursor: Any = 0
        while True:
            cursor, keys = self._server.call("SCAN", cursor, "MATCH", pattern, "COUNT", 1000)
            yield from keys
            if not int(cursor):
                return

    def _parked_for(self, field: bytes) -> tuple[str, int]:
        """Return queue and priority of a parked message (lua/broker_publications.lua, ``park``)."""
        length, base, rest = field.split(b":", 4)[2:]
        return self._names.split(rest[: int(length)], int(base))

    def _stored(
        self,
        raw: bytes,
        queue: str,
        step: int,
        where: str,
        key: str = "",
        due: float | None = None,
        consumer: str | None = None,
    ) -> StoredMessage:
        found = envelope.read(raw, queue, step, key, names=self._names)
        return StoredMessage(key or found.tag, queue, where, found.message, due, consumer)

    def holdings(self) -> list[Holding]:
        """Count by owner, with what waiting gave it."""
        return [
            Holding(Owner(name.decode(), node.decode(), host.decode(), int(pid)), held, left / 1000)
            for name, node, host, pid, held, left in self._calls.run("holdings")
        ]

    # Purging

    def purge(self, queue: str) -> int:
        """Delete the lists, and what of the queue is parked."""
        deleted = int(self._calls.run("purge", *self._names.lists(queue)))
        fields = [field for field, _ in self._parked() if self._parked_for(field)[0] == queue]
        for first in range(0, len(fields), PAGE):
            deleted += int(self._calls.run("unpark", *fields[first : first + PAGE]))
        return deleted

    # Dead letters

    def dead_letters(self, limit: int, offset: int = 0) -> list[DeadLetter]:
        """Read the latest."""
        return list(islice(self._letters(offset, min(limit, PAGE)), max(limit, 0)))

    def _letters(self, first: int = 0, page: int = PAGE) -> Iterator[DeadLetter]:
        """Read them from a place on, page by page."""
        while page > 0:
            found, *letters = self._calls.run("dead", first, first + page - 1)
            yield from map(self._letter, letters)
            if found < page:
                return
            first += page

    def _letter(self, parts: Sequence[bytes]) -> DeadLetter:
        key, name, base, raw, reason, died, crashes = parts
        queue, step = self._names.split(name, int(base))
        message = envelope.read(raw, queue, step, key.decode(), names=self._names).message
        died_at = int(died) / 1000
        return DeadLetter(key.decode(), queue, message, reason.decode(), died_at, int(crashes))

    def retry_dead(self, keys: Collection[str]) -> int:
        """Move them back, as messages that arrive now."""
        if not keys:
            return 0
        count, waiting = self._calls.run("revive", *keys)
        self._calls.wake(waiting)
        return int(count)

    def drop_dead(self, keys: Collection[str]) -> int:
        """Delete them."""
        return int(self._calls.run("drop", *keys)) if keys else 0


def _pairs(flat: list[bytes]) -> Iterator[tuple[bytes, bytes]]:
    return zip(flat[::2], flat[1::2], strict=True)


def _escaped(text: str) -> str:
    """Return a text as a pattern of itself."""
    return "".join(f"\\{one}" if one in "*?[]\\^" else one for one in text)


def _published(delivery: Delivery) -> float | None:
    """Return when a message was published, where it says so: by its header, or by the time in its tag."""
    sent_at = delivery.message.headers.get("sent_at")
    if isinstance(sent_at, int | float):
        return float(sent_at)
    try:
        tag = UUID(delivery.tag)
    except ValueError:
        return None
    return (tag.int >> 80) / 1000 if tag.version == 7 else None
