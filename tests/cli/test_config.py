"""``umbel config`` and ``umbel report``, which are about settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Command
from tests.each import for_each
from umbel import __version__
from umbel.settings import TABLE

MORE = """
app.conf.result_expires = 60
app.conf.worker_send_task_events = True
app.conf.plugin_token = "geheim"
app.conf.plugin_colour = "red"
"""


@pytest.fixture
def changed(tmp_path: Path, project: object) -> None:
    """A project that says something of its settings."""
    file = tmp_path / "tasks.py"
    file.write_text(file.read_text() + MORE)


@pytest.mark.usefixtures("changed")
def test_the_changed_settings_are_listed(umbel: Command) -> None:
    found = umbel("config", "--json").data
    assert found.keys() == {
        *("broker_url", "result_backend", "result_expires", "worker_send_task_events"),
        *("plugin_token", "plugin_colour"),
    }
    expires = found["result_expires"]
    assert (expires["value"], expires["origin"], expires["known"]) == (60, "app.conf", True)
    assert found["broker_url"]["origin"] == "the app's constructor"
    assert found["worker_send_task_events"]["works"] is False
    assert (found["plugin_colour"]["known"], found["plugin_colour"]["value"]) == (False, "red")
    lines = umbel("config").out.splitlines()
    assert lines[0].split() == ["setting", "value", "origin", "meaning"]
    assert len(lines) == 7


@pytest.mark.usefixtures("changed")
@pytest.mark.parametrize(
    "words", [("config",), ("config", "--json"), ("report",), ("report", "--json")]
)
def test_secrets_are_masked(umbel: Command, words: tuple[str, ...]) -> None:
    given = ("-b", "redis://me:geheim@host/0", "--result-backend", "redis://me:geheim@host/0")
    ended = umbel(*given, *words)
    assert ended.code == 0
    assert "redis://me:********@host/0" in ended.out
    assert "geheim" not in ended.out + ended.err


def test_all_settings_are_listed(umbel: Command) -> None:
    found = umbel("config", "--all", "--json", app=None).data
    assert found.keys() == TABLE.keys()
    assert found["task_acks_late"].items() >= {"differs": True, "celery_default": False}.items()
    assert len(umbel("config", "--all", app=None).out.splitlines()) == len(TABLE) + 1


def test_nothing_changed(umbel: Command) -> None:
    assert umbel("config", app=None).out == "No setting was changed; --all lists them all.\n"


@pytest.mark.parametrize("name", ["task_acks_late", "TASK_ACKS_LATE", "CELERY_ACKS_LATE"])
def test_one_setting_is_explained(umbel: Command, name: str) -> None:
    ended = umbel("config", name, app=None)
    row = TABLE["task_acks_late"]
    assert ended.code == 0
    for text in (row.doc, row.why, "True", "False", "CELERY_ACKS_LATE", "default", row.group):
        assert text in ended.out


@for_each("name", sorted(TABLE))
def test_every_setting_can_be_explained(umbel: Command, name: str) -> None:
    ended = umbel("config", name, app=None)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith(f"{name}\n  value: ")


def test_where_a_value_came_from(umbel: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UMBEL_BROKER_URL", "memory://")
    assert "the environment variable UMBEL_BROKER_URL" in umbel("config", "broker_url").out
    assert "the command line" in umbel("-b", "memory://x", "config", "broker_url").out


def test_a_near_miss(umbel: Command) -> None:
    ended = umbel("config", "task_ack_late", app=None)
    assert ended.code == 1
    assert "There is no setting 'task_ack_late'. Did you mean 'task_acks_late'?" in ended.err
    assert umbel("config", "task_acks_late", "--all").code == 2


@pytest.mark.usefixtures("changed")
def test_a_report(umbel: Command) -> None:
    found = umbel("report", "--json").data
    assert found["software"]["umbel"] == __version__
    assert {"Python", "SQLite", "click", "rich"} <= found["software"].keys()
    assert found["app"]["tasks"] == 1
    assert found["changed settings"]["result_expires"] == "60.0 (app.conf)"
    assert found["unknown settings"] == {"plugin_token": "'********'", "plugin_colour": "'red'"}
    out = umbel("report").out
    assert f"software:\n  umbel: {__version__}\n" in out
    assert "unknown settings:\n  plugin_token: '********'\n" in out


def test_a_report_needs_no_app(umbel: Command) -> None:
    ended = umbel("report", app=None)
    assert (ended.code, "platform:" in ended.out, "changed settings" in ended.out) == (
        0,
        True,
        False,
    )


def test_a_report_tells_of_a_broker_without_engine(umbel: Command) -> None:
    ended = umbel("-b", "redish://host", "report")
    assert ended.code == 0
    assert "broker: redish://host (No engine serves URLs that begin with 'redish'." in ended.out
