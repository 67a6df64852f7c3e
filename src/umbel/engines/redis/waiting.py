"""How an idle consumer waits: it lets the server move the next message into a list of its own.

BLMOVE wakes exactly one of all who wait, Celery's workers included, and the message is never only in a
process's memory: what is in the list (the inbox) belongs to the consumer, which may run it at once. A BLMOVE
goes around the fence, though: the owner may have been taken for dead while it waited. So the script says for
how long the leases last, and only what comes within that time counts as leased; else a fetch has to find out.

It waits for one list only. Whoever publishes to another one that it could take from is told so by the script
and unblocks it. The script that says who waits (lua/broker_wait.lua) goes out in one packet with the BLMOVE,
and with what says afterwards that it waits no more: nobody finds a waiter that does not wait. So does the one
that settles what the last wait brought (lua/broker_finish.lua), if that is all there is to settle. Right
behind the BLMOVE goes the question what has been revoked, which the server answers after it has moved
something: so whoever runs that at once knows of all that was revoked before, without asking by itself.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from redis.exceptions import NoScriptError, ResponseError

from umbel.engines.forks import tell_of_forks
from umbel.engines.redis.calls import WAKING, Calls
from umbel.engines.redis.insides import as_values, packed
from umbel.engines.redis.server import Argument, Link
from umbel.exceptions import BrokerFull, OperationalError
from umbel.ports import REVOKED, Owner

#: Longest wait, in seconds. A server that has fallen silent is noticed by that: 15 s are promised. What
#: nobody rings for (Celery's clients do not) each node looks for once a second (lua/broker_expired.lua).
LONGEST = 8.0
#: Seconds of rest beside a server that cannot move anything; a wait shorter than this ends when it says.
SHORT = 1.0
#: Seconds that the server's answer may be late.
PATIENCE = 5.0
#: Seconds after the end of a wait that its answer usually takes.
SOON = 0.5

#: What a script says that announces a wait: what it found, for how many ms the leases of what comes last, and
#: in how many ms the next parked message is due (-1: there is none).
Answer = tuple[int, int, int]

#: What it found: nothing; something in the list to wait for, so that the wait ends by itself; or
#: elsewhere. -1 is said to an owner that was taken for dead.
NOTHING, HERE, ELSEWHERE = 0, 1, 2

#: Most forms of a wait that are remembered as they are sent: of connections, lists and times.
REMEMBERED = 100

_NOTHING = object()


@dataclass(slots=True)
class _Wait:
    """A wait that the server was told to begin."""

    link: Link
    #: The list that is waited for.
    chosen: str
    there: int
    #: How many answers follow that nobody waits for.
    owed: int
    #: Seconds for which the leases of what comes last, and since when, by two clocks.
    lasts: float
    begun: float
    began_at: float
    #: When the server ends it by itself.
    until: float


class Waiter:
    """How one consumer waits, in the thread that fetches. Meanwhile it has a connection of the pool."""

    def __init__(self, calls: Calls, owner: Owner) -> None:
        self._calls = calls
        self._owner = owner
        self._link: Link | None = None
        self._wait: _Wait | None = None
        #: The lists for which something may be in an inbox.
        self._inboxes: set[str] = set()
        #: Lists for which a lost connection may still bring something.
        self._doubtful: set[str] = set()
        #: The version of what had been revoked when the last wait brought something (`Consumer.revocations`).
        self.revocations = 0
        self._interrupted = threading.Event()
        #: For how long an answer may take: a result may be large.
        self._patience = max(PATIENCE, calls.server.timeout)
        self._around = lru_cache(REMEMBERED)(self._packed_around)
        tell_of_forks(self)

    def before_fork(self) -> None:
        """Nothing is shared but the connection."""

    def after_fork_in_parent(self) -> None:
        """Go on."""

    def after_fork_in_child(self) -> None:
        """Forget a connection that is the parent's."""
        self._link = self._wait = None
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

    def begin(self, chosen: str, lists: Sequence[str], seconds: float) -> None:
        """Begin to wait for a list, up to `seconds`; `end` or `give_up` has to follow.

        `lists` are those of all queues, the first of each at the front. Raises OperationalError.
        """
        self._begin("wait", (self._owner.id,), chosen, lists, seconds)

    def finish(
        self, finished: Sequence[Argument], chosen: str, lists: Sequence[str], seconds: float
    ) -> Answer | None:
        """Settle what a wait brought, and begin the next one; else as `begin`.

        `finished` are the arguments of ``lua/broker_finish.lua``, and this is its answer; None where it did
        nothing, and the wait is to be given up.
        """
        answer = self._begin("finish", finished, chosen, lists, seconds)
        if answer is not None:
            self._inboxes = {chosen}  # what there was it has emptied
        return answer

    @property
    def waits(self) -> bool:
        """Tell whether a wait was begun that has not ended."""
        return self._wait is not None

    def _begin(
        self,
        name: str,
        arguments: Sequence[Argument],
        chosen: str,
        lists: Sequence[str],
        seconds: float,
    ) -> Answer | None:
        """Begin a wait behind the script that says so, and return its answer."""
        link, clock = self._borrow(), self._calls.clock
        connection, count = str(link.number), len(arguments)
        before, behind, owed = self._around(name, count, connection, chosen, seconds, *lists)
        self._inboxes.add(chosen)
        begun, began_at = clock.monotonic(), clock.time()
        try:
            link.limit(self._patience)
            link.send_packed(before + as_values(*arguments) + behind)
            answer = self._answer_of(name, link)
        except BaseException:
            self._let_go(link, chosen)
            raise
        there, lasts, _ = answer or (ELSEWHERE, 0, -1)
        ends = begun + seconds
        self._wait = _Wait(link, chosen, there, owed, lasts / 1000, begun, began_at, ends)
        return answer

    def _packed_around(
        self, name: str, count: int, connection: str, chosen: str, seconds: float, *lists: str
    ) -> tuple[bytes, bytes, int]:
        """Return what is sent before and behind so many arguments of a script that begins a wait.

        With how many answers follow that of the BLMOVE.
        """
        calls, own = self._calls, self._calls.names.own
        milliseconds = max(round(seconds * 1000), 1)
        first = ("EVALSHA", calls.script(name).sha, *calls.first)
        last = (connection, chosen, milliseconds, *lists)
        before = b"*%d\r\n%b" % (len(first) + count + len(last), as_values(*first))
        inbox = f"{own}inbox:{self._owner.id}:{chosen}"
        bases = lists[: len(lists) // len(self._calls.names.steps)]
        notes = [f"{own}blocked:{chosen}", *(f"{own}bell:{base}" for base in bases)]
        notes += [f"{own}far:{base}" for base in bases if base != chosen]
        commands = [
            packed("BLMOVE", chosen, inbox, "RIGHT", "LEFT", milliseconds / 1000),
            packed("GET", f"{own}version:{REVOKED}"),
            *(packed("ZREM", note, connection) for note in notes),
        ]
        return before, as_values(*last) + b"".join(commands), len(commands) - 1

    def _answer_of(self, name: str, link: Link) -> Answer | None:
        """Return a script's answer, once it has come; None where the server does not know it."""
        try:
            answer: Answer | None = link.answer()
            return answer
        except OperationalError as error:
            if not isinstance(error.__cause__, NoScriptError):
                raise
            self._calls.server.call("SCRIPT", "LOAD", self._calls.script(name).source)
            return None

    def end(self, seconds: float) -> bytes | None:
        """Wait, up to `seconds`, and return what came and is certainly leased by that.

        After anything else a fetch has to follow, which leases what came all the same, and finds out when the
        owner was taken for dead. Raises OperationalError.
        """
        wait, self._wait = self._wait, None
        if wait is None:
            return None
        link, clock = wait.link, self._calls.clock
        try:
            moved = self._await_end(wait, seconds)
            if moved is not None:
                # Asked for behind the move: of all that was revoked before, this tells.
                self.revocations = int(link.answer() or 0)
                wait.owed -= 1
        except BaseException:
            self._let_go(link, wait.chosen)
            raise
        link.owed, link.busy = wait.owed, False
        self._link = None
        self._calls.server.give_back(link)
        # One clock may stand still while the machine sleeps, the other may be set back.
        lasts = wait.lasts
        in_time = clock.monotonic() - wait.begun < lasts and clock.time() - wait.began_at < lasts
        return moved if in_time and self.holds_only(wait.chosen) else None

    def holds_only(self, chosen: str) -> bool:
        """Tell whether something may be in the inbox of one list, and in no other."""
        return not self._doubtful and self._inboxes == {chosen}

    def give_up(self) -> None:
        """End the wait that was begun, at once, if there is one: what has come is in its inbox."""
        if self._wait is not None:
            if self._wait.there == NOTHING:
                self._wait.there = ELSEWHERE
            self.end(0.0)

    def _let_go(self, link: Link, chosen: str) -> None:
        """Close a connection that may still bring something for a list."""
        self._doubtful.add(chosen)
        self._link = None
        link.busy = True
        self._calls.server.give_back(link)

    def _await_end(self, wait: _Wait, seconds: float) -> bytes | None:
        """Read what was moved, and end the wait where there is no reason for it."""
        try:
            return self._await_move(wait, seconds)
        except BrokerFull:
            # A server whose memory is used up moves nothing, and says so at once. It is asked again soon.
            if wait.there == NOTHING:
                self.rest(min(seconds, SHORT))
            return None

    def _await_move(self, wait: _Wait, seconds: float) -> bytes | None:
        """Read the answer of BLMOVE. Raises BrokerFull where the server may not move anything."""
        link = wait.link
        if wait.there == HERE:
            return self._moved(link)
        # An interrupt that came while the first answer was read is not seen on the connection again.
        if wait.there == NOTHING and not self._interrupted.is_set():
            # The server ends a wait up to 0.1 s late: it is told to when the time counts.
            by_itself = wait.until - self._calls.clock.monotonic()
            late = SOON if seconds >= SHORT and seconds >= by_itself else 0.0
            answer: bytes | object | None = link.receive(seconds + late, _NOTHING)
            if answer is None or isinstance(answer, bytes):
                return answer
        # Interrupted, not needed, or the server is late.
        self._unblock(link)
        return self._moved(link)

    def _unblock(self, link: Link) -> None:
        """End a wait. Raises OperationalError where this is refused: the connection has to be given up."""
        try:
            self._calls.server.unblock([str(link.number).encode()], WAKING)
        except OperationalError as error:
            if isinstance(error.__cause__, ResponseError):
                raise

    def _moved(self, link: Link) -> bytes | None:
        """Return what BLMOVE has moved or not; its answer has to come."""
        answer: bytes | None = link.answer()
        return answer

    def _borrow(self) -> Link:
        """Return a connection that can be waited on, of which it is known how others wake it."""
        server = self._calls.server
        link = server.borrow()
        try:
            link.be_wakeable()
            if link.number is None:
                sources = (self._calls.script(name).source for name in ("wait", "finish"))
                loading = (("SCRIPT", "LOAD", source) for source in sources)
                naming = ("CLIENT", "SETNAME", self._calls.waiters)
                link.number, *_ = link.calls((("CLIENT", "ID"), *loading, naming), PATIENCE)
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
