"""The distribution umbel-as-celery as pip installs it, in an environment of its own; needs an index."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow


class Environment:
    def __init__(self, place: Path) -> None:
        venv.create(place, with_pip=True)
        self.bin = place / ("Scripts" if sys.platform == "win32" else "bin")

    def run(self, command: str, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(self.bin / command), *words], capture_output=True, text=True, check=False
        )

    def pip(self, *words: str) -> str:
        done = self.run("python", "-m", "pip", "--disable-pip-version-check", *words)
        return done.stdout + done.stderr


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    made = Environment(tmp_path_factory.mktemp("environment"))
    said = made.pip("install", "--quiet", str(ROOT), str(ROOT / "packages" / "umbel-as-celery"))
    assert made.run("celery", "--version").returncode == 0, said
    return made


def test_packages_that_need_celery_are_satisfied(environment: Environment) -> None:
    said = environment.pip("install", "celery>=5.2,<6", "kombu>=5.5", "billiard>=4.2")
    assert "Requirement already satisfied: celery" in said
    assert "Collecting celery" not in said
    assert "No broken requirements found." in environment.pip("check")


def test_a_version_that_is_pinned_may_be_ours(environment: Environment) -> None:
    for version in ("5.7.0", "5.7.0+umbel.0"):
        said = environment.pip("install", f"celery=={version}")
        assert f"Requirement already satisfied: celery=={version}" in said


def test_an_extra_of_celerys_is_umbels(environment: Environment) -> None:
    said = environment.pip("install", "--dry-run", "celery[redis]")
    assert "umbel[redis]" in said
    assert "does not provide the extra" not in said


def test_pip_does_not_write_over_it(environment: Environment) -> None:
    assert "Cannot uninstall celery 5.7.0+umbel.0" in environment.pip("uninstall", "-y", "celery")
    assert environment.run("celery", "--version").returncode == 0


def test_its_metadata_is_found(environment: Environment) -> None:
    code = (
        "import importlib.metadata as m, celery;"
        "print(m.version('celery'), m.version('kombu'), m.version('billiard'), celery.Celery.__module__)"
    )
    said = environment.run("python", "-W", "error", "-c", code)
    assert said.stdout == "5.7.0+umbel.0 5.7.0+umbel.0 4.3.2+umbel.0 umbel.app\n", said.stderr
    report = environment.run("celery", "report").stdout
    assert "celery: 5.7.0+umbel.0, which is umbel's, by umbel-as-celery\n" in report


def test_it_leaves_as_a_whole(environment: Environment) -> None:
    environment.pip("uninstall", "-y", "umbel-as-celery")
    assert "celery" not in environment.pip("list")
    assert "No broken requirements found." in environment.pip("check")
