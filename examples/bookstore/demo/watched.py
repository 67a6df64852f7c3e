"""The shop's app as the demo's worker runs it: the same, and its signals keep a diary.

Each line is one thing that happened in one of the worker's processes: what, the process, when, more.
"""

from __future__ import annotations

import os
import signal
import threading
import time

from bookstore.taskapp import app
from umbel import Retry, Task
from umbel.signals import (
    task_failure,
    task_postrun,
    task_prerun,
    task_retry,
    worker_process_init,
    worker_ready,
)

__all__ = ["app"]

DIARY = os.environ["BOOKSTORE_DIARY"]


def _note(what: str, more: str = "") -> None:
    """Add a line. Many processes append to the file; one short write is never mixed with another."""
    first_line = more.partition("\n")[0]
    with open(DIARY, "a", encoding="utf-8") as diary:
        diary.write(f"{what}\t{os.getpid()}\t{time.monotonic()}\t{first_line}\n")


@worker_process_init.connect
def _child_started(**_: object) -> None:
    _note("started")


@worker_ready.connect
def _worker_ready(**_: object) -> None:
    _note("ready")
    threading.Thread(target=_end_with_the_demo, daemon=True).start()


@task_prerun.connect
def _task_begins(**_: object) -> None:
    _note("begins")


@task_postrun.connect
def _task_ends(**_: object) -> None:
    _note("ends")


@task_retry.connect
def _task_retried(reason: Retry, **_: object) -> None:
    _note("retried", str(reason.exc))


@task_failure.connect
def _task_failed(sender: Task[..., object], exception: BaseException, **_: object) -> None:
    # Conversations that are not there are what the demo waits for: those of the race.
    awaited = type(exception).__qualname__ == "Conversation.DoesNotExist"
    _note("raced" if awaited else "failed", f"{sender.name}: {exception!r}")


def _end_with_the_demo() -> None:
    """Stop the worker when its standard input ends: the demo is gone, however it went."""
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGTERM)
