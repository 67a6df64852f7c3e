"""The project that the fault tests run: copied to a directory of its own for each experiment.

Beside it lie settings.json, read by workers and clients alike, and the ledger.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import signal
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

from umbel import Umbel
from umbel.canvas import pieces
from umbel.clock import SYSTEM, unique_id
from umbel.engines.sqlite.broker import FEATURES, SqliteBroker
from umbel.exceptions import OperationalError
from umbel.task import Task
from umbel.testing.ledger import Ledger

HERE = Path(__file__).parent

if os.environ.get("FAULTS_BROKER") == "two-steps":
    # To be treated like a broker that cannot publish and acknowledge in one step.
    SqliteBroker.features = replace(FEATURES, atomic_settle=False)

# Some apps take long to import.
SYSTEM.sleep(float(os.environ.get("FAULTS_IMPORT", "0")))

# Some leave a thread, which may hold a lock whenever a process is forked.
_busy = threading.Lock()


def _hold() -> None:
    with _busy:
        threading.Event().wait()


if os.environ.get("FAULTS_THREAD"):
    threading.Thread(target=_hold, name="busy", daemon=True).start()

app = Umbel("faults", set_as_current=False, **json.loads((HERE / "settings.json").read_text()))
ledger = Ledger(HERE / "ledger")

if os.environ.get("FAULTS_PIECES"):
    # Small workflows have pieces, too.
    pieces.PIECE, pieces.BODY = map(int, os.environ["FAULTS_PIECES"].split())


@app.task(bind=True, name="work")
def work(self: Task[Any, Any], seconds: float) -> int:
    """Run for a while."""
    with ledger.running(self.request):
        SYSTEM.sleep(seconds)
    return os.getpid()


@app.task(bind=True, name="wait")
async def wait(self: Task[Any, Any], seconds: float) -> int:
    """Run for a while, and let others run meanwhile."""
    with ledger.running(self.request):
        await asyncio.sleep(seconds)
    return os.getpid()


@app.task(bind=True, name="once", acks_late=False, track_started=True)
def once(self: Task[Any, Any], seconds: float) -> int:
    """Run for a while, at most once."""
    with ledger.running(self.request):
        SYSTEM.sleep(seconds)
    return os.getpid()


@app.task(bind=True, name="twice", max_retries=3)
def twice(self: Task[Any, Any], seconds: float) -> int:
    """Run, and ask to be run once more."""
    with ledger.running(self.request):
        SYSTEM.sleep(seconds)
        if not self.request.retries:
            raise self.retry(countdown=0)
    return os.getpid()


@app.task(bind=True, name="poison")
def poison(self: Task[Any, Any]) -> None:
    """Kill the process that runs it, every time."""
    ledger.start(self.request)
    ledger.fault("killed itself", [os.getpid()])
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(name="note")
def note(value: Any, name: Any) -> Any:
    """Tell what it was called with, after a moment in which its process may die."""
    SYSTEM.sleep(0.01)
    return [name, value]


@app.task(bind=True, name="stuck")
def stuck(self: Task[Any, Any], seconds: float) -> int:
    """Sleep in C code that keeps the interpreter's lock: no other thread of the process runs."""
    with ledger.running(self.request):
        ctypes.PyDLL(None).usleep(int(seconds * 1_000_000))
    return os.getpid()


@app.task(bind=True, name="burn")
def burn(self: Task[Any, Any], seconds: float) -> int:
    """Keep a processor busy in Python for a while."""
    with ledger.running(self.request):
        end = SYSTEM.monotonic() + seconds
        while SYSTEM.monotonic() < end:
            sum(range(1000))
    return os.getpid()


@app.task(bind=True, name="grow")
def grow(self: Task[Any, Any], megabytes: int) -> None:
    """Take more memory than there is."""
    ledger.start(self.request)
    ledger.fault("took too much memory", [os.getpid()])
    taken = [bytearray(b"x") * 2**20 for _ in range(megabytes)]
    raise AssertionError(f"{len(taken)} MB were there after all")


# Tasks that the ledger does not hear of, for experiments with very many.


@app.task(name="starve")
def starve() -> None:
    """Be told that there is no memory."""
    raise MemoryError("none left")


@app.task(name="noop")
def noop() -> None:
    """Do nothing."""


@app.task(name="fails")
def fails() -> None:
    """Fail."""
    raise ValueError("no")


@app.task(bind=True, name="again", max_retries=1)
def again(self: Task[Any, Any]) -> None:
    """Ask to be run once more."""
    if not self.request.retries:
        raise self.retry(countdown=0)


def send(count: int, name: str, retry: bool) -> None:
    """Send calls one by one, each noted before and after; the client that comes to harm is this."""
    for _ in range(count):
        id = unique_id()
        ledger.sent(id, "unknown")
        try:
            app.tasks[name].apply_async((0.005,), task_id=id, retry=retry)
        except OperationalError as error:
            print(error)
        else:
            ledger.sent(id, "ok")


@app.task(name="part")
def part(number: int, fails: bool = False) -> int:
    """Be one of a chord's header."""
    if fails:
        raise ValueError(number)
    return number


def _note(what: str, task: Task[Any, Any], chord: str) -> None:
    """Note a run of what ends a chord, and whether it is that of a message that was delivered before."""
    again = bool((task.request.delivery_info or {}).get("redelivered"))
    line = f"{chord} {what} {'again' if again else 'first'}\n"
    with (HERE / "chords").open("a") as file:
        file.write(line)


@app.task(bind=True, name="whole")
def whole(self: Task[Any, Any], numbers: list[int], chord: str) -> int:
    """Be a chord's body."""
    _note("body", self, chord)
    return sum(numbers)


@app.task(bind=True, name="broken")
def broken(self: Task[Any, Any], body: str, chord: str) -> None:
    """Hear that a chord has failed."""
    _note("errback", self, chord)


if __name__ == "__main__":
    send(int(sys.argv[1]), sys.argv[2], "--no-retry" not in sys.argv)
