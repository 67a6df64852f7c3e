"""A deploy of newer code, while old workers still take messages from the same queue."""

from __future__ import annotations

import signal
from pathlib import Path

from tests.e2e.support import TASKS, Start, Worker
from umbel import Umbel
from umbel.testing.conformance.support import PATIENCE, until

NEWER = """

@app.task
def newer(number):
    with (here / "ran").open("a") as ran:
        ran.write(f"{number}\\n")
    return number
"""


def test_newer_tasks_wait_for_newer_workers(start: Start, app: Umbel, project: Path) -> None:
    old = start("-n", "old@x", "-c", "2")
    results = [app.send_task("tasks.newer", (number,)) for number in range(20)]
    until(lambda: app.queues.depths()["celery"].scheduled == len(results))
    assert "This worker does not know the task 'tasks.newer'." in old.text

    (project / "tasks.py").write_text(TASKS + NEWER)
    new: Worker = start("-n", "new@x", "-c", "2", logs_to="log of the new one")
    old.send(signal.SIGTERM)
    assert old.wait() == 0, old.text
    assert [result.get(timeout=PATIENCE) for result in results] == list(range(20))
    assert app.queues.dead_letters(10) == []
    new.send(signal.SIGTERM)
    assert new.wait() == 0, new.text
    ran = (project / "ran").read_text().split()
    assert sorted(map(int, ran)) == list(range(20))
    assert [result.state for result in results] == ["SUCCESS"] * 20


def test_a_task_that_no_worker_knows_is_a_dead_letter_in_the_end(
    start: Start, app: Umbel, project: Path
) -> None:
    (project / "tasks.py").write_text(f"{TASKS}\napp.conf.worker_unknown_task_offers = 1\n")
    worker = start("-P", "solo")
    result = app.send_task("tasks.mistyped")
    (letter,) = until(lambda: app.queues.dead_letters(10))
    assert letter.reason.startswith("NotRegistered: There is no task 'tasks.mistyped' in this app.")
    assert letter.message.headers["offers"] == 1
    assert result.state == "FAILURE"
    # It may be settled before that is said.
    until(lambda: worker.says("is now a dead letter"))
    worker.send(signal.SIGTERM)
    assert worker.wait() == 0, worker.text
    assert worker.text.count("offered again") == 2  # the warning, and the line of this message
    assert worker.text.count("is now a dead letter") == 1
