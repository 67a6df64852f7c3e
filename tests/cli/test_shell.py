from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.cli.conftest import Command, Terminal
from umbel import Umbel
from umbel.cli.shell import names_of
from umbel.testing.conformance.support import until


def piped(text: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "umbel", "-A", "tasks", "shell", *words],
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_names_are_celerys(app: Umbel) -> None:
    @app.task(name="deep.inside.add")
    def add() -> None: ...

    names = names_of(app, with_tasks=True)
    assert names["app"] is names["celery"] is app
    assert names["add"] is app.tasks["deep.inside.add"]
    assert names.keys() >= {"Task"}
    assert "add" not in names_of(app, with_tasks=False)


def test_a_task_hides_nothing_of_the_shells_own(app: Umbel) -> None:
    @app.task(name="shop.app")
    def other() -> None: ...

    assert names_of(app, with_tasks=True)["app"] is app


def test_a_script_may_be_piped_into_it(project: Umbel) -> None:
    ended = piped("for x in (1, 2):\n    print(add(x, 2))\n\nprint(celery is app)\n")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "3\n4\nTrue\n", "")


def test_a_script_that_fails_fails(project: Umbel) -> None:
    ended = piped("1 / 0")
    assert ended.returncode == 1
    assert ended.stderr.startswith('Traceback (most recent call last):\n  File "<stdin>", line 1')
    assert ended.stderr.endswith("ZeroDivisionError: division by zero\n")
    assert "umbel" not in ended.stderr
    assert "NameError" in piped("add", "-T").stderr


def test_a_shell_that_is_not_installed(umbel: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bpython", None)
    ended = umbel("shell", "-B")
    assert ended.code == 1
    assert "bpython is not installed. Install it with: pip install bpython" in ended.err


@pytest.mark.parametrize(("option", "module"), [("-I", "IPython"), ("-B", "bpython")])
def test_other_shells_get_the_names(
    umbel: Command, monkeypatch: pytest.MonkeyPatch, option: str, module: str
) -> None:
    seen: list[Any] = []

    def embed(*args: Any, **keywords: Any) -> None:
        seen.append(keywords.get("user_ns") or args[0])

    monkeypatch.setitem(sys.modules, module, SimpleNamespace(embed=embed))
    assert umbel("shell", option).code == 0
    assert seen[0].keys() >= {"app", "celery", "Task", "add"}


def test_on_a_terminal(project: Umbel, tmp_path: Path) -> None:
    startup = tmp_path / "startup.py"
    startup.write_text("mine = 41\n")
    terminal = Terminal("-A", "tasks", "shell", "-P", environment={"PYTHONSTARTUP": str(startup)})
    until(lambda: ">>> " in terminal.text)
    names = "chord, group, chain, chunks, xmap, xstarmap, signature, subtask, add"
    assert f"Names: app, celery, Task, {names}" in terminal.text
    terminal.type("add(mine, 1)\n")
    until(lambda: "\n42\n" in terminal.text)
    terminal.type("\x04")
    assert terminal.end() == 0


def test_celerys_other_options_are_accepted(project: Umbel) -> None:
    ended = piped("", "--gevent")
    assert (ended.returncode, ended.stderr.count("Warning: --gevent has no effect")) == (0, 1)
