"""Options that an app adds to umbel's commands."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from tests.cli.conftest import Command
from umbel import signals
from umbel.worker.bootstrap import Source

HEARD: list[Any] = []

APP = """
from pathlib import Path

from click import Option, Path as PathType

from tests.cli.test_user_options import HEARD
from umbel import Umbel, signals

app = Umbel(broker="memory://")
app.user_options["preload"].add(Option(("-Z", "--template"), default="plain", help="How it looks."))
app.user_options["worker"].add(Option(("--fast",), is_flag=True, help="Run faster."))
app.user_options["worker"].add(Option(("--place",), type=PathType(path_type=Path)))
app.user_options["worker"].add(Option(("--odd",), callback=lambda c, p, value: value and {1}))


@signals.user_preload_options.connect(dispatch_uid="tests")
def heard(sender, app, options, **_):
    HEARD.append((sender, app.main, options))


@app.task(name="add")
def add(x, y):
    return x + y
"""


@pytest.fixture
def own(tmp_path: Path, umbel: Command, monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command line, with an app that has options of its own."""
    (tmp_path / "tasks_with_options.py").write_text(APP)
    monkeypatch.syspath_prepend(tmp_path)
    HEARD.clear()
    # The receiver of the module that an earlier test imported may live until garbage is collected.
    signals.user_preload_options.disconnect(dispatch_uid="tests")
    sys.modules.pop("tasks_with_options", None)

    def run(*arguments: str, app: str | None = "tasks_with_options") -> Any:
        return umbel(*arguments, app=app)

    return run


@pytest.mark.parametrize(
    ("words", "template"), [((), "plain"), (("-Z", "big"), "big"), (("--template=x",), "x")]
)
def test_options_of_all_commands_are_told_by_a_signal(
    own: Command, words: tuple[str, ...], template: str
) -> None:
    ended = own("list", "tasks", *words) if not words else own("purge", "-f", *words)
    assert ended.code == 0, ended.err
    ((_, _, options),) = HEARD
    assert options == {"template": template}


def worker(own: Command, *words: str) -> Source:
    with patch("umbel.cli.worker.run_worker", return_value=0) as run:
        ended = own("worker", *words)
    assert (ended.code, ended.err) == (0, "")
    source: Source = run.call_args.args[0]
    return source


def test_options_of_a_worker_travel_to_its_processes(own: Command) -> None:
    source = worker(own, "--fast", "--place", "/srv/x", "-c", "2")
    assert source.options == {"fast": True, "place": "/srv/x", "odd": None}
    assert source.preload == {"template": "plain"}
    assert source.settings == {"worker_concurrency": 2}


def test_an_app_is_imported_for_its_options_only_where_they_are_used(own: Command) -> None:
    source = worker(own, "-c", "2")
    assert "tasks_with_options" not in sys.modules
    assert (source.options, source.preload) == ({}, None)
    source.load()
    assert [("worker", source.load().main, {"template": "plain"})] * 2 == HEARD


def test_help_shows_them(own: Command) -> None:
    ended = own("worker", "--help")
    assert ended.code == 0
    for text in ("-Z, --template TEXT", "How it looks.", "--fast", "Run faster."):
        assert text in ended.out
    assert "--fast" not in own("purge", "--help").out


def test_help_does_not_need_an_app_that_can_be_imported(own: Command) -> None:
    assert own("worker", "--help", app="nothing_there").code == 0
    assert own("worker", "--help", app=None).code == 0


def test_what_no_app_has_is_an_error_as_ever(own: Command, umbel: Command) -> None:
    for ended in (
        own("worker", "--slow"),
        umbel("worker", "--slow"),
        umbel("worker", "--slow", app=None),
    ):
        assert ended.code == 2
        assert "--slow" in ended.err


def test_a_broken_app_is_shown(own: Command, tmp_path: Path) -> None:
    (tmp_path / "tasks_broken.py").write_text("1 / 0\n")
    ended = own("worker", "--fast", app="tasks_broken")
    assert ended.code == 1
    assert "ZeroDivisionError" in ended.err
    assert "Error: importing the app failed." in ended.err


def test_a_value_that_cannot_travel(own: Command) -> None:
    ended = own("worker", "--odd", "x")
    assert ended.code == 2
    assert "The option odd of this app has the value {1}" in ended.err
