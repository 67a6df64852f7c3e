from __future__ import annotations

import json

import pytest

from tests.cli.conftest import Command, Terminal, bury
from umbel import Umbel, states
from umbel.exceptions import TaskRevokedError
from umbel.ports import FetchRequest, Owner
from umbel.progress import Progress
from umbel.records import TaskResult, encode
from umbel.testing.conformance.support import until


@pytest.mark.parametrize(
    ("result", "code", "out"),
    [
        (TaskResult("i", states.SUCCESS, [1, "a"]), 0, "SUCCESS: [1, 'a']\n"),
        (TaskResult("i", states.FAILURE, ValueError("boom")), 1, "FAILURE: ValueError('boom')\n"),
        (
            TaskResult("i", states.REVOKED, TaskRevokedError("expired")),
            1,
            "REVOKED: TaskRevokedError(",
        ),
        (TaskResult("i", states.STARTED, {"pid": 1}), 3, "STARTED: {'pid': 1}\n"),
        (TaskResult("j", states.SUCCESS, 1), 3, "PENDING: nothing is known of this id. "),
    ],
)
@pytest.mark.parametrize("wait", [(), ("--wait", "0.01")])
def test_states_and_codes(
    umbel: Command,
    project: Umbel,
    result: TaskResult,
    code: int,
    out: str,
    wait: tuple[str, ...],
) -> None:
    project.result_store().put([encode(result)])
    ended = umbel("result", "i", *wait)
    assert (ended.code, ended.err) == (code, "")
    assert ended.out.startswith(out)


def test_a_call_without_a_result_is_looked_for(umbel: Command, project: Umbel) -> None:
    waiting = project.send_task("add", (1,))
    due = project.send_task("add", (1,), countdown=60, queue="slow")
    bury(project, "d", queue="bad")
    held = project.send_task("add", (1,), queue="fast")
    consumer = project.broker.consumer(Owner("o", "n", "h", 1), 60.0)
    consumer.fetch(FetchRequest(("fast",), 1), 0.0)
    said = {
        waiting.id: "it waits in the queue celery.",
        due.id: "it waits in the queue slow until it is due.",
        held.id: "a worker that serves the queue fast has it.",
        "d": "its message is a dead letter: see `umbel dead list`.",
    }
    for id, text in said.items():
        ended = umbel("result", id)
        assert (ended.code, ended.out) == (3, f"PENDING: {text}\n")


@pytest.mark.parametrize("options", [(), ("--follow",), ("--wait", "5")])
def test_a_saved_group_is_told_from_a_call(
    umbel: Command, project: Umbel, options: tuple[str, ...]
) -> None:
    project.GroupResult("g", [project.AsyncResult("a")]).save()
    ended = umbel("result", "g", *options)
    assert (ended.code, "`umbel graph g` shows what became of its calls" in ended.err) == (2, True)


def test_a_broker_that_cannot_be_asked_is_told(umbel: Command, project: Umbel) -> None:
    results = project.conf.result_backend
    ended = umbel("-b", "redis://localhost:1", "--result-backend", results, "result", "i")
    assert ended.code == 3
    assert ended.out.startswith("PENDING: no result is stored of this id, and the broker could not")


def test_the_traceback_is_shown_when_it_is_wanted(umbel: Command, project: Umbel) -> None:
    failed = TaskResult("i", states.FAILURE, ValueError("boom"), "Traceback: here\n")
    project.result_store().put([encode(failed)])
    assert "Traceback: here" not in umbel("result", "i").out
    assert "Traceback: here" in umbel("result", "i", "--traceback").out


def test_without_results_it_says_so(umbel: Command) -> None:
    ended = umbel("--result-backend", "disabled://", "result", "i")
    assert ended.code == 2
    assert ended.err.startswith("Error: Results are not kept")


def test_as_json(umbel: Command, project: Umbel) -> None:
    project.result_store().put([encode(TaskResult("i", states.SUCCESS, [1, "a"]))])
    found = umbel("result", "i", "--json").data
    assert found.items() >= {"id": "i", "state": "SUCCESS", "result": [1, "a"]}.items()
    ended = umbel("result", "j", "--json")
    assert (ended.code, ended.data["state"], ended.data["result"]) == (3, "PENDING", None)


def test_the_task_may_be_named_as_in_celery(umbel: Command, project: Umbel) -> None:
    project.result_store().put([encode(TaskResult("i", states.SUCCESS, 1))])
    assert umbel("result", "i", "-t", "add").out == "SUCCESS: 1\n"
    ended = umbel("result", "i", "--task", "ad")
    assert ended.code == 1
    assert "There is no task 'ad'" in ended.err


def test_what_a_task_tells_is_followed(umbel: Command, project: Umbel) -> None:
    told = Progress(1, 4, "reading").as_meta()
    project.result_store().put([encode(TaskResult("i", states.PROGRESS, told))])
    line = "PROGRESS: 25 % (1 of 4): reading\n"
    assert umbel("result", "i").out == line
    ended = umbel("result", "i", "--follow", "--wait", "0.01")
    assert (ended.code, ended.out) == (3, 2 * line)
    lines = umbel("result", "i", "--follow", "--wait", "0.01", "--json").out.splitlines()
    assert json.loads(lines[0]) == {"state": "PROGRESS", "progress": told}
    assert json.loads(lines[1])["state"] == "PROGRESS"


def test_a_bar_is_drawn_on_a_terminal_until_the_task_has_ended(project: Umbel) -> None:
    store = project.result_store()
    store.put([encode(TaskResult("i", states.STARTED, {"pid": 1}))])
    terminal = Terminal("-A", "tasks", "result", "i", "--follow")
    until(lambda: "STARTED" in terminal.text, 20.0)
    told = Progress(3, 4, "reading [a]")
    store.put([encode(TaskResult("i", states.PROGRESS, told.as_meta()))])
    until(lambda: "PROGRESS" in terminal.text and "3/4" in terminal.text)
    assert "reading [a]" in terminal.text
    store.put([encode(TaskResult("i", states.SUCCESS, "done"))])
    assert terminal.end() == 0
    assert terminal.text.endswith("SUCCESS: 'done'\n")
