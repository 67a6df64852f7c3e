"""How an idle consumer waits: it lets the server move the next message into a list of its own.

BLMOVE wakes exactly one of all who wait, Celery's workers included, and the message is never only in a
process's memory: what is in the list (the inbox) belongs to the consumer, which may run it at once. A BLMOVE
goes around the fence, though: the owner may have been taken for dead while it waited. So the script says for
how long the leases last, and only what comes within that time counts as leased; else a fetch has to find out.

It waits for one list only. Whoever publishes to another one that it could take from is told so by the script
and unblocks it. The script that says who waits (lua/broker_wait.lua) goes out in one packet with the BLMOVE,
and with what says afterwards that it waits no more: nobody finds a waiter that does not wait.
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

#: Longest wait, in seconds. A server that has fallen silent is noticed by that: 15 s are promised. What
#: nobody rings for (Celery's clients do not) each node looks for once a second (lua/broker_expired.lua).
LONGEST = 8.0
#: Seconds of rest beside a server that cannot move anything; a wait shorter than this ends when it says.
SHORT = 1.0
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
    """How one consumer waits, in the thread that fetches. Meanwhile it has a connection of the pool."""

    def __init__(self, calls: Calls, owner: Owner) -> None:
        self._calls = calls
        self._owner = owner
        self._link: Link | None = None
        #: The lists for which something may be in an inbox.
        self._inboxes: set[str] = set()
        #: Lists for which a lost connection may still bring something.
        self._doubtful: set[str] = set()
        self._interrupted = threading.Event()
        tell_of_forks(self)

    def before_fork(self) -> None:
        """Nothing is shared but the connection."""

    def after_fork_in_parent(self) -> None:
        """Go on."""

    def after_fork_in_child(self) -> None:
        """Forget a connection that is the parent's."""
        self._link = None
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

    def inboxes(self) -> list[str]:
        """Return the lists whose inboxes have to be emptied with the next fetch."""
        return list(self._inboxes | self._doubtful)

    def emptied(self, lists: Sequence[str]) -> None:
        """Note that a fetch has emptied inboxes."""
        self._inboxes.difference_update(lists)

    def wait(self, chosen: str, lists: Sequence[str], seconds: float) -> bytes | None:
        """Wait for a list, up to `seconds`, and return what came and is certainly leased by that.

        `lists` are those of all queues, the first of each at the front.
        After anything else a fetch has to follow, which leases what came all the same, and finds out when the
        owner was taken for dead. Raises OperationalError.
        """
        link = self._borrow()
        own, connection = self._calls.names.own, str(link.number)
        inbox = f"{own}inbox:{self._owner.id}:{chosen}"
        script, keys = self._calls.script("wait"), self._calls.keys
        milliseconds = max(round(seconds * 1000), 1)
        arguments = self._calls.arguments(self._owner.id, connection, chosen, milliseconds, *lists)
        bases = lists[: len(lists) // len(self._calls.names.steps)]
        notes = [f"{own}blocked:{chosen}", *(f"{own}bell:{base}" for base in bases)]
        notes += [f"{own}far:{base}" for base in bases if base != chosen]
        is_alone = not self._doubtful and self._inboxes <= {chosen}
        self._inboxes.add(chosen)
        clock = self._calls.clock
        begun, began_at = clock.monotonic(), clock.time()
        try:
            link.send_all(
                (
                    ("EVALSHA", script.sha, len(keys), *keys, *arguments),
                    ("BLMOVE", chosen, inbox, "RIGHT", "LEFT", milliseconds / 1000),
                    *(("ZREM", note, connection) for note in notes),
                )
            )
            there, lasts = self._what_is_there(link)
            moved = self._await_end(link, there, seconds)
            link.owed = len(notes)
            link.busy = False
        except BaseException:
            self._doubtful.add(chosen)
            raise
        finally:
            self._link = None
            self._calls.server.give_back(link)
        # One clock may stand still while the machine sleeps, the other may be set back.
        took = max(clock.monotonic() - begun, clock.time() - began_at)
        return moved if is_alone and took < lasts else None

    def _await_end(self, link: Link, there: There, seconds: float) -> bytes | None:
        """Read what was moved, and end the wait where there is no reason for it."""
        try:
            return self._await_move(link, there, seconds)
        except BrokerFull:
            # A server whose memory is used up moves nothing, and says so at once. It is asked again soon.
            if there is There.NOTHING:
                self.rest(min(seconds, SHORT))
            return None

    def _what_is_there(self, link: Link) -> tuple[There, float]:
        """Read the script's answer: what it found, and for how many seconds leases last."""
        try:
            there, lasts = self._receive(link, PATIENCE)
            return There(there), lasts / 1000
        except OperationalError as error:
            if not isinstance(error.__cause__, NoScriptError):
                raise
            self._calls.server.call("SCRIPT", "LOAD", self._calls.script("wait").source)
            return There.ELSEWHERE, 0.0

    def _await_move(self, link: Link, there: There, seconds: float) -> bytes | None:
        """Read the answer of BLMOVE. Raises BrokerFull where the server may not move anything."""
        if there is There.HERE:
            return self._moved(link)
        # An interrupt that came while the first answer was read is not seen on the connection again.
        if there is There.NOTHING and not self._interrupted.is_set():
            # The server ends a wait up to 0.1 s late: it is told to when the time counts.
            limit = seconds if seconds < SHORT else seconds + SOON
            answer: bytes | object | None = link.receive(limit, _NOTHING)
            if answer is None or isinstance(answer, bytes):
                return answer
        # Interrupted, not needed, or the server is late.
        self._calls.wake([str(link.number).encode()])
        return self._moved(link)

    def _moved(self, link: Link) -> bytes | None:
        """Return what BLMOVE has moved or not; its answer has to come."""
        answer: bytes | None = self._receive(link, PATIENCE)
        return answer

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

    def _borrow(self) -> Link:
        """Return a connection that can be waited on, of which it is known how others wake it."""
        server = self._calls.server
        link = server.borrow()
        try:
            link.be_wakeable()
            if link.number is None:
                source = self._calls.script("wait").source
                naming = ("CLIENT", "SETNAME", self._calls.waiters)
                commands = (("CLIENT", "ID"), ("SCRIPT", "LOAD", source), naming)
                link.number, *_ = link.calls(commands, PATIENCE)
            link.busy = True
        except BaseException:
            link.busy = True
            server.give_back(link)
            raise
        self._link = link
        return link

    def interrupt(self) -> None:
        """End the wait of another thread, or its next one."""
        self._interrupted.set()
        link = self._link
        if link is not None:
            link.interrupt()
