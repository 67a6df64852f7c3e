from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Command
from umbel import Umbel, __version__
from umbel.cli.base import COMMANDS


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_lists_the_commands(umbel: Command, option: str) -> None:
    ended = umbel(option, app=None)
    assert ended.code == 0
    assert "Usage: umbel [OPTIONS] COMMAND" in ended.out
    for name in COMMANDS:
        assert f"\n  {name} " in ended.out


@pytest.mark.parametrize(
    "words", [*((name,) for name in COMMANDS), ("dead", "list"), ("dead", "retry")], ids=" ".join
)
def test_every_command_has_help_which_needs_no_app(umbel: Command, words: tuple[str, ...]) -> None:
    ended = umbel(*words, "--help", app=None)
    assert ended.code == 0
    assert f"Usage: umbel {' '.join(words)}" in ended.out
    assert max(map(len, ended.out.splitlines())) <= 80


def test_the_version(umbel: Command) -> None:
    assert umbel("--version", app=None).out == f"{__version__}\n"


def test_without_an_app_it_asks_for_one(umbel: Command) -> None:
    ended = umbel("queues", app=None)
    assert ended.code == 2
    assert "Which app? Name its module with -A, for example: umbel -A tasks worker" in ended.err


def test_the_app_may_be_in_the_environment(umbel: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UMBEL_APP", "tasks")
    assert umbel("queues", app=None).code == 0


def test_an_unknown_app_says_what_was_tried(umbel: Command) -> None:
    ended = umbel("queues", app="taks")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.startswith("Error: No app was found for -A taks. Tried: module taks.")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("quues",), "No such command 'quues'"),
        (("queues", "--jsn"), "--jsn"),
        (("worker", "-c", "0"), "0 is not in the range"),
        (("worker", "-P", "gevent"), "'gevent' is not one of 'prefork', 'solo'"),
        (("--workdir", "nowhere", "queues"), "Directory 'nowhere' does not exist"),
    ],
)
def test_wrong_words_are_explained(umbel: Command, words: tuple[str, ...], text: str) -> None:
    ended = umbel(*words)
    assert ended.code == 2
    assert text in ended.err
    assert "Traceback" not in ended.err


def test_another_broker_may_be_given(umbel: Command, project: Umbel, tmp_path: Path) -> None:
    project.tasks["add"].delay(1)
    other = f"sqlite:///{tmp_path / 'other.db'}"
    assert umbel("--broker", other, "queues", "--json").data == {}
    assert umbel("queues", "--json").data.keys() == {"celery"}


def test_a_wrong_broker_is_explained(umbel: Command) -> None:
    ended = umbel("--broker", "redish://host", "queues")
    assert ended.code == 1
    assert ended.err.startswith("Error: No engine serves URLs that begin with 'redish'.")


@pytest.mark.parametrize("absolute", [True, False])
def test_it_may_be_started_elsewhere(
    umbel: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, absolute: bool
) -> None:
    monkeypatch.chdir(tmp_path.parent)
    given = tmp_path if absolute else Path(tmp_path.name)
    ended = umbel("--workdir", str(given), "queues")
    assert (ended.code, ended.err) == (0, "")
    assert Path.cwd() == tmp_path
