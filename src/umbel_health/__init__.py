"""``umbel-health``: ask the file that a worker keeps whether it is well. For probes that run a command.

It is no part of the package umbel, whose import takes longer than all that is done here: a probe that costs
processor time every few seconds slows down what it watches.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence

#: Seconds after which the file is too old: the worker writes it every two.
OLD = 15.0
USAGE = "Usage: umbel-health live|ready FILE    (FILE as `umbel worker --health-file` has it)"


def answer(question: str, text: str, now: float) -> tuple[bool, str]:
    """Return whether a worker is ``live`` or ``ready``, and what it says; `now` is the monotonic time."""
    try:
        said = json.loads(text)
        age = now - float(said["at"])
        good, why = bool(said[question]), str(said["why"])
    except (ValueError, TypeError, KeyError):
        return False, "This is no file of a worker's health."
    if not 0.0 <= age <= OLD:
        return False, f"The worker last wrote its file {age:.0f} s ago."
    return good, why


def main(words: Sequence[str] | None = None) -> int:
    """Print what the worker says; return 0 if it is well, 1 if it is not, 2 for wrong words."""
    given = sys.argv[1:] if words is None else words
    if len(given) != 2 or given[0] not in ("live", "ready"):
        print(USAGE, file=sys.stderr)
        return 2
    try:
        with open(given[1], encoding="utf-8") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        print(f"No worker runs, or it keeps no such file. {error}")
        return 1
    good, why = answer(given[0], text, time.monotonic())
    print(why)
    return 0 if good else 1
