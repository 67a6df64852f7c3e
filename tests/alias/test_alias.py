"""``import celery`` is umbel, in interpreters of their own: real Celery is installed where tests run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.alias.inside import CHECKS

ROOT = Path(__file__).parents[2]
PACKAGES = ROOT / "packages" / "umbel-as-celery" / "src"


def run(*words: str, path: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join(filter(None, [path, str(ROOT / "src"), str(ROOT)]))
    return subprocess.run(
        [sys.executable, *words],
        env={**os.environ, "PYTHONPATH": paths, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def outcome(how: str, path: str = "") -> dict[str, Any]:
    done = run("-m", "tests.alias.inside", how, path=path)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def outcomes() -> dict[str, dict[str, Any]]:
    return {
        "installed": outcome("installed"),
        "distribution": outcome("distribution", str(PACKAGES)),
    }


@pytest.mark.parametrize("how", ["installed", "distribution"])
@pytest.mark.parametrize("name", [check.__name__ for check in CHECKS])
def test_inside(outcomes: dict[str, dict[str, Any]], how: str, name: str) -> None:
    assert outcomes[how]["results"][name] == ""


def test_real_celery_beside_it_is_told_once(outcomes: dict[str, dict[str, Any]]) -> None:
    assert outcomes["installed"]["warned"] == [
        "celery and kombu and billiard of Celery's own are installed, too. In this process, and in the"
        " worker's others, umbel takes their place. Uninstall them if nothing else needs them."
    ]
    assert outcomes["distribution"]["warned"] == []


def test_real_celery_that_is_imported_is_an_error() -> None:
    done = run("-c", "import kombu, umbel; umbel.install_as_celery()")
    assert "kombu of Celery's own is imported already, from " in done.stderr
    assert "Call umbel.install_as_celery() before the first import" in done.stderr


def test_a_variable_lets_a_program_run_unchanged() -> None:
    code = "import umbel; from celery import Celery; print(Celery is umbel.Umbel)"
    done = run("-c", code, UMBEL_AS_CELERY="1")
    assert done.stdout == "True\n"
    assert "umbel takes their place" in done.stderr


def test_the_variable_leaves_a_program_alone_that_uses_real_celery() -> None:
    done = run("-c", "import kombu, umbel; print(kombu.Connection)", UMBEL_AS_CELERY="1")
    assert done.stdout == "<class 'kombu.connection.Connection'>\n"
    assert "Celery's own kombu was imported before umbel, and stays in this process" in done.stderr


def test_the_command_has_celerys_name() -> None:
    done = run("-m", "celery", "worker", path=str(PACKAGES))
    assert done.returncode == 2
    assert "Usage: celery worker" in done.stderr
    assert "for example: celery -A tasks worker" in done.stderr
