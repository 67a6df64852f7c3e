"""Results on Redis: Celery's documents under Celery's keys. How to wait for them is in subscription.py."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from umbel.engines.redis import documents
from umbel.engines.redis.server import Argument, Server
from umbel.engines.redis.subscription import RedisResultSubscription, within
from umbel.exceptions import EncodeError
from umbel.ports import GroupOpening, GroupPart, ResultStore, ResultSubscription
from umbel.records import ResultRecord

#: Results that one call of a script stores or reads: others are served between two.
CHUNK = 1000
#: Milliseconds that a complete group is somebody's to go on with. Short, since a Celery worker that gets the
#: last part again would wait for nobody; who is slower is told so by its lease, or does the same again.
CLAIM = 1000
#: What of a chord is kept where, behind its key: parts, their ids, size, calls that were added (how
#: many, and which), and the claim.
_COUNTED = (".j", ".d", ".s", ".t", ".m", ".c")
#: Milliseconds that a closed group is remembered.
CLOSED = 86_400_000


class RedisResults(ResultStore):
    """See `umbel.ports.ResultStore`. Redis lets results expire by itself."""

    def __init__(self, server: Server) -> None:
        self._server = server
        prefix = server.address.result_prefix
        self._prefix = f"{prefix}celery-task-meta-"
        self._saved = f"{prefix}celery-taskset-meta-"
        #: No result's key. Named by each call, with one that is, for what a cluster makes of it (calls.py).
        self._none = self._prefix
        self._put, self._get = server.script("results_put"), server.script("results_get")
        self._part, self._close = server.script("results_part"), server.script("results_close")
        self._open = server.script("results_open")

    @property
    def location(self) -> str:
        """The server; a broker on the same stores results with its acknowledgements."""
        return self._server.location

    def fields(self, record: ResultRecord, home: int | None = None) -> tuple[Argument, ...]:
        """Return a record as the arguments of a script (lua/results_common.lua).

        `home` is the database of a script that runs in another one than this store's. Raises EncodeError
        for a text that is not UTF-8.
        """
        there = self._server.database
        places = "" if home is None or home == there else f"{there} {home}"
        try:
            return places, self._prefix + record.task_id, *documents.fields(record)
        except UnicodeEncodeError as error:
            raise EncodeError(f"A text cannot be written as UTF-8: {error}.") from error

    def put(self, records: Sequence[ResultRecord]) -> None:
        """Store with one call of a script for each thousand; to do so twice does no harm."""
        for start in range(0, len(records), CHUNK):
            values: list[Argument] = []
            for record in records[start : start + CHUNK]:
                values += self.fields(record)
            first = self._prefix + records[start].task_id
            self._server.run(self._put, (first, self._none), values, repeat=True)

    def get(
        self, task_ids: Collection[str], timeout: float | None = None
    ) -> dict[str, ResultRecord]:
        """Read with one call of a script for each thousand."""
        return self._read(task_ids, within(timeout, self._server.timeout), True)

    def _look(self, task_ids: Collection[str], timeout: float) -> dict[str, ResultRecord]:
        """Read for a subscription, which repeats by itself what fails, and hears meanwhile."""
        return self._read(task_ids, timeout, False)

    def _read(
        self, task_ids: Collection[str], timeout: float, repeat: bool
    ) -> dict[str, ResultRecord]:
        names = list(task_ids)
        deadline = self._server.clock.monotonic() + timeout
        found: dict[str, ResultRecord] = {}
        for start in range(0, len(names), CHUNK):
            some = names[start : start + CHUNK]
            keys = [self._prefix + name for name in some]
            named = (keys[0], self._none)
            left = max(deadline - self._server.clock.monotonic(), 0.001)
            answer = self._server.run(self._get, named, keys, left, repeat)
            for place, data, ends, mark in answer:
                name = some[place - 1]
                expires = ends / 1000 if ends >= 0 else None
                found[name] = documents.record_of(name, data, expires, mark)
        return found

    def subscribe(self) -> ResultSubscription:
        """Listen on a connection of its own."""
        return RedisResultSubscription(self._server, self._prefix, self._look)

    def forget(self, task_ids: Collection[str]) -> None:
        """Delete documents and their marks."""
        keys = [self._prefix + name for name in task_ids]
        keys += [key + ":umbel-state" for key in keys]
        parts = [keys[start : start + CHUNK] for start in range(0, len(keys), CHUNK)]
        if parts:
            self._server.calls([("UNLINK", *part) for part in parts], repeat=True)

    def open_groups(self, openings: Sequence[GroupOpening]) -> None:
        """Save documents in one packet, and open groups one by one."""
        saving = [
            self._saving(one.group, one.document, one.expires)
            for one in openings
            if one.document is not None
        ]
        if saving:
            self._server.calls(saving, repeat=True)
        for one in openings:
            if one.size:
                self.open_group(one.group, one.size, one.expires)

    def _saving(
        self, group: str, document: str | bytes, expires: float | None
    ) -> tuple[Argument, ...]:
        """Return the command that stores Celery's document under Celery's key."""
        ends = () if expires is None else ("PXAT", max(round(expires * 1000), 1))
        return ("SET", self._saved + group, document, *ends)

    def open_group(self, group: str, size: int, expires: float | None) -> None:
        """Write Celery's key, unless it is there; to do so twice does no harm."""
        keys = (self._saved + group, self._none)
        self._server.run(self._open, keys, (size, _milliseconds(expires)), repeat=True)

    def restart_groups(self, groups: Collection[str]) -> None:
        """Delete all of Celery's keys but the document's."""
        calls = [("UNLINK", *(self._saved + group + key for key in _COUNTED)) for group in groups]
        if calls:
            self._server.calls(calls, repeat=True)

    def extend_group(self, group: str, part: str) -> None:
        """Count in Celery's key; to do so twice does no harm."""
        keys = (self._saved + group, self._none)
        self._server.run(self._open, keys, ("more", part), repeat=True)

    def add_parts(self, parts: Sequence[GroupPart]) -> list[bool]:
        """Record, count and claim in one step for each thousand; to do so twice does no harm."""
        found: list[bool] = []
        for start in range(0, len(parts), CHUNK):
            some = parts[start : start + CHUNK]
            values: list[Argument] = [CLAIM]
            for one in some:
                place = "+inf" if one.index is None else str(one.index)
                values += (self._saved + one.group, one.part, place, one.document, one.claimant)
                values.append(_milliseconds(one.expires))
            keys = (self._saved + some[0].group, self._none)
            found += map(bool, self._server.run(self._part, keys, values, repeat=True))
        return found

    def parts(self, group: str) -> list[str | bytes]:
        """Read the sorted set."""
        documents: list[bytes] = self._server.call(
            "ZRANGE", f"{self._saved}{group}.j", 0, -1, repeat=True
        )
        return list(documents)

    def close_group(self, group: str, claimant: str) -> bool:
        """Delete parts and claim in one step."""
        keys = (self._saved + group, self._none)
        return bool(self._server.run(self._close, keys, (claimant, CLOSED)))

    def save_group(self, group: str, document: str | bytes, expires: float | None) -> None:
        """Store the document."""
        self._server.call(*self._saving(group, document, expires), repeat=True)

    def saved_group(self, group: str) -> str | bytes | None:
        """Read the document."""
        found: bytes | None = self._server.call("GET", self._saved + group, repeat=True)
        return None if found is None else documents.as_written(found)

    def forget_group(self, group: str) -> None:
        """Delete the document."""
        self._server.call("UNLINK", self._saved + group, repeat=True)

    def cleanup(self) -> int:
        """Nothing: Redis deletes by itself what has expired."""
        return 0

    def close(self) -> None:
        """Nothing is this port's own; the connections are the engine's to close."""


def _milliseconds(expires: float | None) -> int:
    return 0 if expires is None else max(round(expires * 1000), 1)
