"""A connection that listens to channels, and comes back by itself when it is lost.

While it is lost, whoever listens waits as if nothing came. Nothing is told twice, so where channels are
named after keys it looks what those hold whenever it begins to listen, in the same packet. A server that
falls silent is asked for a sign of life, which is another look. In the child of a fork the connection counts
as lost.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from random import random
from typing import Any

from redis.exceptions import ResponseError

from umbel.engines.forks import tell_of_forks
from umbel.engines.redis.insides import packed
from umbel.engines.redis.server import Link, Server
from umbel.exceptions import OperationalError

logger = logging.getLogger("umbel.redis")

#: Channels that one command names.
CHUNK = 1000
#: Seconds between two tries to connect: the first, and the longest.
PAUSE, LONGEST_PAUSE = 0.05, 5.0
#: Seconds that a try takes at least, however short who waits waits.
LEAST = 0.5

#: Hears of each message: what was listened to, the channel, and the payload.
Hear = Callable[[bytes, bytes, bytes], None]
#: Learns what the key of a channel held when listening to it began; None where that could not be read.
Find = Callable[[bytes, bytes | None], None]


class Ear:
    """Channels and patterns listened to, on one connection. One thread at a time, but for `interrupt`.

    `hear` is called with pattern (or the channel), channel and payload. With `find` channels are named after
    keys, of which `absent` is one that never exists.
    """

    def __init__(
        self, server: Server, hear: Hear, find: Find | None = None, absent: bytes = b""
    ) -> None:
        self._server = server
        self._now = server.clock.monotonic
        self._hear = hear
        self._find = find
        self._absent = absent
        #: The keys of each question that is not answered yet; none of a question for a sign of life.
        self._questions: deque[Sequence[bytes]] = deque()
        self._link: Link | None = None
        self._interrupted = threading.Event()
        self._unconfirmed: set[bytes] = set()
        #: What is listened to: channels and patterns, each with the command that asks for it.
        self._topics: dict[bytes, str] = {}
        self._was_lost = False
        self._pause = PAUSE
        self._next_try = 0.0
        self._heard = self._asked = 0.0
        tell_of_forks(self)

    @property
    def connected(self) -> bool:
        """True unless the connection is lost."""
        return self._link is not None

    # Topics

    def listen(
        self, topics: Sequence[bytes], command: str = "SUBSCRIBE", timeout: float | None = None
    ) -> None:
        """Listen to these too, and return when the server does.

        Raises OperationalError if there never was a connection; a lost one comes back in `wait`.
        """
        limit = self._server.timeout if timeout is None else timeout
        # What is listened to already is looked up all the same.
        if self._find is None:
            topics = [topic for topic in topics if topic not in self._topics]
        self._topics.update(dict.fromkeys(topics, command))
        if self._link is None:
            if not self._was_lost:
                self._connect(limit)
            return
        try:
            self._ask(self._link, topics, command, limit)
        except OperationalError as error:
            self._lost(error)

    def leave(self, topics: Sequence[bytes]) -> None:
        """Listen no more to these channels."""
        left = [topic for topic in topics if self._topics.pop(topic, None) is not None]
        if self._link is None or not left:
            return
        try:
            for start in range(0, len(left), CHUNK):
                self._link.send("UNSUBSCRIBE", *left[start : start + CHUNK])
        except OperationalError as error:
            self._lost(error)

    def _ask(self, link: Link, topics: Sequence[bytes], command: str, timeout: float) -> None:
        """Subscribe, and wait until it is confirmed: what is stored from then on is told."""
        deadline = self._now() + timeout
        for start in range(0, len(topics), CHUNK):
            some = topics[start : start + CHUNK]
            self._unconfirmed.update(some)
            commands = packed(command, *some)
            if self._find is not None:
                commands += packed("MGET", self._absent, *some)
                self._questions.append(some)
            link.send_packed(commands)
            while self._unconfirmed or self._questions:
                left = deadline - self._now()
                if left <= 0:
                    raise OperationalError(
                        f"Redis at {self._server.shown} did not confirm a subscription within"
                        f" {timeout:.1f} s."
                    )
                self._take(link, left)

    # Waiting

    def wait(self, timeout: float) -> bool:
        """Take what comes, waiting up to `timeout` seconds for the first; True if interrupted."""
        if not self._interrupted.is_set():
            deadline, link = self._now() + timeout, self._link
            try:
                if link is None:
                    self._come_back(deadline)
                else:
                    self._wait_on(link, deadline)
            except OperationalError as error:
                self._lost(error)
        if not self._interrupted.is_set():
            return False
        self._interrupted.clear()
        return True

    def _wait_on(self, link: Link, deadline: float) -> None:
        now = self._now()
        silence = self._heard + self._server.address.health_check_interval
        if self._asked > self._heard:
            silence = self._asked + self._server.timeout
            if now >= silence and not self._take(link, 0.0):
                raise OperationalError(
                    f"Redis at {self._server.shown} has been silent for {now - self._heard:.0f} s."
                )
        elif now >= silence:
            self._asked = now
            self._ask_for_life(link)
            silence = now + self._server.timeout
        if self._take(link, max(min(deadline, silence) - now, 0.0)):
            while self._take(link, None):
                pass

    def _ask_for_life(self, link: Link) -> None:
        """Ask for a sign of life, by a look where there is something to look at.

        What was stored may not have been told: whoever did it may have no right to.
        """
        keys = [] if self._find is None else list(islice(self._topics, CHUNK))
        self._questions.append(keys)
        if keys:
            link.send("MGET", self._absent, *keys)
        else:
            link.send("PING")

    def _take(self, link: Link, timeout: float | None) -> bool:
        """Hand on one message if one comes, in so many seconds or with the last one; tell whether one did."""
        try:
            found: Any = link.receive_more() if timeout is None else link.receive(timeout)
        except OperationalError as error:
            refused = isinstance(error.__cause__, ResponseError)
            if self._unconfirmed or not self._questions or not refused:
                raise
            found = []  # the answer to a question
        if found is None:
            return False
        self._heard = self._now()
        kind = found[0] if found and isinstance(found, list) else None
        if kind is None:  # of an answer to MGET the first never exists
            self._answered(found)
        elif kind == b"message":
            self._hear(found[1], found[1], found[2])
        elif kind == b"pmessage":
            self._hear(found[1], found[2], found[3])
        elif kind in {b"subscribe", b"psubscribe"}:
            self._unconfirmed.discard(found[1])
        return True

    def _answered(self, answer: Sequence[Any]) -> None:
        """Tell what keys hold; of those that could not be read, that."""
        keys = self._questions.popleft()
        if self._find is None or not keys:
            return
        if not answer:
            for key in keys:
                self._find(key, None)
            return
        for key, value in zip(keys, answer[1:], strict=True):
            if value is not None:
                self._find(key, value)

    def interrupt(self) -> None:
        """Make `wait` return, now or at its next call."""
        self._interrupted.set()
        link = self._link
        if link is not None:
            link.interrupt()

    # Connecting

    def _connect(self, timeout: float) -> None:
        deadline = self._now() + timeout
        link = self._server.dedicated(timeout, hears=True)
        try:
            self._unconfirmed.clear()
            self._questions.clear()
            for command in ("SUBSCRIBE", "PSUBSCRIBE"):
                topics = [topic for topic, how in self._topics.items() if how == command]
                self._ask(link, topics, command, deadline - self._now())
        except BaseException:
            link.close()
            raise
        self._link = link
        self._heard = self._now()

    def _lost(self, error: OperationalError) -> None:
        """Let go of a connection, and say so once."""
        if self._link is not None:
            self._link.close()
            self._link = None
        if not self._was_lost:
            self._was_lost = True
            self._pause, self._next_try = PAUSE, self._now()
            logger.warning("%s It is connected to again as soon as that works.", error)

    def _come_back(self, deadline: float) -> None:
        """Wait for the next try to connect, or `deadline`; then try."""
        left = min(self._next_try, deadline) - self._now()
        if left > 0 and self._interrupted.wait(left):
            return
        if self._now() < self._next_try:
            return
        try:
            self._connect(max(min(deadline - self._now(), self._server.timeout), LEAST))
        except OperationalError as error:
            self._lost(error)
            self._next_try = self._now() + self._pause * (0.5 + random() / 2)
            self._pause = min(self._pause * 2, LONGEST_PAUSE)
            return
        self._was_lost = False
        logger.info("Redis at %s is connected to again.", self._server.shown)

    def close(self) -> None:
        """Close; in a child of a fork the parent's connection goes on undisturbed."""
        if self._link is not None:
            self._link.close()
            self._link = None

    # Forks

    def before_fork(self) -> None:
        """Nothing is shared but the connection."""

    def after_fork_in_parent(self) -> None:
        """Go on."""

    def after_fork_in_child(self) -> None:
        """Let the connection go, which is the parent's: the next `wait` makes another."""
        link, self._link = self._link, None
        if link is not None:
            link.let_go()
        self._interrupted = threading.Event()  # another thread of the parent may have had its lock
        self._was_lost = bool(self._topics)
        self._pause, self._next_try = PAUSE, 0.0
