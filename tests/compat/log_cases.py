"""The tasks whose log lines are compared with Celery's, and how such lines are made comparable."""

from __future__ import annotations

import re

#: Behind a head that makes `app`, says in how many seconds to `stop_in`, and imports what is used.
TASKS = """
import logging
import os
import signal
import sys

logger = get_task_logger(__name__)


@app.task(name="proj.add")
def add(x, y):
    return x + y


@app.task(name="proj.speak")
def speak():
    logger.debug("not shown")
    logger.info("a line of %s", "the task")
    logging.getLogger("shop").warning("another logger")
    print("printed")
    print("to standard error", file=sys.stderr)
    return {"a": "größe"}


@app.task(name="proj.fail")
def fail():
    raise ValueError("boom")


@app.task(name="proj.expected", throws=(KeyError,))
def expected():
    raise KeyError("missing")


@app.task(name="proj.again", bind=True, max_retries=1, default_retry_delay=0)
def again(self):
    if self.request.retries == 0:
        try:
            raise OSError("first")
        except OSError as error:
            raise self.retry(exc=error)


@app.task(name="proj.ignore")
def ignore():
    raise Ignore()


@app.task(name="proj.refuse")
def refuse():
    raise Reject("bad", requeue=False)


@app.task(name="proj.stop")
def stop():
    os.kill(os.getpid(), signal.SIGTERM)


def send():
    add.apply_async((2, 3), task_id="1")
    add.apply_async((2, 3), task_id="2", shadow="proj.other")
    speak.apply_async(task_id="3")
    fail.apply_async(task_id="4")
    expected.apply_async(task_id="5")
    ignore.apply_async(task_id="6")
    refuse.apply_async(task_id="7")
    again.apply_async(task_id="8")
    add.apply_async((1, 1), task_id="9", expires=-100)
    stop.apply_async(task_id="10", countdown=stop_in)
"""

_HEAD = re.compile(r"^\[[^\]]*: (\w+)/MainProcess\] (.*)$")
#: What is not about a task.
_OTHER = re.compile(
    r"mingle|Connected|hostname|pidbox|ready\.|Child \d|proj\.stop|deprecat", re.IGNORECASE
)


def lines(text: str) -> list[str]:
    """Return level and text of the lines that are about tasks."""
    found = []
    for line in text.splitlines():
        match = _HEAD.match(line)
        if match and not _OTHER.search(match[2]):
            said = re.sub(r"succeeded in [\d.e-]+s", "succeeded in TIMEs", match[2])
            found.append(f"{match[1]} {said}")
    return found
