"""Broadcasts on Redis: messages on channels, heard by everyone who listens.

Channels belong to a server, not to a database, so their names have its number. kombu's broadcasts have
channels of their own (``/0.celery.pidbox``), which these leave alone.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from umbel.engines.redis.listening import Ear
from umbel.engines.redis.server import Server
from umbel.ports import Broadcast, Subscription

#: Messages that are sent in one go.
CHUNK = 1000
#: What means something in Redis's patterns.
_SPECIAL = str.maketrans({sign: f"\\{sign}" for sign in "\\*?[]^-"})


class RedisBroadcast(Broadcast):
    """See `umbel.ports.Broadcast`."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._prefix = f"{server.prefix}umbel:broadcast:{server.database}:"

    def send(self, topic: str, payloads: Sequence[bytes]) -> None:
        """Send them in one go, a thousand at a time."""
        channel = self._prefix + topic
        for start in range(0, len(payloads), CHUNK):
            some = payloads[start : start + CHUNK]
            self._server.calls([("PUBLISH", channel, payload) for payload in some])

    def listen(self, topics: Collection[str]) -> Subscription:
        """Listen on a connection of its own."""
        return RedisSubscription(self._server, self._prefix, topics)

    def close(self) -> None:
        """Nothing is this port's own; the connections are the engine's to close."""


class RedisSubscription(Subscription):
    """See `umbel.ports.Subscription`. What is sent while its connection is lost is not heard."""

    def __init__(self, server: Server, prefix: str, topics: Collection[str]) -> None:
        self._clock = server.clock
        self._prefix = prefix.encode()
        self._heard: list[tuple[str, bytes]] = []
        self._ear = Ear(server, self._hear)
        names, begins = _apart(topics)
        try:
            self._ear.listen([(prefix + name).encode() for name in names])
            patterns = [f"{(prefix + begin).translate(_SPECIAL)}*".encode() for begin in begins]
            self._ear.listen(patterns, "PSUBSCRIBE")
        except BaseException:
            self._ear.close()
            raise

    def receive(self, wait: float) -> list[tuple[str, bytes]]:
        """Wait for a message, and take all that have come."""
        deadline = self._clock.monotonic() + wait
        while True:
            left = 0.0 if self._heard else max(deadline - self._clock.monotonic(), 0.0)
            self._ear.wait(left)
            if self._heard or self._clock.monotonic() >= deadline:
                heard, self._heard = self._heard, []
                return heard

    def _hear(self, _: bytes, channel: bytes, payload: bytes) -> None:
        self._heard.append((channel[len(self._prefix) :].decode(), payload))

    def close(self) -> None:
        """Stop listening."""
        self._ear.close()


def _apart(topics: Collection[str]) -> tuple[set[str], set[str]]:
    """Return the names, and what topics with a star begin with.

    Redis tells a message once for each channel and pattern that it matches, so none is within another.
    """
    begins = {topic[:-1] for topic in topics if topic.endswith("*")}
    begins = {
        one for one in begins if not any(one != other and one.startswith(other) for other in begins)
    }
    names = {topic for topic in topics if not topic.endswith("*")}
    return {name for name in names if not name.startswith(tuple(begins))}, begins
