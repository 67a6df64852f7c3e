"""How far a task is: `Progress`, and how it is stored.

Stored as a state of its own, PROGRESS, with the mapping that the package celery-progress writes and reads
(celery_progress/backend.py): ``current``, ``total``, ``percent``, ``description``, and ``pending``, which is
False. So its pages show what is told here, and `Progress.of` reads what its recorder has stored.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from umbel.values import value

#: Seconds between two words of one call that are stored, unless the later one is the last.
EVERY = 0.2


@value
class Progress:
    """How much of a task is done, of how much in total, and what it says about it.

    `total` is None where nobody knows it. `done` and `total` may count anything.
    """

    done: float
    total: float | None = None
    message: str = ""

    @property
    def fraction(self) -> float | None:
        """What is done, between 0.0 and 1.0; None where the total is not known."""
        if self.total is None:
            return None
        if self.total <= 0:
            return 1.0
        return min(max(self.done / self.total, 0.0), 1.0)

    @property
    def percent(self) -> float | None:
        """What is done, between 0.0 and 100.0, to two digits; None where the total is not known."""
        return None if self.fraction is None else round(self.fraction * 100, 2)

    def __str__(self) -> str:
        text = f"{self.done:g}"
        if self.total is not None:
            text = f"{self.percent:.0f} % ({text} of {self.total:g})"
        return f"{text}: {self.message}" if self.message else text

    @classmethod
    def checked(cls, done: Any, total: Any, message: Any) -> Progress:
        """Return what a task tells. Raises TypeError or ValueError for what is no number or no text."""
        for name, number in (("done", done), ("total", total)):
            if name == "total" and number is None:
                continue
            if isinstance(number, bool) or not isinstance(number, int | float):
                raise TypeError(f"progress(): {name} must be a number, not {number!r}.")
            if not math.isfinite(number):
                raise ValueError(f"progress(): {name} must be finite, not {number!r}.")
        if not isinstance(message, str):
            raise TypeError(f"progress(): message must be a text, not {message!r}.")
        return cls(done, total, message)

    @classmethod
    def of(cls, told: Any) -> Progress | None:
        """Return what a mapping with ``current`` tells, as tasks of any kind store it; None for others."""
        if not isinstance(told, Mapping):
            return None
        done, total = _number(told.get("current")), _number(told.get("total"))
        if done is None:
            return None
        message = told.get("description")
        return cls(done, total, message if isinstance(message, str) else "")

    def as_meta(self) -> dict[str, Any]:
        """Return the mapping that is stored."""
        return {
            "pending": False,
            "current": self.done,
            "total": self.total,
            "percent": self.percent,
            "description": self.message,
        }


def _number(found: Any) -> float | None:
    right = isinstance(found, int | float) and not isinstance(found, bool) and math.isfinite(found)
    return found if right else None
