"""The unit for systemd and the image: what they start runs, is found healthy, starts again, and stops."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.support import TASKS, Start, Worker, left_behind
from umbel.testing.conformance.support import until

CONTRIB = Path(__file__).parents[2] / "contrib"
UNIT = CONTRIB / "systemd" / "umbel.service"
IMAGE = CONTRIB / "docker" / "Dockerfile"
SCRIPTS = Path(sys.executable).parent


def of_unit(name: str) -> str:
    (found,) = re.findall(rf"^{name}=(.*)$", UNIT.read_text(), re.MULTILINE)
    return str(found)


def of_image(name: str) -> list[str]:
    """Return an instruction's list of words."""
    (found,) = re.findall(rf"^{name} .*?(\[.*\])$", IMAGE.read_text(), re.MULTILINE)
    words: list[str] = json.loads(found)
    return words


def run(start: Start, project: Path, command: list[str]) -> Worker:
    """Start what stands in a file, with the installed umbel and the app of a project."""
    program, *words = command
    assert Path(program).name == "umbel"
    (project / "shop.py").write_text(TASKS)
    at = words.index("worker")
    return start(*words[at + 1 :], options=("-A", "shop", *words[2:at]))


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path) -> None:
    program = of_unit("ExecStart").partition(" ")[0]
    unit = tmp_path / "umbel.service"
    unit.write_text(UNIT.read_text().replace(program, str(SCRIPTS / "umbel")))
    # On a machine that was not booted with systemd only the other units that it knows may be missing.
    checked = subprocess.run(
        ["systemd-analyze", "verify", "--recursive-errors=no", "--man=no", str(unit)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (checked.returncode, checked.stderr) == (0, "")


def test_what_the_unit_starts(start: Start, project: Path) -> None:
    command = shlex.split(of_unit("ExecStart"))
    worker = run(start, project, command)
    assert of_unit("ExecReload") == "kill -HUP $MAINPID"
    worker.send(signal.SIGHUP)
    until(lambda: worker.text.count(" ready.") == 2)
    patience = float(command[command.index("--shutdown-timeout") + 1])
    assert patience < float(of_unit("TimeoutStopSec"))
    worker.send(signal.SIGTERM)
    assert worker.wait() == 0, worker.text
    assert left_behind(project) == []


def test_what_the_image_starts(start: Start, project: Path) -> None:
    health = "/tmp/umbel.health"  # noqa: S108 - the name that it has in the image
    words = [*of_image("ENTRYPOINT"), *of_image("CMD")]
    probe = of_image("HEALTHCHECK")
    assert health in words
    assert probe == ["umbel-health", "live", health]
    place = str(project / "health")
    worker = run(start, project, [place if word == health else word for word in words])
    ask = [str(SCRIPTS / "umbel-health"), "live", place]
    assert subprocess.run(ask, check=False, capture_output=True).returncode == 0
    worker.send(signal.SIGTERM)
    assert worker.wait() == 0, worker.text
    assert subprocess.run(ask, check=False, capture_output=True).returncode != 0
