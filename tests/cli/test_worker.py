from __future__ import annotations

import platform
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pytest

from tests.cli.conftest import Command
from umbel.worker.bootstrap import Source
from umbel.worker.supervisor import Wanted

HOST = platform.node()


@pytest.fixture
def started(umbel: Command) -> Any:
    """Start a worker that does not run; return with what it would."""

    def start(*words: str, code: int = 0) -> tuple[Source, Wanted]:
        with patch("umbel.cli.worker.run_worker", return_value=code) as run:
            ended = umbel("worker", *words)
        assert (ended.code, ended.err) == (code, "")
        source, wanted = run.call_args.args
        return source, wanted

    return start


def test_what_the_command_line_leaves_out_is_the_settings_to_say(started: Any) -> None:
    source, wanted = started()
    assert wanted == Wanted(f"celery@{HOST}", "WARNING")
    assert (source.app, source.settings) == ("tasks", {})


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (("-Q", "a, b,,c"), {"queues": ("a", "b", "c")}),
        (("-X", "a, b"), {"exclude_queues": ("a", "b")}),
        (("-c", "3"), {"concurrency": 3}),
        (("-P", "solo"), {"executor": "solo"}),
        (("-l", "info"), {"loglevel": "INFO"}),
        (("-n", "mails@%h"), {"hostname": f"mails@{HOST}"}),
        (("-n", "mails"), {"hostname": f"mails@{HOST}"}),
        (("-n", "w@x%%y"), {"hostname": "w@x%y"}),
        (("-n", "w@%n"), {"hostname": f"w@{HOST.partition('.')[0]}"}),
    ],
)
def test_options(started: Any, words: tuple[str, ...], wanted: dict[str, Any]) -> None:
    assert started(*words)[1] == replace(Wanted(f"celery@{HOST}", "WARNING"), **wanted)


def test_settings(started: Any) -> None:
    source, _ = started("-c", "3", "--prefetch-multiplier", "1", "-I", "a, b")
    assert source.settings == {
        "worker_concurrency": 3,
        "worker_prefetch_multiplier": 1,
        "include": ["a", "b"],
    }


def test_the_exit_code_is_the_workers(started: Any) -> None:
    started(code=1)


def test_a_name_with_a_space_is_refused(umbel: Command) -> None:
    ended = umbel("worker", "-n", "my worker@%h")
    assert ended.code == 1
    assert "contains white space" in ended.err
