from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from tests.cli.conftest import Command
from umbel import Umbel, __version__
from umbel.absent import ABSENT_COMMANDS
from umbel.cli.base import COMMANDS, group

#: What ``celery --help`` of 5.7 lists.
CELERYS = (
    *(
        "amqp",
        "beat",
        "call",
        "control",
        "events",
        "graph",
        "inspect",
        "list",
        "logtool",
        "migrate",
    ),
    *("multi", "purge", "report", "result", "shell", "status", "upgrade", "worker"),
)


@pytest.mark.parametrize("name", CELERYS)
def test_celerys_commands_are_there_or_say_what_to_do(umbel: Command, name: str) -> None:
    assert (name in COMMANDS) != (name in ABSENT_COMMANDS)
    if name in ABSENT_COMMANDS:
        ended = umbel(name, app=None)
        assert ended.code == 2
        assert f"umbel {name} {ABSENT_COMMANDS[name]}." in " ".join(ended.err.split())


def test_commands_that_are_named_instead_of_missing_ones_are_there() -> None:
    named = re.findall(r"`umbel (?:-\S+ \S+ )*(\w+)", " ".join(ABSENT_COMMANDS.values()))
    assert len(named) > 5
    assert set(named) <= COMMANDS.keys()


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_lists_the_commands(umbel: Command, option: str) -> None:
    ended = umbel(option, app=None)
    assert ended.code == 0
    assert "Usage: umbel [OPTIONS] COMMAND" in ended.out
    for name in COMMANDS:
        assert f"\n  {name} " in ended.out


@pytest.mark.parametrize(
    "words",
    [*((name,) for name in COMMANDS), ("dead", "list"), ("dead", "retry"), ("list", "tasks")],
    ids=" ".join,
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
    assert "Which app? Name its module with -A, for example: umbel -A tasks queues" in ended.err


@pytest.mark.parametrize("name", ["UMBEL_APP", "APP"])
def test_the_app_may_be_in_the_environment(
    umbel: Command, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "tasks")
    assert umbel("queues", app=None).code == 0
    monkeypatch.setenv(name, "taks")
    ended = umbel("queues", app=None)
    assert f"It was named by the environment variable {name}." in ended.err


def test_queues_need_a_broker_and_no_app(umbel: Command, project: Umbel) -> None:
    project.tasks["add"].delay(1)
    assert (
        umbel("-b", project.broker_url, "queues", "--json", app=None).data["celery"]["ready"] == 1
    )


def test_broker_and_results_may_be_in_the_environment_as_in_celery(
    umbel: Command, project: Umbel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.tasks["add"].delay(1)
    monkeypatch.setenv("BROKER_URL", f"sqlite:///{tmp_path / 'other.db'}")
    monkeypatch.setenv("RESULT_BACKEND", "disabled://")
    assert umbel("queues", "--json").data == {}
    assert "Results are not kept" in umbel("result", "i").err


def test_a_module_of_settings(
    umbel: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "more_settings.py").write_text("result_expires = 77\n")
    ended = umbel("--config", "more_settings", "config", "result_expires", "--json")
    assert ended.data["value"] == 77
    assert ended.data["origin"] == "more_settings"
    monkeypatch.setenv("CONFIG_MODULE", "more_settings")
    assert umbel("config", "result_expires", "--json", app=None).data["value"] == 77


def test_celerys_other_global_options_are_accepted(
    umbel: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CELERY_SKIP_CHECKS", "")
    ended = umbel("-q", "-C", "--loader", "app", "--skip-checks", "queues")
    assert (ended.code, ended.err) == (0, "")
    assert os.environ["CELERY_SKIP_CHECKS"] == "true"
    ended = umbel("--loader", "mine.Loader", "queues")
    assert (ended.code, ended.err.count("Warning: --loader mine.Loader has no effect")) == (0, 1)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("x = (", "SyntaxError"),
        ("def inner():\n    1 / 0\ninner()", "ZeroDivisionError: division by zero"),
        ("import no_such_module", "No module named 'no_such_module'"),
    ],
)
def test_a_mistake_in_the_app_is_shown_without_our_frames(
    umbel: Command, tmp_path: Path, text: str, told: str
) -> None:
    (tmp_path / "broken.py").write_text(text + "\n")
    ended = umbel("queues", app="broken")
    assert (ended.code, ended.out) == (1, "")
    assert told in ended.err
    assert f'File "{tmp_path / "broken.py"}", line ' in ended.err
    assert "umbel" not in ended.err
    assert ended.err.endswith("Error: importing the app failed.\n")


def test_the_list_of_commands_says_what_each_says_of_itself() -> None:
    context = click.Context(group)
    for name, text in COMMANDS.items():
        found = group.get_command(context, name)
        assert found is not None
        assert (found.help or "").partition("\n")[0] == text


@pytest.mark.parametrize("name", COMMANDS)
def test_each_help_teaches_by_an_example(umbel: Command, name: str) -> None:
    out = umbel(name, "--help", app=None).out
    assert re.search(rf"Examples?:\n(?s:.*)umbel .*{name}", out), out


@pytest.mark.parametrize("words", [("--help",), ("queues", "--json"), ("purge", "-f"), ("report",)])
def test_rich_is_not_imported_where_no_table_is_drawn(
    project: Umbel, words: tuple[str, ...]
) -> None:
    script = (
        "import sys; from umbel.cli import main\ntry: main()\n"
        "finally: print(any(m.split('.')[0] == 'rich' for m in sys.modules), file=sys.stderr)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script, "-A", "tasks", *words],
        capture_output=True,
        text=True,
        check=True,
    )
    assert ended.stderr.splitlines()[-1] == "False"


def test_the_module_and_the_script_are_the_same_command(project: Umbel) -> None:
    for words in ([sys.executable, "-m", "umbel"], [str(Path(sys.executable).with_name("umbel"))]):
        ended = subprocess.run(
            [*words, "-A", "tasks", "queues", "--json"], capture_output=True, text=True, check=True
        )
        assert (ended.stdout, ended.stderr) == ("{}\n", "")
        ended = subprocess.run([*words, "queues"], capture_output=True, text=True, check=False)
        assert ended.returncode == 2
        assert "Usage: umbel queues" in ended.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no full device")
def test_output_that_cannot_be_written_is_a_failure(project: Umbel) -> None:
    with Path("/dev/full").open("w") as full:
        words = [sys.executable, "-m", "umbel", "-A", "tasks", "config", "--all"]
        ended = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr == "Error: what this says cannot be written: No space left on device.\n"


def test_an_unknown_app_says_what_was_tried(umbel: Command) -> None:
    ended = umbel("queues", app="taks")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("Error: No app was found for -A taks. Tried: module taks.")


def test_settings_that_are_not_there_are_told_in_a_line(umbel: Command) -> None:
    """These were shown as tracebacks of umbel's own code."""
    ended = umbel("--config", "no_such_settings", "queues")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == (
        "Error: No module named 'no_such_settings'; the settings 'no_such_settings' were to be read"
        " from there.\n"
    )


@pytest.mark.parametrize("setting", ["imports", "include"])
def test_a_module_to_include_that_is_not_there(
    umbel: Command, tmp_path: Path, setting: str
) -> None:
    (tmp_path / f"more_{setting}.py").write_text(f"{setting} = ['shop.no_such_mails']")
    ended = umbel("--config", f"more_{setting}", "queues")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == (
        f"Error: No module named 'shop'; the setting {setting} has 'shop.no_such_mails'.\n"
    )


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("quues",), "There is no command 'quues'. Did you mean 'queues'?"),
        (("nothing-like-it",), "There is no command 'nothing-like-it'. Known are beat, call, "),
        (("help",), "Write umbel --help, or COMMAND --help."),
        (("dead", "help"), "Write umbel dead --help, or COMMAND --help."),
        (("dead", "lits"), "There is no command 'lits'. Did you mean 'list'?"),
        (("inspect",), "umbel inspect is part of remote control, which comes in a later version;"),
        (("queues", "--jsn"), "No such option"),
        (("queues", "--jsn"), "--json"),
        (("queues", "-A", "x"), "-A stands before the command: umbel -A … queues"),
        (("queues", "--broker=x"), "--broker stands before the command"),
        (("worker", "-c", "0"), "'0' is no number of processes, such as 4, nor auto."),
        (("worker", "-P", "custom"), "-P custom takes a class of Celery's pools"),
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
    assert ended.code == 2
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
