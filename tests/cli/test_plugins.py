"""Commands that other packages declare for Celery's command line."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from tests.cli.conftest import Command
from umbel.cli import as_celery, plugins

#: What a package has beside its metadata; under Celery's names it imports celery.bin.base.
MODULE = """
import click
from umbel.cli.plugins import CeleryCommand, CeleryOption, JSON_OBJECT, handle_preload_options


@click.command(cls=CeleryCommand)
@click.option("--port", cls=CeleryOption, type=int, default=5555, help_group="Web")
@click.option("--extra", cls=CeleryOption, type=JSON_OBJECT)
@click.pass_context
@handle_preload_options
def watch(ctx, port, extra):
    '''Watch what goes on.'''
    ctx.obj.echo(f"{sorted(ctx.obj.app.tasks)} {port} {extra} {ctx.obj.OK}")


nothing = 5
"""


@pytest.fixture(autouse=True)
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    place = tmp_path / "site"
    information = place / "watcher-1.0.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: watcher\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(
        "[celery.commands]\nwatch = watcher_module:watch\nfive = watcher_module:nothing\n"
        "gone = no_such_module_at_all:x\n"
    )
    (place / "watcher_module.py").write_text(MODULE)
    monkeypatch.syspath_prepend(place)
    yield
    sys.modules.pop("watcher_module", None)


def test_a_command_is_run_with_the_app(umbel: Command) -> None:
    ended = umbel("watch", "--extra", '{"a": 1}')
    assert ended.out == "['add'] 5555 {'a': 1} OK\n"
    assert ended.code == 0


def test_its_help_needs_no_app(umbel: Command) -> None:
    ended = umbel("watch", "--help", app=None)
    assert "Watch what goes on." in ended.out
    assert ended.code == 0


def test_it_says_which_app_it_needs(umbel: Command) -> None:
    ended = umbel("watch", app=None)
    assert "Which app? Name its module with -A, for example: umbel -A tasks watch" in ended.err
    assert ended.code == 2


def test_it_is_listed(umbel: Command) -> None:
    ended = umbel("--help", app=None)
    assert "Commands of other packages:" in ended.out
    assert "  watch  Of the package watcher.\n" in ended.out


def test_what_cannot_be_loaded_is_told_when_it_is_used(umbel: Command) -> None:
    assert umbel("list", "tasks").code == 0
    ended = umbel("gone")
    assert "watcher declares 'gone' as one of celery.commands" in ended.err
    assert "No module named 'no_such_module_at_all'" in ended.err
    assert ended.code == 1
    assert "and no click command" in umbel("five").err


def test_a_wrong_word_is_still_one(umbel: Command) -> None:
    assert "There is no command 'wach'. Did you mean 'watch'?" in umbel("wach", app=None).err


def test_values_in_json() -> None:
    assert plugins.JSON_ARRAY.convert("[1]", None, None) == [1]
    assert plugins.COMMA_SEPARATED_LIST.convert("a,b", None, None) == ["a", "b"]
    for text in ("{", "{}"):
        with pytest.raises(click.BadParameter):
            plugins.JSON_ARRAY.convert(text, None, None)


def test_the_command_under_celerys_name(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        as_celery.main(["worker"])
    assert "celery -A tasks worker" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        as_celery.main(["worker", "-b", "memory://"])
    assert "-b stands before the command: celery -b … worker" in capsys.readouterr().err
