"""celery-once: a call that waits or runs already is refused, and may be made again when it has ended."""

from __future__ import annotations

import pytest

from tests.witnesses.support import Project

TASKS = """
import threading

from celery_once import AlreadyQueued, QueueOnce

app = Celery("tasks", broker=url, backend=url)
app.conf.ONCE = {"backend": "celery_once.backends.File", "settings": {"location": str(here / "once")}}


@app.task(base=QueueOnce)
def once(x):
    while not (here / "gate").exists():
        threading.Event().wait(0.005)
    return x
"""
CALLS = """
first, other = once.delay(1), once.apply_async((2,), once={"graceful": True})
try:
    once.delay(1)
    refused = False
except AlreadyQueued as error:
    refused = error.countdown > 0
silent = once.apply_async((1,), once={"graceful": True}).state
(here / "gate").touch()
found = [first.get(timeout=30), other.get(timeout=30)]
for _ in range(2000):
    try:
        found.append(once.delay(1).get(timeout=30))
        break
    except AlreadyQueued:  # the lock goes when the task has returned
        threading.Event().wait(0.005)
print(json.dumps([refused, silent, found]))
"""


def test_the_second_call_is_refused(tmp_path_factory: pytest.TempPathFactory) -> None:
    project = Project(tmp_path_factory.mktemp("once"), TASKS)
    with project.worker():
        refused, silent, found = project.client(CALLS)
    assert refused
    assert silent == "REJECTED"
    assert found == [1, 2, 1]
