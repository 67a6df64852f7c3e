from __future__ import annotations

import os
import re
from typing import Any

import pytest

from tests.cli.conftest import Command
from umbel import Umbel
from umbel.clock import unique_id
from umbel.message import Message, Publication
from umbel.ports import Action, FetchRequest, Owner, Settlement


def bury(app: Umbel, *task_ids: str, queue: str = "celery", reason: str = "No reason.") -> None:
    """Make dead letters, the first one first."""
    consumer = app.broker.consumer(Owner(unique_id(), "n", "h", os.getpid()), 60.0)
    for task_id in task_ids:
        message = Message({"id": task_id, "task": "gone", "lang": "py"}, {}, b"[[], {}, {}]")
        app.broker.publish([Publication(queue, message, unique_id())], 5.0)
        (delivery,) = consumer.fetch(FetchRequest((queue,), 1), 0.0)
        consumer.settle([Settlement(delivery, Action.DEAD_LETTER, reason=reason)])
    consumer.close()


# queues


def test_no_queue_yet(umbel: Command) -> None:
    ended = umbel("queues")
    assert (ended.code, ended.out) == (0, "No queue has been used yet.\n")
    assert umbel("queues", "--json").data == {}


def test_what_waits_where(umbel: Command, project: Umbel) -> None:
    task = project.tasks["add"]
    task.delay_many([(1,), (2,)])
    task.apply_async((3,), countdown=3600)
    task.apply_async((4,), queue="video")
    bury(project, "i", queue="audio")
    found = umbel("queues", "--json").data
    assert found["celery"].items() >= {"ready": 2, "scheduled": 1, "leased": 0, "dead": 0}.items()
    assert found["audio"].items() >= {"ready": 0, "scheduled": 0, "dead": 1}.items()
    assert found["video"]["oldest"] > 0
    lines = umbel("queues").out.splitlines()
    assert lines[0].split()[:3] == ["queue", "ready", "oldest"]
    rows = {line.split()[0]: line.split()[1:] for line in lines[1:]}
    assert rows.keys() == {"audio", "celery", "video"}
    assert rows["celery"][0] == "2"
    assert rows["audio"][-1] == "1"


def test_a_table_fits_80_columns(umbel: Command, project: Umbel, monkeypatch: Any) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    name = "a-queue-whose-name-is-" + "very-" * 20 + "long"
    project.tasks["add"].apply_async((1,), queue=name)
    bury(project, "i", reason="Because " + "of this " * 30)
    for words in (("queues",), ("dead", "list")):
        ended = umbel(*words)
        assert ended.code == 0
        assert max(map(len, ended.out.splitlines())) <= 80
    text = "".join(line[:45].rstrip() for line in umbel("queues").out.splitlines())
    assert name.replace("-", "") in re.sub(r"[^a-z]", "", text)  # folded, and whole


# purge


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
    assert "Delete 3 messages from celery, video? [y/N]" in "".join([*asked, ended.out])
    assert project.queues.depths()["celery"].ready == 2
    monkeypatch.setattr("click.termui.visible_prompt_func", lambda prompt="": "y")
    ended = umbel("purge")
    assert (ended.code, ended.out.splitlines()[-1]) == (0, "Deleted 3 messages.")
    assert project.queues.depths()["celery"].ready == 0


def test_purge_by_force_and_by_name(umbel: Command, project: Umbel) -> None:
    for queue in ("a", "b", "c"):
        project.tasks["add"].apply_async((1,), queue=queue)
    ended = umbel("purge", "-f", "-Q", "a, b")
    assert (ended.code, ended.out) == (0, "Deleted 2 messages.\n")
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


# dead


def keys(project: Umbel) -> list[str]:
    return [letter.key for letter in project.queues.dead_letters(100)]


def test_no_dead_letters(umbel: Command) -> None:
    assert umbel("dead", "list").out == "There are no dead letters.\n"
    assert umbel("dead", "list", "--json").data == []


def test_dead_letters_are_listed_the_latest_first(umbel: Command, project: Umbel) -> None:
    bury(project, "a", "b", "c")
    found = umbel("dead", "list", "--json").data
    assert [letter["headers"]["id"] for letter in found] == ["c", "b", "a"]
    assert found[0].items() >= {"queue": "celery", "reason": "No reason.", "crashes": 0}.items()
    assert [letter["key"] for letter in umbel("dead", "list", "-n", "2", "--json").data] == [
        letter["key"] for letter in found[:2]
    ]
    lines = umbel("dead", "list").out.splitlines()
    assert lines[0].split() == ["key", "died", "queue", "task", "reason"]
    assert [line.split()[0] for line in lines[1:]] == keys(project)
    assert lines[1].endswith("celery  gone  No reason.")


def test_one_dead_letter_is_shown_whole(umbel: Command, project: Umbel) -> None:
    bury(project, "a", "b")
    found = umbel("dead", "show", keys(project)[1]).data
    assert (found["headers"]["id"], found["body"]) == ("a", "[[], {}, {}]")


def test_a_dead_letter_that_is_not_there(umbel: Command) -> None:
    ended = umbel("dead", "show", "nope")
    assert ended.code == 1
    assert "There is no dead letter 'nope'." in ended.err


@pytest.mark.parametrize(
    ("verb", "done", "ready"),
    [("retry", "Put {} messages back on their queues.", 1), ("drop", "Dropped {} messages.", 0)],
)
def test_retry_and_drop(umbel: Command, project: Umbel, verb: str, done: str, ready: int) -> None:
    bury(project, "a", "b", "c")
    one = keys(project)[0]
    ended = umbel("dead", verb, one)
    assert (ended.code, ended.out.strip()) == (0, done.format(1))
    assert one not in keys(project)
    assert project.queues.depths()["celery"].ready == ready
    assert umbel("dead", verb, "--all").out.strip() == done.format(2)
    assert keys(project) == []
    assert project.queues.depths()["celery"].ready == 3 * ready


@pytest.mark.parametrize("verb", ["retry", "drop"])
@pytest.mark.parametrize("words", [(), ("1", "--all")])
def test_retry_and_drop_need_to_know_which(
    umbel: Command, project: Umbel, verb: str, words: tuple[str, ...]
) -> None:
    bury(project, "a")
    ended = umbel("dead", verb, *words)
    assert ended.code == 2
    assert "Name the keys of dead letters (umbel dead list), or give --all." in ended.err
    assert len(keys(project)) == 1


@pytest.mark.parametrize("verb", ["retry", "drop"])
def test_keys_that_are_none_do_nothing(umbel: Command, project: Umbel, verb: str) -> None:
    bury(project, "a")
    ended = umbel("dead", verb, "nope", "99999")
    assert "0 messages" in ended.out
    assert "2 of the keys name no dead letter" in ended.err
    assert ended.code == 1
    assert len(keys(project)) == 1
