"""What is done about runs of a periodic task that are late, that overlap, or that all come at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import Any

CATCH_UP = ("once", "all", "none")
#: How late, in seconds, a run may be of an entry that catches up with none: beat may just have moved.
GRACE = 30.0


@dataclass(frozen=True, slots=True)
class Rules:
    """How an entry runs. Raises TypeError or ValueError for what cannot be.

    `catch_up` says what becomes of times that were missed: ``once`` is one late run for all of them, ``all``
    one each, ``none`` no run. `deadline` is how late a run may be in seconds, and more is left out; None is
    for ever, but half a minute with ``none``. Without `overlap` no run is sent while the last one has not
    ended. `jitter` is by how many seconds, at most, a run is put off, by another number each time. What is
    not `enabled` is paused.
    """

    catch_up: str = "once"
    deadline: float | None = None
    overlap: bool = True
    jitter: float = 0.0
    enabled: bool = True

    def __post_init__(self) -> None:
        """Check the values where they are written."""
        if self.catch_up not in CATCH_UP:
            known = ", ".join(map(repr, CATCH_UP))
            raise ValueError(f"catch_up is {self.catch_up!r}, but must be one of {known}.")
        for name in ("overlap", "enabled"):
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"{name} is {getattr(self, name)!r}, but must be True or False.")
        object.__setattr__(self, "jitter", _seconds("jitter", self.jitter))
        if self.deadline is not None:
            object.__setattr__(self, "deadline", _seconds("deadline", self.deadline))

    def late_by(self, default: float | None = None) -> float | None:
        """Return how late a run may be in seconds; `default` counts where no deadline is given."""
        given = default if self.deadline is None else self.deadline
        if self.catch_up != "none" or self.deadline is not None:
            return given
        return GRACE if given is None else min(given, GRACE)

    def said(self) -> dict[str, Any]:
        """Return those that are not as they are by default."""
        return {
            name: value for name in RULES if (value := getattr(self, name)) != getattr(PLAIN, name)
        }


def _seconds(name: str, value: Any) -> float:
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} is {value!r}, but must be a number of seconds or a timedelta.")
    if not 0 <= value < float("inf"):
        raise ValueError(f"{name} is {value!r} seconds, but must be 0 or more.")
    return float(value)


PLAIN = Rules()
RULES = tuple(one.name for one in fields(Rules))


def rules_of(given: Mapping[str, Any]) -> Rules:
    """Return the rules among the fields of an entry."""
    found = {name: given[name] for name in RULES if given.get(name) is not None}
    return Rules(**found) if found else PLAIN
