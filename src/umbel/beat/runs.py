"""What is known of an entry's runs, and what is to be sent at a moment: pure functions of time.

A run is named by its entry, the time at which it is due, and its number. All beats of a fleet work from the
same stored state, so that they name the same run alike, and the second who sends it sends nothing.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

from umbel.clock import utc
from umbel.schedules import BaseSchedule, schedule
from umbel.schedules.rules import Rules

#: Most missed runs that are sent in one step; the others follow at once.
MOST = 100


@dataclass(frozen=True, slots=True)
class Runs:
    """The state of an entry. All times are seconds since the epoch.

    `due` is when it is due next, None for never again, by the schedule that `by` says. `last` is when the
    last run was due and `sent` when it was sent, with the id `task_id`; `count` is how many there were.
    `noted` is how many lines its history has had. What is `held` was paused when it was looked at.
    """

    due: float | None = None
    by: str = ""
    last: float | None = None
    sent: float | None = None
    task_id: str | None = None
    count: int = 0
    noted: int = 0
    held: bool = False

    def dump(self) -> str:
        """Return the state as it is stored."""
        return json.dumps(
            {
                name: said
                for name in _FIELDS
                if (said := getattr(self, name)) != getattr(_NONE, name)
            },
            separators=(",", ":"),
        )

    @classmethod
    def load(cls, text: str | None) -> Runs:
        """Read what `dump` wrote; what was written by somebody else counts as nothing."""
        try:
            return cls() if text is None else cls(**json.loads(text))
        except (TypeError, ValueError):
            return cls()


_NONE = Runs()
_FIELDS = tuple(one.name for one in fields(Runs))


def is_asked(found: Any) -> bool:
    """Tell whether a schedule has to be asked each time: it has a rule of its own, or a clock."""
    kind = type(found)
    rules = (kind.is_due, getattr(kind, "remaining_estimate", None))
    own = all(getattr(one, "__module__", "").partition(".")[0] == "umbel" for one in rules)
    blank = getattr(kind, "next_after", BaseSchedule.next_after) is BaseSchedule.next_after
    return not own or blank or getattr(found, "nowfun", None) is not None


def interval(found: Any) -> float | None:
    """Return the seconds of a schedule that is due so long after it was due; None for another one."""
    if isinstance(found, schedule) and not found.relative and not is_asked(found):
        return found.seconds
    return None


def mark(found: Any) -> str:
    """Return what a schedule looks like as long as its times are the same."""
    if isinstance(found, schedule):
        every = found.run_every
        relative = f" in {found.tz}" if found.relative else ""
        return f"{type(found).__name__} {every.total_seconds() if every else every}{relative}"
    if is_asked(found):
        return f"{type(found).__module__}.{type(found).__qualname__}"
    return f"{found!r} in {found.tz}"


def next_due(found: Any, due: float, beyond: float) -> float | None:
    """Return the first time after `beyond` at which a schedule is due that was due at `due`."""
    every = interval(found)
    if every is None:
        following = found.next_after(utc(beyond))
        return None if following is None else following.timestamp()
    if every <= 0:
        return None
    steps = max(math.floor((beyond - due) / every), -1) + 1
    while (moment := round(due + steps * every, 6)) <= beyond:  # what a float rounds off
        steps += 1
    return moment


def due_anew(found: Any, rules: Rules, last: float | None, now: float) -> float | None:
    """Return when an entry is due next that has another schedule since its last run.

    It counts from that run. Where that is past it is late, once: under its old schedule nothing was missed.
    """
    since = now if last is None else last
    due = next_due(found, since, since)
    if due is None or due >= now:
        return due
    return next_due(found, now, now) if rules.catch_up == "none" else now


class Plan(NamedTuple):
    """What to do: the times to send now, the first that is left out as too late, when it is due next.

    `made_up` tells whether the one run to send stands for others, too, whose times are over.
    """

    send: tuple[float, ...]
    left_out: float | None
    due: float | None
    made_up: bool = False


def plan(found: Any, rules: Rules, late_by: float | None, due: float, now: float) -> Plan:
    """Return what becomes of an entry that is due since `due`."""
    first: float | None = due
    left_out = None
    if late_by is not None and due < now - late_by:
        left_out = due
        first = next_due(found, due, now - late_by)
    if first is None or first > now:
        return Plan((), left_out, first)
    if rules.catch_up != "all":
        following = next_due(found, first, now)
        return Plan((first,), left_out, following, next_due(found, first, first) != following)
    send: list[float] = []
    while first is not None and first <= now and len(send) < MOST:
        send.append(first)
        first = next_due(found, first, first)
    return Plan(tuple(send), left_out, first)


def _digest(*parts: object) -> bytes:
    return hashlib.sha256("\0".join(map(str, parts)).encode()).digest()


def run_id(scope: str, name: str, due: float, number: int) -> str:
    """Return the task id of a run, the same for all beats: a UUID of version 8 (RFC 9562).

    It begins with the time at which the run is due, which keeps indexes on ids growing at one end.
    """
    rest = _digest(scope, name, repr(due), number).hex()
    text = f"{int(due * 1000) & 0xFFFF_FFFF_FFFF:012x}"
    variant = "89ab"[int(rest[3], 16) & 3]
    return f"{text[:8]}-{text[8:]}-8{rest[:3]}-{variant}{rest[4:7]}-{rest[7:19]}"


def jitter(scope: str, name: str, due: float, most: float) -> float:
    """Return by how many seconds a run is put off, from 0 to `most`: for all beats the same."""
    if not most:
        return 0.0
    part = int.from_bytes(_digest(scope, name, repr(due), "jitter")[:8]) / 2**64
    return round(part * most, 3)
