from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from datetime import UTC, datetime

import pytest

from tests.cli.conftest import Command, Terminal, bury
from umbel import Umbel, states
from umbel.exceptions import TaskRevokedError
from umbel.ports import FetchRequest, Owner
from umbel.progress import Progress
from umbel.records import TaskResult, encode
from umbel.result import GroupResult
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


def test_what_became_of_the_calls_of_a_saved_group_is_summed_up(
    umbel: Command, project: Umbel
) -> None:
    group = save_group(project, "abcd")
    assert umbel("result", "g").out == "PENDING: 0 % (0 of 4)\nPENDING 4\n"
    store_results(project, TaskResult("b", states.SUCCESS, 2), TaskResult("a", "WORKING", None))
    store_results(project, failed("c", "no"))
    ended = umbel("result", "g", "--wait", "0.01")
    assert (ended.code, ended.err) == (3, "")
    assert ended.out == (
        "PROGRESS: 50 % (2 of 4): 1 failed\nSUCCESS 1, FAILURE 1, WORKING 1, PENDING 1\n"
    )
    revoked = TaskResult("d", states.REVOKED, TaskRevokedError("revoked"))
    store_results(project, TaskResult("a", states.SUCCESS, 1), revoked)
    ended = umbel("result", "g")
    assert ended.code == 1
    assert ended.out == (
        "FAILURE: ValueError('no')\nSUCCESS 2, FAILURE 1, REVOKED 1; this is the error of c\n"
    )
    assert umbel("result", "g", "--traceback").out == f"{ended.out}Traceback of c\n"
    store_results(project, TaskResult("e", states.SUCCESS, [5]))
    project.GroupResult("h", [project.AsyncResult("b"), group[0], project.AsyncResult("e")]).save()
    ended = umbel("result", "h", "--traceback", "--wait", "5")
    assert (ended.code, ended.out) == (0, "SUCCESS: [2, 1, [5]]\n")


def test_a_group_of_which_a_call_was_revoked_is_so(umbel: Command, project: Umbel) -> None:
    save_group(project, "ab")
    revoked = TaskResult("b", states.REVOKED, TaskRevokedError("revoked"))
    store_results(project, TaskResult("a", states.SUCCESS, 1), revoked)
    ended = umbel("result", "g")
    assert (ended.code, ended.out.startswith("REVOKED: TaskRevokedError(")) == (1, True)


def test_a_group_as_json(umbel: Command, project: Umbel) -> None:
    save_group(project, "ab")
    store_results(project, failed("b", "no"))
    ended = umbel("result", "g", "--json")
    assert (ended.code, ended.data["state"], ended.data["result"]) == (3, "PROGRESS", None)
    assert ended.data["progress"] == Progress(1, 2, "1 failed").as_meta()
    assert (ended.data["states"], ended.data["failed"]) == ({"FAILURE": 1, "PENDING": 1}, ["b"])
    done = datetime(2026, 11, 22, 12, tzinfo=UTC)
    store_results(project, TaskResult("a", states.SUCCESS, 1, date_done=done))
    found = umbel("result", "g", "--json").data
    told = {"state": "FAILURE", "result": "ValueError('no')", "traceback": "Traceback of b"}
    assert found.items() >= {"id": "g", **told}.items()
    assert found["date_done"] == "2026-11-22T12:00:00+00:00"
    store_results(project, TaskResult("c", states.SUCCESS, {"n": 1}))
    project.GroupResult("h", [project.AsyncResult("a"), project.AsyncResult("c")]).save()
    found = umbel("result", "h", "--json", "--follow").data
    assert (found["state"], found["result"], found["failed"]) == ("SUCCESS", [1, {"n": 1}], [])


def test_an_empty_group_has_ended(umbel: Command, project: Umbel) -> None:
    project.GroupResult("g", []).save()
    for options in ((), ("--follow",)):
        ended = umbel("result", "g", *options)
        assert (ended.code, ended.out) == (0, "SUCCESS: []\n")


def test_a_group_is_followed_by_a_line_for_each_percent(project: Umbel) -> None:
    group = save_group(project, [f"{number}" for number in range(300)])
    store_results(project, failed("7", "no"))
    command = [sys.executable, "-m", "umbel", "-A", "tasks", "result", "g", "--follow"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as follower:
        assert follower.stdout is not None
        assert follower.stdout.readline() == "PROGRESS: 0 % (1 of 300): 1 failed\n"
        others = [leaf.id for leaf in group if leaf.id != "7"]
        store_results(project, *(TaskResult(id, states.SUCCESS, 1) for id in others))
        *lines, error, counts = follower.stdout.read().splitlines()
    assert follower.returncode == 1
    assert all(line.startswith("PROGRESS: ") for line in lines)
    assert 1 <= len(lines) <= 99
    assert (error, counts[:11]) == ("FAILURE: ValueError('no')", "SUCCESS 299")


def test_a_bar_is_drawn_of_a_group_until_all_have_ended(project: Umbel) -> None:
    save_group(project, "abc")
    terminal = Terminal("-A", "tasks", "result", "g", "--follow")
    until(lambda: "PENDING" in terminal.text and "0/3" in terminal.text, 20.0)
    store_results(project, failed("b", "no"))
    until(lambda: "PROGRESS" in terminal.text and "1/3" in terminal.text)
    assert "1 failed" in terminal.text
    store_results(project, TaskResult("a", states.SUCCESS, 1), TaskResult("c", states.SUCCESS, 3))
    assert terminal.end() == 1
    assert terminal.text.endswith("SUCCESS 2, FAILURE 1; this is the error of b\n")


def save_group(project: Umbel, ids: Iterable[str]) -> GroupResult:
    return project.GroupResult("g", [project.AsyncResult(id) for id in ids]).save()


def store_results(project: Umbel, *results: TaskResult) -> None:
    project.result_store().put([encode(result) for result in results])


def failed(id: str, words: str) -> TaskResult:
    return TaskResult(id, states.FAILURE, ValueError(words), f"Traceback of {id}")


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


@pytest.mark.parametrize("command", ["result", "graph", "revoke"])
@pytest.mark.parametrize("given", ["", " "])
def test_an_empty_id_is_told(umbel: Command, project: Umbel, command: str, given: str) -> None:
    done = umbel(command, given)
    assert (done.code, "it is empty: give the id of a call." in done.err) == (2, True)
