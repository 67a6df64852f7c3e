"""What processes take of a machine: memory, open files, threads."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from umbel.clock import SYSTEM, unique_id

GROUPS = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")


def resident(pids: Iterable[int]) -> int:
    """Return how much memory processes have, in bytes."""
    pages = [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids]
    return sum(pages) * os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Taken:
    """What some processes have at a moment."""

    memory: int
    files: int
    threads: int

    @classmethod
    def by(cls, pids: list[int]) -> Taken:
        """Look at them."""
        files = sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in pids)
        threads = sum(len(list(Path(f"/proc/{pid}/task").iterdir())) for pid in pids)
        return cls(resident(pids), files, threads)


@contextmanager
def limited(pids: Iterable[int], megabytes: int) -> Iterator[None]:
    """Let processes, and those that they start, have no more memory together than this."""
    for base, name in zip(GROUPS, ("memory.limit_in_bytes", "memory.max"), strict=True):
        place = base / f"umbel-faults-{unique_id()}"
        try:
            place.mkdir()
            (place / name).write_text(str(megabytes * 2**20))
        except OSError:
            _remove(place)
            continue
        break
    else:
        pytest.skip("this user may make no control group with a limit of memory here")
    for number in pids:
        (place / "cgroup.procs").write_text(str(number))
    try:
        yield
    finally:
        for pid in (place / "cgroup.procs").read_text().split():
            _move(pid, base)
        _remove(place)


def _move(pid: str, base: Path) -> None:
    with contextlib.suppress(OSError):  # it has ended
        (base / "cgroup.procs").write_text(pid)


def _remove(place: Path) -> None:
    for _ in range(100):
        try:
            place.rmdir()
        except FileNotFoundError:
            return
        except OSError:  # processes in it are just ending
            SYSTEM.sleep(0.02)
        else:
            return
