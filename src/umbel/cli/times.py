"""Times as people write and read them: ``2h`` ago, ``2026-01-31T12:00``, 3 min."""

from __future__ import annotations

import re
from datetime import datetime, tzinfo

import click

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_AGE = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")


def moment(text: str, now: float, zone: tzinfo, option: str) -> float:
    """Return a moment in seconds since the epoch: an age before now, or an ISO 8601 time.

    A time without an offset is in `zone`. Raises BadParameter for anything else.
    """
    age = _AGE.fullmatch(text.strip())
    if age:
        return now - float(age[1]) * _UNITS[age[2]]
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        raise click.BadParameter(
            f"{text!r} is neither an age, such as 90s, 30m, 2h or 1d, nor an ISO 8601 time.",
            param_hint=option,
        ) from None
    return (found if found.tzinfo else found.replace(tzinfo=zone)).timestamp()


def shown(timestamp: float, zone: tzinfo) -> str:
    """Return a moment to the second, in the app's time zone."""
    return datetime.fromtimestamp(timestamp, zone).isoformat(sep=" ", timespec="seconds")


def age(seconds: float) -> str:
    """Return a length of time in the unit that suits it."""
    if seconds < 100:
        return f"{max(seconds, 0.0):.1f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < 360000 else f"{seconds / 86400:.0f} d"
