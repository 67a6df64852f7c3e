"""The places of a node for children, and when it gives up to fill them."""

from __future__ import annotations

from collections.abc import Collection
from itertools import count, islice

from umbel.worker.children import ChildProcess

#: Most seconds before a place is filled again whose children die at once.
LONGEST_PAUSE = 5.0
#: After so many children in a row, or imports of the app, of which none came to take messages, a node ends.
GIVE_UP = 6


class GaveUp(Exception):
    """A node cannot have children, for a reason that no further try seems to mend."""


class Slot:
    """A place for a child, and when it may be filled again."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.child: ChildProcess | None = None
        #: Whether it is given up, once its child has left.
        self.leaving = False
        self.not_before = 0.0
        self.short_lives = 0
        #: How many children in a row died before they were ready.
        self.failures = 0
        #: Whether it has had a child already.
        self.is_used = False
        #: Whether the last child left, or leaves, because its lifetime was over.
        self.expects = False

    def running(self) -> int:
        """Return how many tasks run in its child."""
        return 0 if self.child is None else self.child.page.glance().running

    def stumble(self, now: float) -> None:
        """Count a short life: the next try waits longer."""
        self.short_lives += 1
        self.not_before = now + min(0.1 * 2**self.short_lives, LONGEST_PAUSE)

    def recover(self) -> None:
        """Forget the short lives before a longer one."""
        self.short_lives = 0


def added(slots: Collection[Slot], number: int) -> list[Slot]:
    """Return so many new places, which have the first numbers that are free."""
    taken = {slot.number for slot in slots}
    free = (each for each in count(1) if each not in taken)
    return [Slot(each) for each in islice(free, max(number, 0))]


def dismiss(slots: Collection[Slot], number: int) -> None:
    """Let so many children leave: those that run least."""
    for slot in sorted(slots, key=Slot.running)[: max(number, 0)]:
        slot.leaving = True
        if slot.child is not None:
            slot.child.tell_to_stop()
