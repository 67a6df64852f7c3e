"""Time and ids: the only place that asks the system for either.

Whoever needs the time is given a `Clock`, so that a test of "tomorrow" is one call.
"""

from __future__ import annotations

import os
import threading
import time
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Protocol


class Clock(Protocol):
    """Where time comes from."""

    def time(self) -> float:
        """Return the wall clock in seconds since 1970-01-01 UTC."""

    def monotonic(self) -> float:
        """Return seconds on a clock that never goes back."""

    def sleep(self, seconds: float) -> None:
        """Let `seconds` pass."""


class SystemClock:
    """The machine's own clocks."""

    #: Seconds on a clock that never goes back: the function itself, since each task asks four times.
    monotonic = staticmethod(time.monotonic)

    def time(self) -> float:
        """Return the wall clock in seconds since 1970-01-01 UTC."""
        return time.time()

    def sleep(self, seconds: float) -> None:
        """Let `seconds` pass."""
        time.sleep(seconds)


SYSTEM = SystemClock()


def utc(timestamp: float) -> datetime:
    """Return a timestamp as an aware datetime in UTC."""
    return datetime.fromtimestamp(timestamp, UTC)


class SystemZone(tzinfo):
    """The time zone of the system, whatever it is when it is asked, with its summer times."""

    def utcoffset(self, dt: datetime | None) -> timedelta | None:
        """Return how far the system's time is ahead of UTC then; without a time, now.

        Of a time that the clocks leave out that is the offset before them, and with `fold` that after them.
        """
        if dt is None:
            return timedelta(seconds=time.localtime(time.time()).tm_gmtoff)
        wall = dt.replace(tzinfo=None, microsecond=0)
        return wall.replace(tzinfo=UTC) - utc(wall.timestamp())

    def dst(self, dt: datetime | None) -> None:
        """Return None: how much of that is summer time is not known."""

    def tzname(self, dt: datetime | None) -> str:
        """Return what the system calls its zone then."""
        moment = time.time() if dt is None else dt.replace(tzinfo=None).timestamp()
        return time.localtime(moment).tm_zone

    def fromutc(self, dt: datetime) -> datetime:
        """Return a time of UTC as the system's."""
        moment = dt.replace(tzinfo=UTC)
        there = moment.astimezone().replace(tzinfo=self)
        # An hour that the clocks show twice: the second one.
        return there if there.timestamp() == moment.timestamp() else there.replace(fold=1)

    def __str__(self) -> str:
        return self.tzname(None)


SYSTEM_ZONE = SystemZone()

_sequence_lock = threading.Lock()
_last_sequence = 0
#: The ends of ids to come, 62 random bits each: to ask the system for many takes little longer than for one.
_ends: list[str] = []
_MANY = 128
#: What a random hexadecimal digit becomes that says of which variant the UUID is.
_VARIANT = dict(zip("0123456789abcdef", "89ab" * 4, strict=True))
#: The last millisecond of which there were ids, and how they begin.
_last_millisecond = 0
_beginning = ""


def _forget_random() -> None:
    """Let a child of a fork have others than its parent."""
    _ends.clear()
    _sequence_lock.release()


if hasattr(os, "register_at_fork"):
    # A child forked while another thread holds the lock would wait for that thread for ever.
    os.register_at_fork(
        before=_sequence_lock.acquire,
        after_in_parent=_sequence_lock.release,
        after_in_child=_forget_random,
    )


def unique_id() -> str:
    """Return a new id: a UUID of version 7 (RFC 9562, 36 characters).

    Its first 60 bits are the time in units of about 0.24 µs, strictly increasing within a process,
    its last 62 bits are random. Stores that keep ids in order therefore append at one end instead
    of touching a random page for each, which keeps them fast with millions of rows.
    """
    global _last_sequence  # noqa: PLW0603 - strictly increasing within the process, like a clock
    global _last_millisecond, _beginning  # noqa: PLW0603 - made once for all ids of a millisecond
    sequence = time.time_ns() * 512 // 125_000  # 4096 in each millisecond
    with _sequence_lock:
        if sequence <= _last_sequence:
            sequence = _last_sequence + 1
        _last_sequence = sequence
        milliseconds = sequence >> 12
        if milliseconds != _last_millisecond:
            # In this order: an exception that a signal brings may come between the two.
            _beginning = f"{milliseconds >> 16:08x}-{milliseconds & 0xFFFF:04x}-7"
            _last_millisecond = milliseconds
        if not _ends:
            _ends.extend(_random_ends())
        return f"{_beginning}{sequence & 0xFFF:03x}{_ends.pop()}"


def _random_ends() -> list[str]:
    """Return what is random of some ids, as text: their last two groups."""
    digits = os.urandom(8 * _MANY).hex()
    return [
        f"-{_VARIANT[digits[at]]}{digits[at + 1 : at + 4]}-{digits[at + 4 : at + 16]}"
        for at in range(0, 16 * _MANY, 16)
    ]
