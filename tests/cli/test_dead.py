from __future__ import annotations

import pytest

from tests.cli.conftest import Command, bury
from umbel import Umbel


def keys(project: Umbel) -> list[str]:
    return [letter.key for letter in project.queues.dead_letters(100)]


def test_no_dead_letters(umbel: Command) -> None:
    assert umbel("dead", "list").out == "There are no such dead letters.\n"
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
    assert "There is no dead letter with the key 'nope'." in ended.err


@pytest.mark.parametrize(
    ("verb", "done", "ready"),
    [
        (
            "retry",
            ("Put 1 message back on its queue.", "Put 2 messages back on their queues."),
            1,
        ),
        ("drop", ("Dropped 1 message.", "Dropped 2 messages."), 0),
    ],
)
def test_retry_and_drop(
    umbel: Command, project: Umbel, verb: str, done: tuple[str, str], ready: int
) -> None:
    bury(project, "a", "b", "c")
    one = keys(project)[0]
    yes = ("-y",) if verb == "drop" else ()
    ended = umbel("dead", verb, one, *yes)
    assert (ended.code, ended.out.strip()) == (0, done[0])
    assert one not in keys(project)
    assert project.queues.depths()["celery"].ready == ready
    assert umbel("dead", verb, "--all", *yes).out.strip() == done[1]
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
    assert "Name the keys of dead letters (umbel dead list)" in ended.err
    assert len(keys(project)) == 1


@pytest.mark.parametrize("verb", ["retry", "drop"])
def test_keys_that_are_none_do_nothing(umbel: Command, project: Umbel, verb: str) -> None:
    bury(project, "a")
    ended = umbel("dead", verb, "nope", "99999")
    assert "0 messages" in ended.out
    assert "There are no dead letters with the keys '99999', 'nope'." in ended.err
    assert "`umbel dead list` shows the keys" in ended.err
    assert ended.code == 1
    assert len(keys(project)) == 1


@pytest.fixture
def graveyard(project: Umbel) -> Umbel:
    """Dead letters that differ in everything."""
    bury(project, "a", task="shop.charge", reason="Timeout after 5 s.")
    bury(project, "b", task="shop.refund", reason="A TIMEOUT again.", queue="money")
    bury(project, "c", task="mails.send", reason="Unreadable.", queue="mails")
    return project


FILTERS = [
    (("--task", "shop.*"), "ba"),
    (("--task", "shop.charge"), "a"),
    (("--queue", "mails"), "c"),
    (("--reason", "timeout"), "ba"),
    (("--reason", "timeout", "--queue", "money"), "b"),
    (("--since", "1h"), "cba"),
    (("--since", "2099-01-01"), ""),
    (("--until", "2099-01-01T00:00:00Z"), "cba"),
    (("--until", "1h"), ""),
    (("--since", "1d", "--limit", "2"), "cb"),
]


@pytest.mark.parametrize(("words", "ids"), FILTERS)
def test_dead_letters_are_listed_by_what_they_have_in_common(
    umbel: Command, graveyard: Umbel, words: tuple[str, ...], ids: str
) -> None:
    found = umbel("dead", "list", *words, "--json").data
    assert "".join(letter["headers"]["id"] for letter in found) == ids


@pytest.mark.parametrize(("words", "ids"), FILTERS)
@pytest.mark.parametrize("verb", ["retry", "drop"])
def test_and_so_they_are_retried_and_dropped(
    umbel: Command, graveyard: Umbel, verb: str, words: tuple[str, ...], ids: str
) -> None:
    before = graveyard.queues.depths()
    trial = umbel("dead", verb, *words, "--dry-run", "--json")
    assert "".join(letter["headers"]["id"] for letter in trial.data) == ids
    assert graveyard.queues.depths() == before
    yes = ("-y",) if verb == "drop" else ()
    ended = umbel("dead", verb, *words, "--json", *yes)
    done = {"retry": "retried", "drop": "dropped"}[verb]
    assert (ended.code, ended.data) == (0, {done: len(ids), "missing": []})
    left = {str(letter.message.task_id) for letter in graveyard.queues.dead_letters(10)}
    assert left == set("abc") - set(ids)


def test_a_dry_run_shows_what_it_would_be(umbel: Command, graveyard: Umbel) -> None:
    out = umbel("dead", "drop", "--all", "--dry-run").out
    assert out.count("shop.") == 2
    assert out.endswith("It would be 3 messages. Nothing was done.\n")


def test_dropping_asks(umbel: Command, graveyard: Umbel, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = ["y", "n"]
    monkeypatch.setattr("click.termui.visible_prompt_func", lambda prompt="": answers.pop())
    ended = umbel("dead", "drop", "--queue", "mails")
    assert (ended.code, "Nothing was done." in ended.err) == (1, True)
    assert len(keys(graveyard)) == 3
    assert umbel("dead", "drop", "--queue", "mails").code == 0
    assert len(keys(graveyard)) == 2


def test_a_time_that_is_none_is_explained(umbel: Command) -> None:
    ended = umbel("dead", "list", "--since", "yesterday")
    assert ended.code == 2
    assert "'yesterday' is neither an age, such as 90s, 30m, 2h or 1d" in ended.err


def test_more_than_a_page_is_found(
    umbel: Command, project: Umbel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("umbel.cli.filters.PAGE", 2)
    bury(project, *"abcdefg")
    ended = umbel("dead", "list", "-n", "5")
    assert len(ended.out.splitlines()) == 6
    assert "These are the latest 5; --limit shows more." in ended.err
    assert umbel("dead", "retry", "--all", "--json").data["retried"] == 7
