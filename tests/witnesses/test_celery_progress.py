"""celery-progress: a task tells how far it is, and whoever has its id sees it."""

from __future__ import annotations

import pytest

from tests.witnesses.support import Project

TASKS = """
import threading

from celery_progress.backend import ProgressRecorder

app = Celery("tasks", broker=url, backend=url)


@app.task(bind=True)
def steps(self):
    ProgressRecorder(self).set_progress(3, 10, "the third")
    while not (here / "gate").exists():
        threading.Event().wait(0.005)
    return "done"


@app.task
def bad():
    raise KeyError("x")
"""
CALLS = """
import threading

from celery.result import AsyncResult
from celery_progress.backend import Progress

running, failed = steps.delay(), bad.delay()
while running.state != "PROGRESS":
    threading.Event().wait(0.005)
found = [Progress(AsyncResult(running.id)).get_info()]
(here / "gate").touch()
running.get(timeout=30)
failed.get(timeout=30, propagate=False)
found += [Progress(AsyncResult(result.id)).get_info() for result in (running, failed)]
print(json.dumps(found))
"""


def test_progress_is_shown(tmp_path_factory: pytest.TempPathFactory) -> None:
    project = Project(tmp_path_factory.mktemp("progress"), TASKS)
    with project.worker():
        running, done, failed = project.client(CALLS)
    assert (running["state"], running["complete"]) == ("PROGRESS", False)
    assert running["progress"] == {
        "pending": False,
        "current": 3,
        "total": 10,
        "percent": 30.0,
        "description": "the third",
    }
    assert (done["complete"], done["success"], done["result"]) == (True, True, "done")
    assert (failed["complete"], failed["success"], failed["result"]) == (True, False, "'x'")
