"""How an idle consumer waits: it lets the server move the next message into a list of its own.

BLMOVE wakes exactly one of all who wait, Celery's workers included, and the message is never only in a
process's memory: what is in the list (the inbox) belongs to the consumer, whose next fetch leases it. It
waits for one list only. Whoever publishes to another one that it could take from is told so by the script
and unblocks it; the script that says who waits (lua/broker_wait.lua) goes out in one packet with the BLMOVE,
so that nobody finds a waiter that does not wait yet. Behind it stands a look every second.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from enum import IntEnum
from typing import Any

from redis.exceptions import NoScriptError

from umbel.engines.forks import tell_of_forks
from umbel.engines.redis.calls import Calls
from umbel.engines.redis.server import Link
from umbel.exceptions import BrokerFull, OperationalError
from umbel.ports import Owner

#: Longest wait, in seconds, for what nobody rings for: Celery's clients do not.
SLOW_CHECK = 1.0
#: Seconds that the server's answer may be late.
PATIENCE = 5.0
#: Seconds after the end of a wait that its answer usually takes.
SOON = 0.5

_NOTHING = object()


class There(IntEnum):
    """What the script found that announces a wait (lua/broker_wait.lua)."""

    NOT_OURS = -1
    NOTHING = 0
    #: In the list to wait for: the wait ends by itself.
    HERE = 1
    ELSEWHERE = 2


class Waiter:
    """One consumer's connection for waiting, used by the thread that fetches."""

    def __init__(self, calls: Calls, owner: Owner) -> None:
        self._calls = calls
        self._owner = owner
        self._link: Link | None = None
        self._connection = ""
        #: The lists for which something may be in an inbox.
        self._inboxes: set[str] = set()
        #: Lists for which a lost connection may still bring something.
        self._doubtful: set[str] = set()
        self._is_noted = False
        self._interrupted = threading.Event()
        tell_of_forks(self)

    def before_fork(self) -> None:
        """Nothing is shared but the connection."""

    def after_fork_in_parent(self) -> None:
        """Go on."""

    def after_fork_in_child(self) -> None:
        """Forget a connection that is the parent's."""
        self._link = None
        self._connection = ""
        self._interrupted = threading.Event()  # another thread of the parent may have had its lock

    def was_interrupted(self) -> bool:
        """Tell whether somebody called `interrupt`, once."""
        if not self._interrupted.is_set():
            return False  # and one that comes just now is for the next wait
        self._interrupted.clear()
        return True

    def rest(self, seconds: float) -> None:
        """Wait for nothing but an interrupt, up to `seconds`."""
        self._interrupted.wait(seconds)

    def noted(self) -> str:
        """Return the connection that the server has noted as waiting, or nothing."""
        return self._connection if self._is_noted else ""

    def inboxes(self) -> list[str]:
        """Return the lists whose inboxes have to be emptied with the next fetch."""
        return list(self._inboxes | self._doubtful)

    def emptied(self, lists: Sequence[str]) -> None:
        """Note that a fetch has emptied inboxes, and said that nobody waits."""
        self._inboxes.difference_update(lists)
        self._is_noted = False

    def wait(self, chosen: str, lists: Sequence[str], seconds: float) -> None:
        """Wait for a list, up to `seconds`; a fetch has to follow.

        The fetch finds out when the owner was taken for dead. Raises OperationalError.
        """
        link = self._link if self._link is not None else self._connect()
        inbox = f"{self._calls.names.own}inbox:{self._owner.id}:{chosen}"
        script, keys = self._calls.script("wait"), self._calls.keys
        milliseconds = max(round(seconds * 1000), 1)
        arguments = self._calls.arguments(
            self._owner.id, self._connection, chosen, milliseconds, *lists
        )
        self._inboxes.add(chosen)
        self._is_noted = True
        try:
            link.send_all(
                (
                    ("EVALSHA", script.sha, len(keys), *keys, *arguments),
                    ("BLMOVE", chosen, inbox, "RIGHT", "LEFT", milliseconds / 1000),
                )
            )
            self._await_end(link, seconds)
        except BaseException:
            self._doubtful.add(chosen)
            self.close()
            raise

    def _await_end(self, link: Link, seconds: float) -> None:
        """Read both answers, and end the wait where there is no reason for it."""
        there = self._what_is_there(link)
        try:
            self._await_move(link, there, seconds)
        except BrokerFull:
            # A server whose memory is used up moves nothing, and says so at once. It is asked again soon.
            if there is There.NOTHING:
                self.rest(min(seconds, SLOW_CHECK))

    def _what_is_there(self, link: Link) -> There:
        """Read the script's answer."""
        try:
            return There(self._receive(link, PATIENCE))
        except OperationalError as error:
            if not isinstance(error.__cause__, NoScriptError):
                raise
            self._calls.server.call("SCRIPT", "LOAD", self._calls.script("wait").source)
            return There.ELSEWHERE

    def _await_move(self, link: Link, there: There, seconds: float) -> None:
        """Read the answer of BLMOVE. Raises BrokerFull where the server may not move anything."""
        if there is There.HERE:
            self._receive(link, PATIENCE)
            return
        # An interrupt that came while the first answer was read is not seen on the connection again.
        if there is There.NOTHING and not self._interrupted.is_set():
            # The server ends a wait up to 0.1 s late: it is told to when the time counts.
            limit = seconds if seconds < SLOW_CHECK else seconds + SOON
            if link.receive(limit, _NOTHING) is not _NOTHING:
                return
        # Interrupted, not needed, or the server is late.
        self._calls.wake([self._connection.encode()])
        self._receive(link, PATIENCE)

    def _receive(self, link: Link, timeout: float) -> Any:
        """Return an answer that has to come. An interrupt stays what it is: a word that comes once."""
        deadline = self._calls.clock.monotonic() + timeout
        while (left := deadline - self._calls.clock.monotonic()) > 0:
            answer = link.receive(left, _NOTHING)
            if answer is not _NOTHING:
                return answer
        raise OperationalError(
            f"Redis at {self._calls.server.shown} did not answer within {timeout:g} s."
        )

    def _connect(self) -> Link:
        link = self._calls.server.dedicated()
        try:
            self._connection = str(link.call("CLIENT", "ID", timeout=PATIENCE))
            link.call("SCRIPT", "LOAD", self._calls.script("wait").source, timeout=PATIENCE)
        except BaseException:
            link.close()
            raise
        self._link = link
        return link

    def interrupt(self) -> None:
        """End the wait of another thread, or its next one."""
        self._interrupted.set()
        link = self._link
        if link is not None:
            link.interrupt()

    def close(self) -> None:
        """Close the connection; the next wait opens another."""
        link, self._link = self._link, None
        self._is_noted = False
        if link is not None:
            link.close()
