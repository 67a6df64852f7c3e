from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from umbel.worker.processes import (
    ending,
    is_alive,
    my_start_time,
    signalled_by,
    start_time,
)


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    """A process that lives until its input ends."""
    process = subprocess.Popen(
        [sys.executable, "-S", "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE
    )
    yield process
    assert process.stdin is not None
    process.stdin.close()
    process.wait()


def test_this_process_lives() -> None:
    assert is_alive(os.getpid(), my_start_time())
    assert my_start_time() == start_time(os.getpid()) > 0


def test_another_start_time_is_another_process() -> None:
    assert not is_alive(os.getpid(), my_start_time() + 1)


def test_an_unknown_start_time_goes_by_the_pid_alone() -> None:
    assert is_alive(os.getpid(), 0.0)


def test_a_process_that_ended_is_dead_before_anyone_asked_for_its_exit_code(
    process: subprocess.Popen[bytes],
) -> None:
    started = start_time(process.pid)
    assert started > my_start_time() - 1
    assert is_alive(process.pid, started)
    process.kill()
    # Waits for the end, and leaves the zombie where it is.
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert start_time(process.pid) == 0.0
    assert not is_alive(process.pid, started)
    assert not is_alive(process.pid, 0.0)
    process.wait()
    assert not is_alive(process.pid, started)


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (0, "exit code 0"),
        (3, "exit code 3"),
        (-9, "signal 9 (SIGKILL)"),
        (-40, "signal 40"),
        (-1000, "signal 1000"),
        (None, "an unknown exit code"),
    ],
)
def test_every_ending_has_words(status: int | None, text: str) -> None:
    assert ending(status) == text


@pytest.mark.parametrize(
    ("number", "code"), [("None", -signal.SIGIO), ("signal.SIGQUIT", -signal.SIGQUIT)]
)
def test_a_process_that_hangs_ends_with_its_pipe(number: str, code: int) -> None:
    script = (
        "import signal, sys; from umbel.worker.processes import signalled_by\n"
        # A shell that starts the tests in the background has it ignored.
        "signal.signal(signal.SIGQUIT, signal.SIG_DFL)\n"
        f"with signalled_by(0, {number}):\n    print(flush=True); signal.pause()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        process.stdin.close()
        assert process.wait(20) == code


def test_afterwards_the_end_of_the_pipe_is_no_signal() -> None:
    ours, theirs = os.pipe()
    with signalled_by(ours):
        pass
    os.close(theirs)
    assert os.read(ours, 1) == b""
    os.close(ours)
