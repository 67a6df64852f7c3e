"""The time limits of what runs in a child, where that is one task at a time."""

from __future__ import annotations

from umbel.clock import Clock
from umbel.ports import Consumer
from umbel.worker import report
from umbel.worker.execute import Runner
from umbel.worker.outcome import Prepared, Run, Waiting
from umbel.worker.page import Page

#: Seconds before a hard time limit passes in which a broker is told of it.
FORETOLD = 1.0
#: Seconds between two looks of who may be killed any moment.
PARDON = 0.001


class OwnLimits:
    """The hard and the soft limit of the task that runs; the timekeeper enforces the first."""

    def __init__(self, clock: Clock, page: Page, runner: Runner) -> None:
        self._clock = clock
        self._page = page
        self._runner = runner
        self._soft = False
        #: What the broker knows to be near its hard time limit.
        self._foretold: Waiting | None = None

    def start(self, item: Waiting, limits: tuple[float, float], now: float) -> bool:
        """Say on the page that a delivery starts, and by when it is to end; False when it may not start."""
        hard, soft = limits
        self._soft = bool(soft) and self._runner.soft.begin(now + soft)
        deadlines = now + soft if soft else 0.0, now + hard if hard else 0.0
        starts = self._page.start(item.index, now, *deadlines)
        if not starts:
            self._runner.soft.end()
        return starts

    def run(self, index: int, prepared: Prepared) -> Run:
        """Run what has started. It does not return if the hard limit passed just before its end."""
        soft, self._soft = self._runner.soft if self._soft else None, False
        try:
            run = self._runner.run(prepared, soft)
        finally:
            self._runner.soft.end()
        while self._page.lift(index) == prepared.delivery.key:
            self._clock.sleep(PARDON)
        return run

    def look(self, now: float, limit: float, current: Waiting | None) -> None:
        """Tell a task of its soft limit. Called by the helper, every few milliseconds."""
        if self._runner.soft.look(now) and current is not None:
            report.soft_limit(current.prepared, limit)

    def is_ending(self, seconds: float, hard: float, current: Waiting | None) -> bool:
        """Tell whether the broker is to hear that the hard limit of what has run for so long passes soon."""
        if not hard or current is None or current is self._foretold:
            return False
        return seconds >= hard - min(FORETOLD, hard / 2)

    def foretell(self, current: Waiting, hard: float, consumer: Consumer) -> None:
        """Tell the broker that the process may be killed."""
        consumer.expect_end(current.prepared.delivery, hard)
        self._foretold = current
