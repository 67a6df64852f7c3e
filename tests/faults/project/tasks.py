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


@app.task(bind=True, name="stuck")
def stuck(self: Task[Any, Any], seconds: float) -> int:
    """Sleep in C code that keeps the interpreter's lock: no other thread of the process runs."""
    with ledger.running(self.request):
        ctypes.PyDLL(None).usleep(int(seconds * 1_000_000))
    return os.getpid()


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


if __name__ == "__main__":
    send(int(sys.argv[1]), sys.argv[2], "--no-retry" not in sys.argv)
