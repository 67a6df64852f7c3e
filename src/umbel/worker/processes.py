"""Processes by pid and start time: a pid alone may by now belong to somebody else."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


def start_time(pid: int) -> float:
    """Return when a process started, in a unit of the system's own.

    0.0 when there is no such process.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return 0.0 if Path("/proc/self/stat").exists() else _start_time_by_ps(pid)
    except ProcessLookupError:
        return 0.0
    # A zombie has ended; nobody has asked for its exit code yet.
    return 0.0 if fields[0] in "ZX" else float(fields[19])


def _start_time_by_ps(pid: int) -> float:
    answer = subprocess.run(
        ["ps", "-o", "stat=,lstart=", "-p", str(pid)],  # noqa: S607 - ps has no fixed place
        capture_output=True,
        text=True,
        check=False,
    )
    text = answer.stdout.strip()
    return 0.0 if not text or text.startswith("Z") else float(sum(text.encode()[4:]))


def is_alive(pid: int, started: float) -> bool:
    """Tell whether the process that had this pid and start time still runs."""
    found = start_time(pid)
    return found != 0.0 and started in (0.0, found)


def ending(status: int | None) -> str:
    """Return a phrase for an exit status, negative for a signal: ``signal 9 (SIGKILL)``.

    None is an end of which the system did not tell.
    """
    if status is None:
        return "an unknown exit code"
    if status >= 0:
        return f"exit code {status}"
    try:
        return f"signal {-status} ({signal.Signals(-status).name})"
    except ValueError:  # most real-time signals have no name
        return f"signal {-status}"


def my_start_time() -> float:
    """Return the start time of this process."""
    return start_time(os.getpid())


@contextlib.contextmanager
def signalled_by(descriptor: int, number: signal.Signals | None = None) -> Iterator[None]:
    """Have the system send this process a signal when the other end of a pipe or socket closes.

    Or when data comes: it is meant for those from which none is expected. No thread waits for it, since
    a process with threads must not be forked, and code that hangs is no hindrance. Without `number`
    it is SIGIO, which ends a process; so it is where the system cannot send another.
    """
    if fcntl is None:
        yield
        return
    before = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    fcntl.fcntl(descriptor, fcntl.F_SETOWN, os.getpid())
    if number is not None and hasattr(fcntl, "F_SETSIG"):
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, number)
    fcntl.fcntl(descriptor, fcntl.F_SETFL, before | fcntl.FASYNC)
    try:
        yield
    finally:
        fcntl.fcntl(descriptor, fcntl.F_SETFL, before)
