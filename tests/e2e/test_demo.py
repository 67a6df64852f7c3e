"""The demo keeps its promises, ends by itself, and cleans up after itself."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2] / "examples" / "bookstore"
DEADLINE = 150  # seconds; the demo itself gives up before

PROMISES = [
    "with SIGKILL",
    "took its place",
    "restarting the worker",
    "✓ every reader was charged",
    "✓ no one was charged twice",
    "✓ the database says the same",
    "✓ every welcome mail arrived once",
    "✓ delay() before the commit: a race",
    "✓ delay_on_commit(): no race",
    "✓ the weekly report is right",
    "✓ nothing is lost or left over",
    "✓ interrupted tasks ran again",
    "✓ SQLite served all writers",
    "nothing lost, nothing charged twice.",
]


@contextmanager
def demo(readers: int, temporary: Path) -> Iterator[subprocess.Popen[str]]:
    """Run the demo in a process group of its own, whose number is its pid."""
    process = subprocess.Popen(
        [sys.executable, "-m", "demo", "--readers", str(readers)],
        cwd=PROJECT,
        env={**os.environ, "TMPDIR": str(temporary), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if is_running(process.pid):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=DEADLINE)


def is_running(group: int) -> bool:
    """Tell whether a process group has any process left."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("readers", [40, pytest.param(1000, marks=pytest.mark.slow)])
def test_demo_loses_nothing_and_leaves_nothing(readers: int, tmp_path: Path) -> None:
    with demo(readers, tmp_path) as process:
        output, _ = process.communicate(timeout=DEADLINE)

        assert process.returncode == 0, output
        assert not is_running(process.pid), output
    assert [promise for promise in PROMISES if promise not in output] == [], output
    assert f"{readers:,} charged, {readers:,} opened a book" in output
    raced = re.search(r"a race +(\d+) of 12 got no answer", output)
    assert raced, output
    assert int(raced[1]) > 0
    assert re.search(r"no race +12 of 12 were answered", output), output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "send", "when"),
    [
        # As a terminal sends Ctrl+C: to every process of the group.
        pytest.param(signal.SIGINT, os.killpg, "readers come", id="Ctrl+C"),
        pytest.param(signal.SIGTERM, os.kill, "readers write", id="TERM", marks=pytest.mark.slow),
    ],
)
def test_interrupted_demo_leaves_nothing(
    tmp_path: Path, number: signal.Signals, send: Callable[[int, int], None], when: str
) -> None:
    with demo(5000, tmp_path) as process:
        assert process.stdout is not None
        begun = next(line for line in process.stdout if when in line)
        send(process.pid, number)
        output, _ = process.communicate(timeout=DEADLINE)

        assert process.returncode == 130, begun + output
        assert not is_running(process.pid), begun + output
    assert "Stopped." in output
    assert list(tmp_path.iterdir()) == []


def test_project_passes_its_own_tests(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "manage.py", "test", "--settings", "config.settings.test"],
        cwd=PROJECT,
        env={**os.environ, "BOOKSTORE_DATA": str(tmp_path), "UMBEL_DATA_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert re.search(r"Found \d\d test", ended.stdout), ended.stdout + ended.stderr
