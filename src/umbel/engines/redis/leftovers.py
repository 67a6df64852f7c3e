"""What Celery's workers left unacknowledged when the last of them died.

kombu keeps what a worker holds in a hash, and any other Celery worker returns from it what is older than the
visibility timeout. When there is none left, somebody else has to: we do, by kombu's rule and under its mutex
(kombu/transport/redis.py, ``QoS.restore_visible``). What is ours in that hash is touched only if our list of
it is gone.
"""

from __future__ import annotations

import json
import logging
import re
from contextlib import suppress
from typing import Any

from umbel.clock import unique_id
from umbel.engines.redis.calls import Calls
from umbel.engines.redis.server import Argument
from umbel.exceptions import OperationalError

logger = logging.getLogger("umbel.redis")

#: Seconds between two looks, and how many messages are returned at most at each.
EVERY, AT_MOST = 60.0, 1000
#: Seconds after which a look ends, and those that one call may take: whoever looks also renews leases.
LOOK, CALL = 1.0, 1.0
#: Of what is parked, and due last, as many are looked at whether they are there.
LOOKED_AT = 200
#: Milliseconds for which kombu's mutex is held at most.
MUTEX_TTL = 300_000
#: What fields of our own parked messages begin with.
OURS = b"umbel:"


class Leftovers:
    """Returns what dead Celery workers held, when no Celery worker is there to do it."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._next_look = 0.0

    def look_after(self) -> None:
        """Look once a minute; cheap in between. What one look leaves over is the next one's."""
        now = self._calls.clock.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + EVERY
        # An error needs no words here: who renews leases meets the same server.
        with suppress(OperationalError):
            self.tell_of_missing()
            self.restore()

    def tell_of_missing(self) -> int:
        """Say that parked messages were deleted, once; return how many of those that were looked at.

        kombu takes what it restores out of its hash and of its index, both at once.
        """
        names, server = self._calls.names, self._calls.server
        messages, index = names.prefix + names.unacked, names.prefix + names.unacked_index
        parked = f"{names.own}parked"
        fields: list[bytes] = self._call("ZRANGE", parked, -LOOKED_AT, -1)
        there = server.calls([("HEXISTS", messages, one) for one in fields], timeout=CALL)
        missing = [field for field, is_there in zip(fields, there, strict=True) if not is_there]
        if not missing:
            return 0
        scores = self._call("ZMSCORE", index, *missing)
        deleted = [one for one, score in zip(missing, scores, strict=True) if score is not None]
        count: int = self._call("ZREM", parked, *deleted) if deleted else 0
        if count:
            self._call("ZREM", index, *deleted)
            logger.error(
                "%d messages that were due later are lost: somebody has deleted them from %s, where they wait"
                " until then.",
                count,
                messages,
            )
        return count

    def restore(self) -> int:
        """Return to their lists what is older than the visibility timeout; return how many."""
        clock, names = self._calls.clock, self._calls.names
        before = self._calls.clock.time() - names.visibility_timeout
        index = names.prefix + names.unacked_index
        found = self._call("ZRANGEBYSCORE", index, 0, before, "LIMIT", 0, AT_MOST)
        found = self._of_celery(found)
        if not found or self._celery_is_there():
            return 0
        mutex, token = names.prefix + names.unacked_mutex, unique_id()
        if self._call("SET", mutex, token, "NX", "PX", MUTEX_TTL) is None:
            return 0
        end, restored = clock.monotonic() + LOOK, 0
        try:
            for field in found:
                restored += self._restore_one(field)
                if clock.monotonic() >= end:
                    break
        finally:
            unlock = self._calls.script("unlock")
            self._calls.server.run(unlock, (mutex,), (token,), timeout=CALL)
        return restored

    def _of_celery(self, found: list[bytes]) -> list[bytes]:
        """Return all but what is ours and in our list: that ends when no umbel was here for a month."""
        ours = [field for field in found if field.startswith(OURS)]
        if not ours:
            return found
        dues = self._call("ZMSCORE", f"{self._calls.names.own}parked", *ours)
        parked = {field for field, due in zip(ours, dues, strict=True) if due is not None}
        return [field for field in found if field not in parked]

    def _call(self, *command: Argument) -> Any:
        return self._calls.server.call(*command, timeout=CALL)

    def _celery_is_there(self) -> bool:
        """Tell whether a client of this database waits as Celery's workers do; umbel never sends BRPOP."""
        database = self._calls.server.database
        clients = self._call("CLIENT", "LIST").decode("utf-8", "replace").splitlines()
        return any({"cmd=brpop", f"db={database}"} <= set(one.split(" ")) for one in clients)

    def _restore_one(self, field: bytes) -> bool:
        names = self._calls.names
        value = self._call("HGET", names.prefix + names.unacked, field)
        envelope, exchange, key = _parts(value)
        queues = [key] if not exchange else self._bound(exchange, key)
        if envelope is None or not all(queues) or not queues:
            return False
        priority = _mapping(envelope, "properties").get("priority")
        step = priority if type(priority) is int else 0
        raw = json.dumps(envelope)
        lists = [part for queue in queues for part in names.list_for(queue, step)]
        restored, waiting = self._calls.run("restore", field, value, raw, *lists, timeout=CALL)
        self._calls.wake(waiting)
        return bool(restored)

    def _bound(self, exchange: str, key: str) -> list[str]:
        """Return the queues that kombu's table has for an exchange and a key."""
        names = self._calls.names
        found = []
        bindings = f"{names.prefix}_kombu.binding.{exchange}"
        for member in self._call("SMEMBERS", bindings):
            routing_key, pattern, queue = names.binding(member) or ("", "", "")
            if queue and (routing_key == key or (pattern and _matches(pattern, key))):
                found.append(queue)
        return sorted(set(found))


def _parts(value: bytes | None) -> tuple[dict[str, Any] | None, str, str]:
    """Return the envelope, exchange and key of an entry of kombu's, with the mark of what was redelivered.

    What has no place for the mark goes back without, as with kombu. Whatever else lies there is no envelope.
    """
    try:
        envelope, exchange, key = json.loads(value or b"")
    except (ValueError, TypeError, RecursionError):
        return None, "", ""
    exchange, key = exchange or "", key or ""
    if not (isinstance(envelope, dict) and isinstance(exchange, str) and isinstance(key, str)):
        return None, "", ""
    info = _mapping(_mapping(envelope, "properties"), "delivery_info")
    for marked in (_mapping(envelope, "headers"), info):
        if marked:
            marked["redelivered"] = True
    return envelope, exchange, key


def _matches(pattern: str, key: str) -> bool:
    try:
        return re.match(pattern, key) is not None
    except re.error:
        return False


def _mapping(of: dict[str, Any], name: str) -> dict[str, Any]:
    found = of.get(name)
    return found if isinstance(found, dict) else {}
