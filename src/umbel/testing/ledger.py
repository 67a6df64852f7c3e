"""A ledger of what was sent and what ran: the witness of tests that kill processes.

Every producer and every task writes a line with a single ``write`` to a file that is open for
appending. Such a line is whole or not there, whoever writes beside it, and what was written
survives the death of the process. It needs no broker, so it can contradict one.

    ledger = Ledger(Path("ledger"))

    @app.task(bind=True)
    def work(self):
        with ledger.running(self.request):
            ...

`read` returns the whole as a `History`. Times are of the machine's monotonic clock.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from umbel.clock import SYSTEM, Clock
from umbel.exceptions import Retry
from umbel.request import Request


@dataclass(frozen=True, slots=True)
class Sent:
    """A call was sent. `outcome` is ok, error or unknown; `early` if it may run at most once."""

    id: str
    outcome: str
    t: float
    early: bool = False


@dataclass(frozen=True, slots=True)
class Start:
    """A task started in process `pid`. `run` names this start; the rest is what it was told."""

    id: str
    run: str
    pid: int
    t: float
    redelivered: bool = False
    crashes: int = 0
    retries: int = 0


@dataclass(frozen=True, slots=True)
class End:
    """A run came to its end; `retry` if it asked to be run again."""

    id: str
    run: str
    t: float
    retry: bool = False


@dataclass(frozen=True, slots=True)
class Fault:
    """Somebody did harm to the processes `pids`."""

    how: str
    pids: tuple[int, ...]
    t: float


@dataclass(slots=True)
class History:
    """All that a ledger holds, each kind in the order of its writing."""

    sent: dict[str, Sent] = field(default_factory=dict)
    starts: list[Start] = field(default_factory=list)
    ends: list[End] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)


class Ledger:
    """The writing side. Processes that are forked later may go on using it."""

    def __init__(self, path: Path, clock: Clock = SYSTEM) -> None:
        self._clock = clock
        self._runs = count(1)
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def sent(self, id: str, outcome: str, early: bool = False) -> None:
        """Note that a call was sent; write ``unknown`` before, and what became of it after."""
        self._write("sent", id=id, outcome=outcome, early=early)

    def start(self, request: Request) -> str:
        """Note that a task starts here; return the name of this run."""
        pid = os.getpid()
        run = f"{pid}.{next(self._runs)}"
        info = request.delivery_info or {}
        self._write(
            "start",
            id=request.id,
            run=run,
            pid=pid,
            redelivered=bool(info.get("redelivered")),
            crashes=request.crashes,
            retries=request.retries,
        )
        return run

    def end(self, id: str | None, run: str, retry: bool = False) -> None:
        """Note that a run came to its end."""
        self._write("end", id=id, run=run, retry=retry)

    @contextlib.contextmanager
    def running(self, request: Request) -> Iterator[str]:
        """Note the start and, unless the process dies or the task fails, the end of a run."""
        run = self.start(request)
        try:
            yield run
        except Retry:
            self.end(request.id, run, retry=True)
            raise
        self.end(request.id, run)

    def fault(self, how: str, pids: Collection[int], t: float | None = None) -> None:
        """Note that harm is about to be done to processes."""
        self._write("fault", how=how, pids=list(pids), **({} if t is None else {"t": t}))

    def _write(self, what: str, **facts: Any) -> None:
        line = json.dumps({"what": what, "t": self._clock.monotonic(), **facts}) + "\n"
        os.write(self._file, line.encode())

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def read(path: Path) -> History:
    """Read a ledger back, also while others write: a line that has no end yet is not there yet."""
    history = History()
    text = path.read_text()
    for line in text[: text.rfind("\n") + 1].splitlines():
        facts = json.loads(line)
        match facts.pop("what"):
            case "sent":
                history.sent[facts["id"]] = Sent(**facts)
            case "start":
                history.starts.append(Start(**facts))
            case "end":
                history.ends.append(End(**facts))
            case "fault":
                history.faults.append(Fault(facts["how"], tuple(facts["pids"]), facts["t"]))
    return history
