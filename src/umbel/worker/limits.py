"""What limits a child beside the time limits of its tasks."""

from __future__ import annotations

from dataclasses import dataclass

from umbel.worker.lifetime import Lifetime
from umbel.worker.rates import Rates


@dataclass(frozen=True, slots=True)
class Limits:
    """How long it lives, and what is left of the rates of tasks, which it shares with its node's others."""

    lifetime: Lifetime
    rates: Rates
