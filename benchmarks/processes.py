"""What processes take of the machine (Linux)."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path


def trees(pids: Iterable[int]) -> list[int]:
    """Return processes and all their descendants."""
    found: list[int] = []
    for pid in pids:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        found += [pid, *trees(map(int, children))]
    return found


def cpu_seconds(pids: Iterable[int]) -> float:
    """Return the processor time that processes have used."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def proportional_mb(pids: Iterable[int]) -> float:
    """Return the memory of processes, shared pages divided among those who share them (PSS)."""
    return _smaps(pids, ("Pss:",))


def private_mb(pids: Iterable[int]) -> float:
    """Return the memory that each of the processes has for itself."""
    return _smaps(pids, ("Private_Clean:", "Private_Dirty:"))


def _smaps(pids: Iterable[int], names: tuple[str, ...]) -> float:
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith(names):
                total += int(line.split()[1])
    return total / 1024
