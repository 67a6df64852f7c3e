from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Command
from umbel import Umbel
from umbel.cli.completion import SHELLS


def completed(*words: str) -> list[str]:
    """Return what bash would offer after these words, the last of which is begun."""
    ended = subprocess.run(
        [sys.executable, "-m", "umbel"],
        env={
            **os.environ,
            "_UMBEL_COMPLETE": "bash_complete",
            "COMP_WORDS": " ".join(("umbel", *words)),
            "COMP_CWORD": str(len(words)),
        },
        capture_output=True,
        text=True,
        check=True,
    )
    assert ended.stderr == ""
    return [line.partition(",")[2] for line in ended.stdout.splitlines() if line]


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script(umbel: Command, shell: str) -> None:
    ended = umbel("completion", shell, app=None)
    assert (ended.code, ended.err) == (0, "")
    assert f"_UMBEL_COMPLETE={shell}_complete" in ended.out


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_shell_can_read_it(umbel: Command, shell: str) -> None:
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not installed")
    script = umbel("completion", shell, app=None).out
    subprocess.run([program, "-n"], input=script, text=True, check=True)


def test_an_unknown_shell(umbel: Command) -> None:
    assert umbel("completion", "csh", app=None).code == 2


def test_commands_and_options(project: Umbel) -> None:
    assert completed("que") == ["queues"]
    assert completed("-A", "tasks", "queues", "--wa") == ["--watch"]
    assert completed("dead", "dr") == ["drop"]


def test_tasks_queues_and_settings(project: Umbel) -> None:
    project.tasks["add"].apply_async((1,), queue="video")
    assert completed("-A", "tasks", "call", "a") == ["add"]
    assert completed("-A", "tasks", "worker", "-Q", "x,vi") == ["x,video"]
    assert completed("config", "task_acks_l") == ["task_acks_late"]


def test_an_app_that_cannot_be_imported_offers_nothing(project: Umbel, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("print('hello')\n1 / 0\n")
    assert completed("-A", "broken", "call", "a") == []
