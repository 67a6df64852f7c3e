"""The demo keeps its promises, ends by itself, and cleans up after itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DEADLINE = 60


@contextmanager
def demo(books: int, temporary: Path) -> Iterator[subprocess.Popen[str]]:
    """Run the demo in a process group of its own, whose number is its pid."""
    process = subprocess.Popen(
        [sys.executable, "-m", "examples.bookstore.demo", "--books", str(books)],
        cwd=ROOT,
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


def test_demo_loses_nothing_and_leaves_nothing(tmp_path: Path) -> None:
    with demo(150, tmp_path) as process:
        output, _ = process.communicate(timeout=DEADLINE)

        assert process.returncode == 0, output
        assert not is_running(process.pid), output
    for promise in (
        "with SIGKILL",
        "took its place",
        "✓ every book was paid for",
        "✓ no one was charged twice",
        "✓ every welcome mail arrived once",
        "✓ the sales report is right",
        "✓ nothing is lost or left over",
        "✓ interrupted tasks ran again",
        "nothing lost, nothing charged twice.",
    ):
        assert promise in output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "send"),
    [
        # As a terminal sends Ctrl+C: to every process of the group.
        pytest.param(signal.SIGINT, os.killpg, id="Ctrl+C"),
        pytest.param(signal.SIGTERM, os.kill, id="TERM"),
    ],
)
def test_interrupted_demo_leaves_nothing(
    tmp_path: Path, number: signal.Signals, send: Callable[[int, int], None]
) -> None:
    with demo(5000, tmp_path) as process:
        assert process.stdout is not None
        begun = next(line for line in process.stdout if "readers sign up" in line)
        send(process.pid, number)
        output, _ = process.communicate(timeout=DEADLINE)

        assert process.returncode == 130, begun + output
        assert not is_running(process.pid), begun + output
    assert "Stopped." in output
    assert list(tmp_path.iterdir()) == []
