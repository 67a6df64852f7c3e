"""When the keeper's duties are due, and whether the clock by which leases end has jumped."""

from __future__ import annotations

from dataclasses import dataclass

from umbel.clock import Clock

#: Seconds by which the wall clock may move against the monotonic one between two looks.
JUMP = 2.0


@dataclass(slots=True)
class Timer:
    """Says when something is due again."""

    every: float
    due: float = 0.0

    def is_due(self, now: float) -> bool:
        """Tell whether it is due, and if so begin the next period."""
        if now < self.due:
            return False
        self.due = now + self.every
        return True


class Jumps:
    """Notices when the wall clock moves against the monotonic one."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._drift = clock.time() - clock.monotonic()

    def since_last(self, now: float) -> float:
        """Return by how many seconds it has jumped; 0.0 where that is little."""
        drift = self._clock.time() - now
        jump, self._drift = drift - self._drift, drift
        return jump if abs(jump) > JUMP else 0.0
