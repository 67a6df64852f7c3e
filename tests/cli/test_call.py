from __future__ import annotations

import pytest

from tests.cli.conftest import Command
from tests.conftest import calls, messages, only_call
from umbel import Umbel, states
from umbel.exceptions import RemoteError
from umbel.records import TaskResult, encode


def test_a_call_is_sent_and_its_id_printed(umbel: Command, project: Umbel) -> None:
    ended = umbel("call", "add", "-a", "[2]", "-k", '{"y": 3}', "--priority", "7")
    call = only_call(project)
    assert (ended.code, ended.out, ended.err) == (0, f"{call.id}\n", "")
    assert (call.task, call.args, call.kwargs) == ("add", [2], {"y": 3})


def test_options_of_a_call(umbel: Command, project: Umbel) -> None:
    for words in (
        ("--queue", "video", "--expires", "60"),
        ("--queue", "video", "--expires", "2099-01-01T00:00:00+00:00"),
        ("--queue", "video", "--countdown", "3600"),
        ("--queue", "video", "--eta", "2099-01-01T00:00:00+00:00"),
    ):
        assert umbel("call", "add", "-a", "[1]", *words).code == 0
    depth = project.queues.depths()["video"]
    assert (depth.ready, depth.scheduled) == (2, 2)
    first, second = calls(project, "video")
    assert first.expires is not None
    assert second.expires == "2099-01-01T00:00:00+00:00"


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("ad",), 1, "Error: There is no task 'ad' in this app."),
        (("ad",), 1, "If workers elsewhere have it, give --by-name."),
        (("add", "-a", "[1"), 2, "'[1' is not JSON"),
        (("add", "-a", '{"x": 1}'), 2, "is no JSON list"),
        (("add", "-k", "[1]"), 2, "is no JSON dict"),
        (("add",), 2, "Error: add: add() missing 1 required positional argument: 'x'"),
        (("add", "-k", '{"z": 1}'), 2, "add() got an unexpected keyword argument 'z'"),
        (("add", "-a", "[1]", "--eta", "soon"), 2, "eta is 'soon', which is not an ISO 8601 time"),
        (("add", "-a", "[1]", "--expires", "soon"), 2, "expires is 'soon'"),
        (("add", "-a", "[1]", "--priority", "300"), 2, "300 is not in the range"),
    ],
)
def test_errors_that_help(
    umbel: Command, project: Umbel, words: tuple[str, ...], code: int, text: str
) -> None:
    ended = umbel("call", *words)
    assert (ended.code, ended.out) == (code, "")
    assert text in ended.err
    assert "Traceback" not in ended.err
    assert calls(project) == []


def test_a_task_that_only_workers_have(umbel: Command, project: Umbel) -> None:
    ended = umbel("call", "elsewhere.add", "-a", "[1]", "--by-name")
    (call,) = calls(project)
    assert (ended.code, ended.out, call.task) == (0, f"{call.id}\n", "elsewhere.add")
    assert (
        umbel("call", "add", "--by-name").code == 2
    )  # of a task that is here, arguments are checked


def test_celerys_options_of_routing_and_writing(umbel: Command, project: Umbel) -> None:
    words = ("call", "add", "-a", "[1]", "--serializer", "json", "--exchange", "celery")
    assert umbel(*words, "--routing-key", "celery").code == 0
    (message,) = messages(project, "celery")
    assert message.headers["task"] == "add"


def test_as_json(umbel: Command, project: Umbel, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = umbel("call", "add", "-a", "[2]", "--json")
    assert ended.data == {"id": only_call(project).id}
    ended = umbel("call", "add", "-a", "[2]", "--json", "--wait", "0")
    assert (ended.code, ended.data["state"]) == (3, "PENDING")
    monkeypatch.setattr("umbel.blanks.unique_id", lambda: "i")
    project.result_store().put([encode(TaskResult("i", states.FAILURE, ValueError("boom")))])
    ended = umbel("call", "add", "-a", "[2]", "--json", "--wait", "5")
    assert (ended.code, ended.data["result"]) == (1, "ValueError('boom')")


def test_waiting_in_vain(umbel: Command) -> None:
    ended = umbel("call", "add", "-a", "[1]", "--wait", "0.01")
    assert ended.code == 3
    assert "did not arrive within 0.01 s. Is a worker running" in ended.err


@pytest.mark.parametrize(
    ("result", "code", "out", "err"),
    [
        (TaskResult("i", states.SUCCESS, "five"), 0, "'five'\n", ""),
        (TaskResult("i", states.FAILURE, ValueError("boom")), 1, "", "ValueError('boom')"),
        (TaskResult("i", states.FAILURE, SystemExit(5)), 1, "", "SystemExit(5)"),
        (TaskResult("i", states.FAILURE, RemoteError("x.Gone", "y")), 1, "", "x.Gone"),
    ],
)
def test_waiting_for_the_outcome(
    umbel: Command,
    project: Umbel,
    monkeypatch: pytest.MonkeyPatch,
    result: TaskResult,
    code: int,
    out: str,
    err: str,
) -> None:
    # The call gets an id that is known here, and under which an outcome is stored already.
    monkeypatch.setattr("umbel.blanks.unique_id", lambda: "i")
    project.result_store().put([encode(result)])
    ended = umbel("call", "add", "-a", "[1]", "--wait", "5")
    assert ended.code == code
    assert ended.out == f"i\n{out}"
    assert err in ended.err
    assert "Traceback" not in ended.err


def test_an_exchange_that_nothing_is_bound_to(umbel: Command) -> None:
    ended = umbel("call", "add", "-a", "[1]", "--exchange", "media", "--routing-key", "k")
    assert ended.code == 1
    assert "to the exchange 'media' with the routing key 'k' reaches no queue" in ended.err
