"""What came back marked: it waits to be given, and of two copies of one message the lesser is a leftover.

Who dies after it has published a copy that says more (claims.py), and before the server has heard that
the first is done with, leaves both. From one of them nobody can tell that there is the other. But who has
both can: they are one message, under the tag of one publish, and the one that knows more stays. So they do
not multiply. A process also remembers for a time what ended in it, and knows what is left of that.

Messages of Celery's clients have no tag of their publish: of two that are alike each may have been meant.
"""

from __future__ import annotations

import hashlib
import logging
from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from json import dumps
from time import monotonic
from typing import Any

from umbel.engines.rabbitmq.envelope import CRASHES, tag_of
from umbel.engines.rabbitmq.held import Held
from umbel.engines.rabbitmq.unheard import Tags
from umbel.engines.rabbitmq.wire import Number
from umbel.exceptions import BrokerFull, EncodeError
from umbel.message import Delivery

logger = logging.getLogger("umbel.rabbitmq")

#: Seconds that what waits here to run alone may wait before others get it.
PATIENCE = 1.0
#: Why there is no copy of a message that would count its process's death: the server has no room for one, or
#: its headers leave none. It runs as it is: who waited for an alarm to end would be what keeps it going.
CANNOT_COUNT = (BrokerFull, EncodeError)


class Returned:
    """What came back to one consumer and was not given yet."""

    def __init__(self, ended: Tags) -> None:
        self._ended = ended
        self._waiting: deque[Held] = deque()
        self._said = False

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def take_in(self, found: Sequence[Held], given: Collection[Held], now: float) -> list[Number]:
        """Let these wait; return the numbers of leftovers among these, and among what waits.

        `given` is what is worked on here.
        """
        if not found:
            return []
        at_work = {one.delivery.tag: one for one in given}
        waiting = {one.delivery.tag: one for one in self._waiting}
        left: list[Held] = []
        for one in found:
            tag = one.delivery.tag
            other = at_work.get(tag)
            if self._ended.has(_name(one.delivery), now) or (
                other is not None and _is_leftover(one, other)
            ):
                left.append(one)
                continue
            other = waiting.get(tag)
            if other is not None and _are_one(one.delivery, other.delivery):
                lesser = one if _weight(one.delivery) <= _weight(other.delivery) else other
                left.append(lesser)
                if lesser is one:
                    continue
                self._waiting.remove(other)
            waiting[tag] = one
            self._waiting.append(one)
        for one in left:
            logger.info(
                "Task %s came back twice: a process died, or lost its connection, when it had just put a copy"
                " into a queue of its own. One of the two is acknowledged.",
                one.delivery.message.task_id,
            )
        return [one.number for one in left]

    def next(self) -> Held:
        """Return what has waited longest."""
        return self._waiting.popleft()

    def put_back(self, one: Held) -> None:
        """Let it be the next."""
        self._waiting.appendleft(one)

    def some(self, most: int) -> list[Held]:
        """Return as many as these, to be given as they are."""
        found = [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]
        for one in found:
            one.since = monotonic()
        return found

    def late(self, now: float) -> list[Number]:
        """Return the numbers of all if they have waited for too long: others are to have them."""
        if not any(now - one.since > PATIENCE for one in self._waiting):
            return []
        numbers = [one.number for one in self._waiting]
        self._waiting.clear()
        return numbers

    def not_counted(self, error: Exception) -> None:
        """Say once that something starts of which no death is counted."""
        (logger.info if self._said else logger.warning)(
            "A message that came back runs without being counted: if it ends its process, that is not known."
            " %s",
            error,
        )
        self._said = True

    def clear(self) -> None:
        """Forget all: it has gone back."""
        self._waiting.clear()

    def ended(self, deliveries: Iterable[Delivery]) -> None:
        """Remember what ended here: what comes back of it is left over."""
        self._ended.add(
            (_name(one) for one in deliveries if one.count > 1 and _has_own_tag(one)), monotonic()
        )


def one_death_more(delivery: Delivery) -> Mapping[str, Any]:
    """Return what a delivery says of itself while it runs once more.

    Whoever lost it before may have been running it: a second death is a second crash.
    """
    return {CRASHES: max(delivery.crashes, int(delivery.handle)) + 1}


def _is_leftover(one: Held, given: Held) -> bool:
    """Tell whether something is a copy of what is worked on, which knows its crashes then."""
    coming, known = one.delivery, given.delivery
    ends = coming.over_time is not None or known.over_time is not None or known.early
    if ends or not _are_one(coming, known):
        return False
    if coming.crashes > known.crashes and not given.apart:
        given.delivery = replace(known, crashes=coming.crashes)
        given.number, one.number = one.number, given.number
    return True


def _are_one(one: Delivery, other: Delivery) -> bool:
    return one.tag == other.tag and one.message == other.message and _has_own_tag(one)


def _has_own_tag(delivery: Delivery) -> bool:
    """Tell whether its tag is that of a publish of umbel's."""
    return delivery.tag != tag_of(delivery.message)


def _weight(delivery: Delivery) -> tuple[bool, bool, int]:
    """Tell which of two copies knows more.

    One says by which limit it was ended. Where there is one that has not begun, the one that says it
    has was made before that was certain.
    """
    return (delivery.over_time is not None, not delivery.early, delivery.crashes)


def _name(delivery: Delivery) -> str:
    """Return what a message is known by: beat's copies of one run differ in a header."""
    headers = dumps(delivery.message.headers, sort_keys=True, default=repr)
    return f"{delivery.tag} {hashlib.sha256(headers.encode()).hexdigest()}"
