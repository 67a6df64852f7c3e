from __future__ import annotations

import re

import pytest

from tests.cli.conftest import Command, Terminal, bury
from umbel import Umbel
from umbel.settings import TABLE
from umbel.testing.conformance.support import until


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
    assert found["celery"]["oldest_seconds"] < 60
    assert rows["celery"][0] == "2"
    assert rows["audio"][-1] == "1"


@pytest.mark.parametrize("width", [80, 140])
def test_a_table_fits_the_terminal(project: Umbel, width: int) -> None:
    name = "a-queue-whose-name-is-" + "very-" * 20 + "long"
    project.tasks["add"].apply_async((1,), queue=name)
    bury(project, "i", reason="Because " + "of this " * 30)
    for words in (
        ("queues",),
        ("dead", "list"),
        ("config", "--all"),
        ("config", "task_acks_late"),
        ("list", "tasks"),
    ):
        terminal = Terminal("-A", "tasks", *words, width=width)
        assert terminal.end() == 0, terminal.text
        assert max(map(len, terminal.text.splitlines())) <= width, terminal.text
        if words == ("config", "--all") and width == 140:
            names = {line.split()[0] for line in terminal.text.splitlines() if line[:1].strip()}
            assert names >= TABLE.keys()  # names are whole, so that they can be copied


def test_a_pipe_gets_each_row_on_one_line(umbel: Command, project: Umbel) -> None:
    bury(project, "i", reason="Because " + "of this\n" * 30)
    lines = umbel("dead", "list").out.splitlines()
    assert len(lines) == 2
    assert lines[1].endswith("of this")
    assert "\x1b" not in "".join(lines)


@pytest.mark.parametrize(
    ("words", "environment"), [(("--no-color",), {}), (("-C",), {}), ((), {"NO_COLOR": "1"})]
)
def test_no_colours_when_nobody_wants_them(
    project: Umbel, words: tuple[str, ...], environment: dict[str, str]
) -> None:
    project.tasks["add"].delay(1)
    terminal = Terminal("-A", "tasks", *words, "queues", environment=environment)
    assert terminal.end() == 0
    assert re.search(r"\x1b\[[0-9;]*3[0-9]", terminal.raw) is None


def test_watching_on_a_terminal(project: Umbel) -> None:
    terminal = Terminal("-A", "tasks", "queues", "--watch", "0.05")
    project.tasks["add"].apply_async((1,), queue="first")
    until(lambda: "first" in terminal.text)
    project.tasks["add"].apply_async((1,), queue="second")
    until(lambda: "second" in terminal.text)
    terminal.interrupt()
    assert terminal.end() == 0
    assert "Traceback" not in terminal.text
    assert terminal.raw.endswith("\x1b[?25h")  # the cursor is back


@pytest.mark.parametrize("words", [(), ("--json",)])
def test_watching_in_a_pipe(
    umbel: Command, project: Umbel, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    slept: list[float] = []

    def sleep(self: object, seconds: float) -> None:
        slept.append(seconds)
        project.tasks["add"].delay(1)
        if len(slept) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("umbel.clock.SystemClock.sleep", sleep)
    ended = umbel("queues", "--watch", "2", *words)
    assert ended.code == 0
    assert slept == [2, 2, 2]
    assert ended.out.count("celery") == 2


def test_watching_needs_a_length_of_time(umbel: Command) -> None:
    assert umbel("queues", "--watch", "0").code == 2
