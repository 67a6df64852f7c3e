"""Putting new messages on a list: the way of nearly all publishes, by plain commands in one packet.

    MULTI
    SET sent:CONNECTION tag EX 60        what this connection sent last
    LPUSH list envelope ...
    EXISTS far:QUEUE                     does anybody have to be woken?
    EXEC
    WATCH sent:CONNECTION

Of many messages each few hundred are an LPUSH of their own, and are sent while the next are written.

A script would do the same and takes the server as long again as all of the above. It would also note each
tag, to tell a message that is published once more. For one whose tag is new that is known: nobody can repeat
it but who was told of an error, here and now. Only the last packet of a connection can be one without an
answer, and a connection that missed an answer is not used again. So its record says whether that packet was
heard, and whoever repeats the call looks there first (lua/broker_sent.lua). If it was not, the record is
changed, and then the packet can have no effect any more, however late it arrives: what is watched since the
answer before it has changed, so that its EXEC does nothing.

What does not look like this goes by a script: several lists, what is due later, names of queues to note, a
server that refuses any of these commands, and clusters.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import lru_cache, partial
from itertools import repeat
from typing import Any

from umbel.engines.redis.calls import NOTED_AT_MOST, WAKING, Calls
from umbel.engines.redis.envelope import write
from umbel.engines.redis.insides import packed
from umbel.engines.redis.server import Link
from umbel.exceptions import OperationalError
from umbel.failpoints import fail_point
from umbel.message import Publication

#: Seconds for which the server knows what a connection sent last; `Features.remembers` is shorter.
KNOWN_FOR = 60
#: Seconds without another try at a server that refused.
PAUSE = 60.0
#: Most calls whose outcome is unknown that are remembered for who repeats them.
UNSURE_AT_MOST = 1000

#: Most messages that are written before the first of them are sent.
AT_ONCE = 250

_MULTI, _EXEC = packed("MULTI"), packed("EXEC")
#: Answers: of MULTI, of three commands that wait, of EXEC, of WATCH.
_ANSWERS = 6
#: What tells how long a list is now.
_NUMBERS = frozenset({int})


class Pushing:
    """How one broker puts new messages on lists. Threads may share it."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._server = calls.server
        self._possible = calls.server.address.slot is None
        self._own = calls.names.own
        self._pause_until = 0.0
        #: First tags of calls that failed, and the records that know; None of those made by a script.
        self._unsure: dict[str, str | None] = {}
        self._end = lru_cache(NOTED_AT_MOST)(self._packed_end)
        self._place = lru_cache(NOTED_AT_MOST)(self._place_and_bell)

    def push(self, items: Sequence[Publication], timeout: float, deadline: float) -> bool:
        """Put new messages that belong on one list there; False where nothing was done.

        It has `timeout` seconds, which end at `deadline`. Raises OperationalError with an unknown outcome.
        """
        first = items[0]
        if not (first.is_new and self._possible) or first.due is not None:
            return False
        queue, priority = first.queue, first.priority
        for item in items[1:]:
            if not item.is_new or item.due is not None or item.queue != queue:
                return False
            if item.priority != priority:
                return False
        calls = self._calls
        if self._pause_until and calls.clock.monotonic() < self._pause_until:
            return False
        list_name, base, bell = self._place(queue, priority)
        if len(items) <= AT_ONCE:
            pushing = packed("LPUSH", list_name, *map(write, items, repeat(calls.names)))
            send = partial(self._sent, first.tag, pushing, bell)
        else:
            send = partial(self._sent_in_parts, items, list_name, bell)
        somebody_waits = self._server.lend(send, timeout)
        if somebody_waits is None:
            return False
        if somebody_waits:
            self._ring(list_name, base, len(items), deadline)
        return True

    def _sent(self, tag: str, pushing: bytes, bell: str, link: Link, timeout: float) -> bool | None:
        """Send the packet; tell whether somebody has to be woken, or None where nothing was done."""
        record = link.record
        if record is None:
            began = self._calls.clock.monotonic()
            record = self._watched(link, timeout)
            if record is None:
                return None
            timeout = max(timeout - (self._calls.clock.monotonic() - began), 0.001)
        noting = packed("SET", record, tag, "EX", KNOWN_FOR)
        try:
            fail_point("redis.publish.before")
            answers = link.exchange(
                b"".join((_MULTI, noting, pushing, self._end(bell, record))), _ANSWERS, timeout
            )
            fail_point("redis.publish.after")
        except BaseException:
            self._unsure[tag] = record
            raise
        if isinstance(answers[0], Exception):  # MULTI is refused of late: they were done one by one
            answers[4] = answers[1:4]
        return self._heard(link, answers)

    def _sent_in_parts(
        self, items: Sequence[Publication], list_name: str, bell: str, link: Link, timeout: float
    ) -> bool | None:
        """Do as `_sent`, and let the server read the first of many messages while the others are written."""
        began, names, tag = self._calls.clock.monotonic(), self._calls.names, items[0].tag
        record = link.record or self._watched(link, timeout)
        if record is None:
            return None
        parts = [items[first : first + AT_ONCE] for first in range(0, len(items), AT_ONCE)]

        def commands() -> Iterator[bytes]:
            yield packed("SET", record, tag, "EX", KNOWN_FOR)
            for part in parts:
                yield packed("LPUSH", list_name, *map(write, part, repeat(names)))
            yield self._end(bell, record)

        try:
            fail_point("redis.publish.before")
            # Alone, since without it each part would be a step of its own.
            (begun,) = link.exchange(_MULTI, 1, timeout)
            if isinstance(begun, Exception):
                self._refused(link)
                return None
            left = max(timeout - (self._calls.clock.monotonic() - began), 0.001)
            answers = link.exchange(commands(), _ANSWERS - 2 + len(parts), left)
            fail_point("redis.publish.after")
        except BaseException:
            link.busy = True  # whatever came between, it may be within a transaction: it is closed
            self._unsure[tag] = record
            raise
        return self._heard(link, answers)

    def _heard(self, link: Link, answers: Sequence[Any]) -> bool | None:
        """Read the answers to a packet, the last of which are those of EXEC and WATCH."""
        done, watched = answers[-2:]
        if done is None:  # the record has expired, or was deleted
            return None
        if type(done) is list and _NUMBERS.issuperset(map(type, done[1:-1])):
            if isinstance(watched, Exception):  # nothing is watched: the next packet asks anew
                link.record = None
            return bool(done[-1])
        self._refused(link)
        return None

    def _watched(self, link: Link, timeout: float) -> str | None:
        """Give a connection a record and let it watch that; None where the server refuses it."""
        record = f"{self._own}sent:{os.urandom(8).hex()}"
        # Where MULTI is refused, what follows it is done at once: that must not be a message.
        answers = link.exchange(_MULTI + _EXEC + packed("WATCH", record), 3, timeout)
        if any(isinstance(answer, Exception) for answer in answers):
            self._refused(link)
            return None
        link.record = record
        return record

    def _refused(self, link: Link) -> None:
        """Leave it to the scripts for a while: they do it, or say what is wrong."""
        link.busy = True  # it may be within a transaction: it is closed
        self._pause_until = self._calls.clock.monotonic() + PAUSE

    def _place_and_bell(self, queue: str, priority: int) -> tuple[str, int, str]:
        """Return a list, the length of its base, and what notes who has to be woken for it."""
        list_name, base = self._calls.place(queue, priority)
        named = self._calls.names.base(queue)
        return list_name, base, f"{self._own}{'far' if list_name == named else 'bell'}:{named}"

    def _packed_end(self, bell: str, record: str) -> bytes:
        return packed("EXISTS", bell) + _EXEC + packed("WATCH", record)

    def _ring(self, list_name: str, base: int, count: int, deadline: float) -> None:
        """Wake who waits for another list. The messages are there, and are looked for once a second."""
        calls = self._calls
        try:
            timeout = min(calls.left(deadline), WAKING)
            waiting = calls.run("ring", list_name, base, count, timeout=timeout)
        except OperationalError:
            return
        calls.wake(waiting, calls.left(deadline))

    # Repetitions

    def note_unsure(self, items: Sequence[Publication]) -> None:
        """Note that a call failed, and may have been heard or not: who repeats it has to be told."""
        if items[0].is_new:
            self._unsure.setdefault(items[0].tag, None)
            # The oldest of one moment, by name: other threads note and forget meanwhile.
            for tag in list(self._unsure.copy())[:-UNSURE_AT_MOST]:
                self._unsure.pop(tag, None)

    def is_repeated(self, items: Sequence[Publication]) -> bool:
        """Tell whether a call has failed before."""
        return bool(self._unsure) and items[0].tag in self._unsure

    def was_pushed(self, items: Sequence[Publication], timeout: float) -> bool:
        """Tell whether a call that is repeated was heard when it was made by plain commands.

        If it was not, it cannot be any more. Raises OperationalError where that is still unknown.
        """
        tag = items[0].tag
        record = self._unsure.get(tag)
        return record is not None and bool(self._calls.run("sent", record, tag, timeout=timeout))

    def forget_unsure(self, items: Sequence[Publication]) -> None:
        """Note that a call that was repeated has succeeded."""
        self._unsure.pop(items[0].tag, None)
