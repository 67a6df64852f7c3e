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
        (TaskResult("i", states.STARTED, {"pid": 1}), 2, "STARTED: {'pid': 1}\n"),
        (TaskResult("j", states.SUCCESS, 1), 2, "PENDING: None\n"),
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
    assert "Traceback: here" in umbel("result", "i", "-t").out


def test_without_results_it_says_so(umbel: Command) -> None:
    ended = umbel("--result-backend", "disabled://", "result", "i")
    assert ended.code == 1
    assert ended.err.startswith("Error: Results are not kept")
