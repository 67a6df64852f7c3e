from __future__ import annotations

import pytest

from tests.cli.conftest import Command
from umbel import Umbel, states
from umbel.exceptions import TaskRevokedError
from umbel.records import TaskResult, encode


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
        (TaskResult("j", states.SUCCESS, 1), 3, "PENDING: None\n"),
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
