"""Handing back what workers hold, for the way back to Celery: its workers see queues, and no leases.

A node that stops gives everything back, and while one lives it takes over from those that died. So this is
for when the last one died. It is a node itself for that while: what it takes over, such as what may not run
again, it decides on as any node does, and whoever finds it dead takes over from it.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

from umbel.app import Umbel
from umbel.clock import unique_id
from umbel.ports import Action, Holding, Owner
from umbel.worker import report
from umbel.worker.completing import Chords
from umbel.worker.decide import Verdict
from umbel.worker.nodes import NodeDirectory, runtime_directory
from umbel.worker.outcome import Lost
from umbel.worker.recovery import Recovery
from umbel.worker.settler import Settler

#: Seconds after a lease's end at which it is over for the server, too, and between two looks at most.
MOMENT, LOOK = 0.02, 1.0
#: Seconds by which a lease's end may seem to move. One that is renewed moves on and on.
BLUR = 0.1
#: Seconds for which a wait of somebody living may still be given a message. Workers wait a second at a time.
LATE = 2.0


@dataclass(slots=True)
class Counts:
    """What became of the messages: back on their queues, failed (at most once), or dead letters."""

    returned: int = 0
    failed: int = 0
    dead: int = 0


class Handback:
    """Gives back what others hold; use it as a context."""

    def __init__(self, app: Umbel) -> None:
        self.counts = Counts()
        self._broker, self._queues, self._results = app.broker, app.queues, app.results
        self._chords = Chords(app, app.results, plainly=True)
        self._clock = app.clock
        self._node = unique_id()
        self._ttl = app.conf.snapshot.worker_lease_ttl
        here = runtime_directory(app.show_url(app.broker_url))
        self._directory = NodeDirectory(here, self._node)
        self._recovery = Recovery(app, app.broker, self._attach, self._decided)

    def __enter__(self) -> Self:
        """Take a place among the nodes."""
        self._directory.enter("")
        return self

    def __exit__(self, *_: object) -> None:
        """Leave; nothing of it stays behind."""
        try:
            self._recovery.close()
        finally:
            self._directory.leave()

    def _attach(self) -> Settler:
        owner = Owner(unique_id(), self._node, platform.node(), os.getpid())
        self._directory.enter(owner.id)
        return Settler(
            self._broker, self._broker.consumer(owner, self._ttl), self._results, self._chords
        )

    def _decided(self, verdict: Verdict) -> None:
        """Count what does not go back."""
        report.lost(verdict)
        settlement, outcome = verdict.settlement, verdict.run.outcome
        if settlement.action is Action.DEAD_LETTER:
            self.counts.dead += 1
        elif isinstance(outcome, Lost) and outcome.end:
            self.counts.failed += 1

    def holdings(self) -> list[Holding]:
        """Return who holds messages, but for ourselves."""
        return [one for one in self._queues.holdings() if one.owner.node != self._node]

    def from_the_dead(self) -> None:
        """Give back what dead nodes of this host hold, and everybody whose leases have ended."""
        with self._counting():
            self._recovery.nodes_died(self._directory)
            self._recovery.expired(self._node)
            self._renew()

    def from_the_silent(self, say: Callable[[float], None]) -> list[Holding]:
        """Do the same, and again as leases end; return those who renewed theirs meanwhile: they live.

        `say` is told, if there is something to wait for, for how many seconds at most.
        """
        ends: dict[str, float] = {}
        while True:
            self.from_the_dead()
            before = self._clock.monotonic()
            found = self.holdings()
            if not ends:
                before = self._clock.monotonic()
                ends = {one.owner.id: before + one.left for one in found}
                if found:
                    say(max(one.left for one in found))
            left = [
                one.left
                for one in found
                if not one.left or before + one.left <= ends.get(one.owner.id, 0.0) + BLUR
            ]
            if not left:
                return found
            self._clock.sleep(min(min(left) + MOMENT, LOOK))

    def from_the_living(self) -> None:
        """Take from everybody, and what their waits are given meanwhile; what they run will be refused."""
        with self._counting():
            for one in self.holdings():
                self._recovery.taken_for_dead(one.owner, "it was taken by umbel handback")
        self._clock.sleep(LATE)
        self._renew()

    def _renew(self) -> None:
        """Stay alive; that looks after what those who are gone left, too."""
        self._broker.renew(self._node, self._ttl)

    @contextmanager
    def _counting(self) -> Iterator[None]:
        """Count what goes back: all that those held who are gone afterwards, but for what was decided on."""
        before = {one.owner.id: one.held for one in self.holdings()}
        lost = self.counts.failed + self.counts.dead
        yield
        there = {one.owner.id for one in self.holdings()}
        gone = sum(held for owner, held in before.items() if owner not in there)
        self.counts.returned += gone - (self.counts.failed + self.counts.dead - lost)
