"""What comes from outside makes a process do nothing and hold little, and ends in one of two errors.

Each runs in a process of its own, since an audit hook stays. ``python -m tests.fuzz.decoding 1000000``
is the long form; docs/trust.md has its figures.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.fuzz.huge import CASES, ENGINES, MOST_MEMORY, MOST_SECONDS

pytest.importorskip("redis")  # its envelopes are damaged too
ROOT = Path(__file__).parents[2]
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="asks Linux what memory is held")


def ran(*arguments: str) -> Any:
    """Run a module of this directory; return its report."""
    command = [sys.executable, "-W", "ignore", "-m", *arguments]
    found = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False
    )
    assert found.stdout, found.stderr
    return json.loads(found.stdout)


@on_linux
def test_nothing_damaged_does_any_harm() -> None:
    report = ran("tests.fuzz.decoding", "20000")
    assert report["findings"] == []
    # Some of it must come through, and much must not, or the damage is not worth the name.
    assert report["read"] > 2000
    assert report["refused"] > 2000


@pytest.fixture(scope="module")
def huge() -> Any:
    """What reading each of the huge messages came to."""
    pytest.importorskip("yaml")
    pytest.importorskip("msgpack")
    return ran("tests.fuzz.huge")


@on_linux
@pytest.mark.parametrize("case", [*CASES, *ENGINES])
def test_what_is_huge_is_refused_at_once(case: str, huge: Any) -> None:
    assert huge[case]["end"].startswith("DecodeError: ")
    assert huge[case]["seconds"] < MOST_SECONDS
    assert huge[case]["memory_mb"] < MOST_MEMORY


PLANTED = """
import os
from tests.fuzz.watch import Watch

watch = Watch()
with watch.watching():
    open(os.devnull).close()
    exec("1")
    import colorsys
print(*watch.seen, sep="\\n")
"""


def test_the_watch_notices_what_it_is_for() -> None:
    command = [sys.executable, "-c", PLANTED]
    found = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False
    )
    for event in ("open (", "compile (", "exec (", "import ('colorsys'"):
        assert event in found.stdout, found.stderr


@on_linux
def test_nothing_that_comes_from_outside_is_run() -> None:
    pytest.importorskip("yaml")
    pytest.importorskip("msgpack")
    report = ran("tests.fuzz.gadgets")
    proof = report.pop("unpickled")  # that the command would run, and that the hook hears it
    assert proof["fired"]
    assert any("os.system" in event for event in proof["seen"])
    assert len(report) > 25
    assert {case: one for case, one in report.items() if one["seen"] or one["fired"]} == {}
    errors = {
        case for case, one in report.items() if not one["end"].startswith(("read", "refused"))
    }
    assert errors == {"pickle between processes"}  # where only umbel's own processes write
