"""Clocks of the system that are set while beats and workers run, and clocks that differ (libfaketime).

Processes that see the system's clock through libfaketime share a file that says by how much it is wrong.
Their monotonic clock is the true one, as if somebody had set the time of the machine.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.faults.beats import Beats
from tests.faults.conftest import Form
from tests.faults.fleet import SOURCE, wait_until
from tests.faults.scenes import on
from tests.redis_servers import private_server
from umbel.clock import SYSTEM

LIBRARY = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)

pytestmark = [
    pytest.mark.faults,
    pytest.mark.forms("short", "full"),
    pytest.mark.skipif(LIBRARY is None, reason="libfaketime is not installed."),
]
ENGINES = pytest.mark.parametrize("engine", [on("sqlite"), on("redis")])

#: libfaketime refuses to sleep until a moment that has just passed, which the system takes for the end of it.
CUSTOM = """
import time

true_sleep = time.sleep


def sleep(seconds):
    try:
        true_sleep(seconds)
    except OSError:
        pass


time.sleep = sleep
"""

#: By how many seconds the clock is set, each time beginning with the true time; the last one goes too fast.
SET = ("+1", "-1", "+3600", "-3600", "+86400", "-86400", "+0 x1.0005")
#: Seconds between two runs of an entry, and those that a machine may be late that has other things to do.
EVERY, BUSY = 2.0, 1.5


class Clock:
    """A clock that can be set."""

    def __init__(self, directory: Path, wrong: str = "+0") -> None:
        directory.mkdir(exist_ok=True)
        (directory / "sitecustomize.py").write_text(CUSTOM)
        self._file = directory / f"clock {wrong}"
        self.set(wrong)

    def set(self, wrong: str) -> None:
        fresh = self._file.with_suffix(".new")
        fresh.write_text(f"{wrong}\n")
        fresh.replace(self._file)

    @property
    def environment(self) -> dict[str, str]:
        """What a process is given that is to have it."""
        return {
            "PYTHONPATH": f"{SOURCE}{os.pathsep}{self._file.parent}",
            "LD_PRELOAD": str(LIBRARY),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_CACHE_DURATION": "1",
        }


@contextmanager
def url_of(engine: str, place: Path) -> Iterator[str]:
    if engine == "sqlite":
        yield f"sqlite:///{place}/beats.db"
    else:
        with private_server(place) as server:
            yield server.url


def check_once(beats: Beats) -> None:
    """No run came twice, neither for its time nor as a message."""
    assert beats.double() == {}
    assert len({run.id for run in beats.runs}) == len(beats.runs)


def latest(beats: Beats) -> float:
    """Return the longest time, in true seconds, between two runs of an entry."""
    found = []
    for entry in {run.entry for run in beats.runs}:
        came = sorted(run.came for run in beats.runs if run.entry == entry)
        found += [after - before for before, after in pairwise(came)]
    return max(found)


@ENGINES
def test_the_clock_is_set(place: Path, engine: str, form: Form) -> None:
    """C2: intervals go on, at most one period late; nothing is sent or run twice."""
    clock = Clock(place)
    options: dict[str, Any] = {"entries": 3, "every": EVERY, "catch_up": "once", "nap": 0.1}
    with (
        url_of(engine, place) as url,
        Beats(place, url, worker=True, environment=clock.environment, **options) as beats,
    ):
        beats.start_worker()
        beats.start("", "")
        beats.wait_for(9)
        for wrong in form.pick(SET, SET * 2):
            clock.set(wrong)
            beats.wait_for(12)
            clock.set("+0")
            beats.wait_for(12)
        beats.stop()
        check_once(beats)
        assert latest(beats) <= 2 * EVERY + BUSY


@ENGINES
def test_clocks_differ(place: Path, engine: str, form: Form) -> None:
    """C3: workers whose clocks differ by four hours leave each other's tasks alone, and beats take turns."""
    ahead, late = Clock(place, "+7200"), Clock(place, "-7200")
    options: dict[str, Any] = {"entries": 2, "every": 3.0, "catch_up": "once", "nap": 5.0}
    options |= {"worker": True, "environment": ahead.environment, "worker_lease_ttl": 2.0}
    with url_of(engine, place) as url, Beats(place, url, **options) as beats:
        for clock in (late, ahead, late):
            beats.start_worker(**clock.environment)
        first = beats.start("", **ahead.environment)[0]
        beats.start("", **late.environment)
        beats.wait_for(6, 60.0)
        first.terminate()
        before = SYSTEM.monotonic()
        wait_until(
            lambda: any(run.came > before + 2.0 and run.pid != first.pid for run in beats.runs),
            30.0,
            "the other beat to send",
        )
        beats.wait_for(6, 60.0)
        beats.stop()
        check_once(beats)
        assert "runs again" not in beats.text()
