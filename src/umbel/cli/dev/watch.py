"""Which Python files changed since the last look."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

#: Directories in which nobody writes the project's code.
_SKIPPED = frozenset({"__pycache__", "node_modules", "site-packages", "dist-packages"})

State = tuple[int, int]


class Watch:
    """The Python files below a directory, and others by name, as they were at the last look."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._others: frozenset[str] = frozenset()
        self._seen = self._look()

    def __len__(self) -> int:
        return len(self._seen)

    def add(self, files: Iterable[str]) -> None:
        """Watch more files, as they are now; those below the directory are watched already."""
        self._others |= {file for file in files if file not in self._seen}
        for file in self._others - self._seen.keys():
            state = _state(file)
            if state is not None:
                self._seen[file] = state

    def changed(self) -> list[str]:
        """Return the files that were changed, made or deleted since the last call."""
        before, self._seen = self._seen, self._look()
        return sorted(
            file for file in before.keys() | self._seen.keys()
            if before.get(file) != self._seen.get(file)
        )  # fmt: skip

    def _look(self) -> dict[str, State]:
        found = dict(_python_files(str(self._directory)))
        for file in self._others:
            state = _state(file)
            if state is not None:
                found[file] = state
        return found


def _python_files(directory: str) -> Iterator[tuple[str, State]]:
    try:
        entries = list(os.scandir(directory))
    except OSError:  # deleted meanwhile, or not ours to read
        return
    if any(entry.name == "pyvenv.cfg" for entry in entries):
        return
    for entry in entries:
        if entry.name.startswith(".") or entry.name in _SKIPPED:
            continue
        if entry.name.endswith(".py"):
            state = _state(entry.path)
            if state is not None:
                yield entry.path, state
        elif entry.is_dir(follow_symlinks=False):
            yield from _python_files(entry.path)


def _state(file: str) -> State | None:
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size
