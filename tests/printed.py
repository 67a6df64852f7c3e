"""What commands print, made the same for all runs and machines: documentation shows it so."""

from __future__ import annotations

import re
from collections.abc import Iterable

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")

#: What differs between runs and machines, and what stands for it.
CHANGING = [
    (UUID, "01a20321-5d2c-7b6e-8d1f-2f6b6a3c9e10"),
    (re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d+"), "2026-11-22 12:00:00,000"),
    (re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\+\d\d:\d\d"), "2026-11-22 12:00:00+00:00"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+\+00:00"), "2026-11-22T12:00:00.000000+00:00"),
    (re.compile(r"(?<=  )\d+\.\d s"), "0.4 s"),
    (re.compile(r"pid \d+"), "pid 4711"),
    (re.compile(r"celery@[\w.-]+"), "celery@host"),
    (re.compile(r"(Python:?) 3\.\d+\.\d+"), r"\1 3.13.1"),
]


def same_everywhere(text: str, more: Iterable[tuple[re.Pattern[str], str]] = ()) -> str:
    """Return a text with what changes replaced, by `more` too, and no blanks at the ends of lines."""
    for pattern, instead in (*CHANGING, *more):
        text = pattern.sub(instead, text)
    return "".join(f"{line.rstrip()}\n" for line in text.rstrip().splitlines())
