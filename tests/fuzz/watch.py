"""What decoding may not do, and what it may cost: watched by an audit hook and the system's figures."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import thread_time
from typing import Any

#: Beginnings of audit events that nothing that came from outside may cause.
FORBIDDEN = (
    *("compile", "ctypes.", "exec", "ftplib.", "http.", "import", "marshal.", "open", "os."),
    *("pickle.", "pty.", "shutil.", "socket.", "sqlite3.", "subprocess.", "urllib.", "webbrowser."),
)
MEGABYTE = 2**20


class Watch:
    """Notes forbidden events while it is on. There is one for a process, since no hook can be taken away."""

    def __init__(self) -> None:
        self.on = False
        self.seen: list[str] = []
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.on and event.startswith(FORBIDDEN):
            self.on = False  # showing the arguments may raise events too
            self.seen.append(f"{event} {arguments!r}"[:300])
            self.on = True

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Note what happens within."""
        self.on = True
        try:
            yield
        finally:
            self.on = False


def seconds(function: Callable[[], Any]) -> float:
    """Return how long a function takes this thread."""
    before = thread_time()
    function()
    return thread_time() - before


def most_memory() -> float:
    """Return the megabytes that this process has held at most since `forget_most_memory`."""
    return _status("VmHWM") / 1024


def forget_most_memory() -> None:
    """Begin anew: from now on, `most_memory` is what is held now or later. Linux only."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _status(name: str) -> int:
    text = Path("/proc/self/status").read_text(encoding="ascii")
    return int(text.split(f"{name}:")[1].split()[0])
