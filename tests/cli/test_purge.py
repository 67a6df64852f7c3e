from __future__ import annotations

import subprocess
import sys

import pytest

from tests.cli.conftest import Command
from umbel import Umbel


def test_purge_asks(umbel: Command, project: Umbel, monkeypatch: pytest.MonkeyPatch) -> None:
    project.tasks["add"].delay_many([(1,), (2,)])
    project.tasks["add"].apply_async((1,), queue="video", countdown=60)
    asked: list[str] = []

    def answer(prompt: str = "") -> str:
        asked.append(prompt)
        return "n"

    monkeypatch.setattr("click.termui.visible_prompt_func", answer)
    ended = umbel("purge")
    assert ended.code != 0
    assert "Deleted" not in ended.out
    assert "Delete 3 messages: 2 from celery, 1 from video? [y/N]" in "".join([*asked, ended.err])
    assert project.queues.depths()["celery"].ready == 2
    monkeypatch.setattr("click.termui.visible_prompt_func", lambda prompt="": "y")
    ended = umbel("purge")
    assert (ended.code, ended.out.splitlines()[-1]) == (
        0,
        "Deleted 3 messages: 2 from celery, 1 from video.",
    )
    assert project.queues.depths()["celery"].ready == 0


def test_purge_by_force_and_by_name(umbel: Command, project: Umbel) -> None:
    for queue in ("a", "b", "c"):
        project.tasks["add"].apply_async((1,), queue=queue)
    ended = umbel("purge", "-f", "-Q", "a, b")
    assert (ended.code, ended.out) == (0, "Deleted 2 messages: 1 from a, 1 from b.\n")
    assert {name: depth.ready for name, depth in project.queues.depths().items()} == {
        "a": 0,
        "b": 0,
        "c": 1,
    }


def test_purge_of_an_unknown_queue_deletes_nothing(umbel: Command, project: Umbel) -> None:
    project.tasks["add"].delay(1)
    ended = umbel("purge", "-f", "-Q", "celery,nope")
    assert (ended.code, ended.out) == (1, "")
    assert "There is no queue 'nope'." in ended.err
    assert project.queues.depths()["celery"].ready == 1


def test_a_script_that_is_asked_deletes_nothing(project: Umbel) -> None:
    project.tasks["add"].delay(1)
    ended = subprocess.run(
        [sys.executable, "-m", "umbel", "-A", "tasks", "purge"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stdout.strip()) == (1, "")
    assert "Nothing was done." in ended.stderr
    assert project.queues.depths()["celery"].ready == 1


def test_purge_of_all_but_some(umbel: Command, project: Umbel) -> None:
    for queue in ("a", "b", "c"):
        project.tasks["add"].apply_async((1,), queue=queue)
    assert umbel("purge", "-f", "-X", "a,b", "--json").data == {"c": 1}
    assert umbel("purge", "-f", "-Q", "a,b", "-X", "b", "--json").data == {"a": 1}
    ended = umbel("purge", "-f", "-X", "d")
    assert (ended.code, "There is no queue 'd'." in ended.err) == (1, True)


def test_nothing_to_purge(umbel: Command, project: Umbel) -> None:
    assert umbel("purge").out == "Nothing waits in any queue.\n"
    project.tasks["add"].delay(1)
    assert umbel("-q", "purge", "-f").out == ""
    assert umbel("purge", "--json").data == {"celery": 0}
