"""What a process wrote to its files, as strace saw it, and what a power cut may have left of that."""

from __future__ import annotations

import random
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

_BYTES = r'"((?:\\x[0-9a-f]{2})*)"'
_CALLS = {
    "open": re.compile(rf"openat\(\w+, {_BYTES}, .*\)\s*= (\d+)"),
    "delete": re.compile(rf"unlink\({_BYTES}\)"),
    "close": re.compile(r"close\((\d+)\)"),
    "write": re.compile(rf"pwrite64\((\d+), {_BYTES}, \d+, (\d+)\)"),
    "cut": re.compile(r"ftruncate\((\d+), (\d+)\)"),
    "sync": re.compile(r"f(?:data)?sync\((\d+)\)"),
    "said": re.compile(rf"write\(2, {_BYTES}"),
}
#: A disk writes so many bytes whole.
SECTOR = 512


@dataclass(frozen=True)
class Step:
    """One thing that was done: to a `file`, or `said` by the process."""

    kind: str
    file: str = ""
    data: bytes = b""
    at: int = 0


def record(command: Sequence[str], directory: Path) -> list[Step]:
    """Run a command and return what it did to the files of a directory, and what it said between."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    trace = directory / "trace"
    calls = "trace=openat,close,unlink,pwrite64,ftruncate,fsync,fdatasync,write"
    traced = ["strace", "-xx", "-s", "1000000", "-e", calls, "-o", str(trace), *command]
    done = subprocess.run(traced, capture_output=True, check=False)
    if b"ptrace" in done.stderr.lower():
        pytest.skip("strace may not trace here")
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    return list(_steps(trace.read_text().splitlines(), str(directory)))


def _steps(lines: Iterable[str], directory: str) -> Iterator[Step]:
    names: dict[str, str] = {}
    for line in lines:
        for kind, call in _CALLS.items():
            if (found := call.match(line)) is not None:
                step = _step(kind, found, names, directory)
                if step is not None:
                    yield step
                break


def _step(kind: str, found: re.Match[str], names: dict[str, str], directory: str) -> Step | None:
    """Read one call; `names` are those of the files that are open, by number."""
    first = found[1]
    if kind == "said":
        return Step(kind, data=_text(first))
    if kind == "open":
        name = _text(first).decode()
        if name.startswith(directory) and not name.endswith(("-shm", directory)):
            names[found[2]] = name
    elif kind == "delete":
        return Step(kind, _text(first).decode())
    elif kind == "close":
        names.pop(first, None)
    elif first in names:
        data = _text(found[2]) if kind == "write" else b""
        at = int(found[3 if kind == "write" else 2]) if kind != "sync" else 0
        return Step(kind, names[first], data, at)
    return None


def _text(written: str) -> bytes:
    return bytes.fromhex(written.replace("\\x", ""))


def left(steps: Sequence[Step], how: str, dice: random.Random) -> dict[str, bytes]:
    """Return what is in the files after a power cut that came when these steps were done.

    What was synced is there. Of the rest all may be (`how` is "all"), nothing ("synced"), or any of it, in
    part and out of order ("some").
    """
    last = {step.file: number for number, step in enumerate(steps) if step.kind == "sync"}
    files: dict[str, bytearray] = {}
    for number, step in enumerate(steps):
        if step.kind == "delete":  # who deletes a journal syncs the directory
            files.pop(step.file, None)
        if step.kind not in ("write", "cut"):
            continue
        safe = number < last.get(step.file, -1)
        if not safe and (how == "synced" or (how == "some" and dice.random() < 0.5)):
            continue
        content = files.setdefault(step.file, bytearray())
        if step.kind == "cut":
            del content[step.at :]
            content.extend(bytes(step.at - len(content)))
            continue
        torn = not safe and how == "some" and dice.random() < 0.3
        data = (
            step.data[: dice.randrange(len(step.data) // SECTOR + 1) * SECTOR]
            if torn
            else step.data
        )
        content.extend(bytes(max(step.at + len(data) - len(content), 0)))
        content[step.at : step.at + len(data)] = data
    return {name: bytes(content) for name, content in files.items()}


def said(steps: Sequence[Step]) -> set[str]:
    """Return the words that the process had said by then."""
    return set(b"".join(step.data for step in steps if step.kind == "said").decode().split())
