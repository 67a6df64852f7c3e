"""Commands that an app starts by itself."""

from __future__ import annotations

import os
import subprocess
import sys
import types
from pathlib import Path

import pytest

from umbel import Umbel
from umbel.programs import let_processes_import, place_of
from umbel.testing.conformance.support import until

SCRIPT = """
import sys

from umbel import Umbel
from umbel.testing.conformance.support import until

first = Umbel("other", broker="memory://", set_as_current=False)
second = Umbel("proj", broker="memory://")


@second.on_after_fork.connect
def forked(sender, **_):
    if len(sys.argv) > 1:
        open(sys.argv[1], "w").close()


@second.task
def greet(name):
    return name


if __name__ == "__main__":
    second.{call}
"""


def run(tmp_path: Path, call: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a script from another directory than its own."""
    directory = tmp_path / "scripts"
    directory.mkdir()
    (directory / "jobs.py").write_text(SCRIPT.format(call=call))
    return subprocess.run(
        [sys.executable, str(directory / "jobs.py"), *words],
        cwd=tmp_path,
        env={**os.environ, "UMBEL_DATA_DIR": str(tmp_path), "PYTHONPATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_an_app_runs_commands_for_itself(tmp_path: Path) -> None:
    done = run(tmp_path, 'start(["list", "tasks"])')
    assert (done.returncode, done.stderr) == (0, "")
    assert "jobs.greet" in done.stdout


def test_an_app_runs_the_words_of_its_process(tmp_path: Path) -> None:
    done = run(tmp_path, "start()", "queues", "--help")
    assert done.returncode == 0
    assert "Show what waits" in done.stdout


def test_a_worker_must_be_named(tmp_path: Path) -> None:
    app = Umbel("proj", broker="memory://")
    with pytest.raises(ValueError, match=r"which its words do not name\..* app\.start runs other"):
        app.worker_main(["queues"])
    done = run(tmp_path, "worker_main()", "worker", "--help")
    assert done.returncode == 0
    assert "Start a worker" in done.stdout


@pytest.mark.slow
def test_an_app_runs_a_worker_of_itself(tmp_path: Path) -> None:
    directory = tmp_path / "scripts"
    directory.mkdir()
    script, done, forked = directory / "jobs.py", tmp_path / "done", tmp_path / "forked"
    text = SCRIPT.replace("return name", "open(name, 'w').close()").replace(
        'Umbel("proj", broker="memory://")', 'Umbel("proj")'
    )
    script.write_text(text.format(call='worker_main(["worker", "-c", "1", "-l", "INFO"])'))
    environ = {**os.environ, "UMBEL_DATA_DIR": str(tmp_path), "PYTHONPATH": ""}
    Umbel("client", broker=f"sqlite:///{tmp_path / 'umbel.db'}").send_task(
        "jobs.greet", [str(done)]
    )
    with subprocess.Popen(
        [sys.executable, str(script), str(forked)], cwd=tmp_path, env=environ
    ) as worker:
        try:
            until(done.exists, 60)
            assert forked.exists()
        finally:
            worker.terminate()
        assert worker.wait(60) == 0


def test_where_an_app_is_changes_nothing_and_processes_are_let_in_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asking where an app is used to put a directory into PYTHONPATH."""
    script = types.ModuleType("__main__")
    script.__file__ = str(tmp_path / "jobs.py")
    monkeypatch.setitem(sys.modules, "__main__", script)
    monkeypatch.setenv("PYTHONPATH", "before")
    made = "from umbel import Umbel; proj = Umbel('proj', set_as_current=False)"
    exec(made, script.__dict__)  # noqa: S102 - it stands for the script that was started
    assert place_of(script.proj) == "jobs:proj"
    assert os.environ["PYTHONPATH"] == "before"
    let_processes_import(script.proj)
    assert os.environ["PYTHONPATH"] == os.pathsep.join([str(tmp_path), "before"])


def test_a_module_needs_no_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    app = Umbel("proj", set_as_current=False)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    assert place_of(app) == __name__
    let_processes_import(app)
    assert "PYTHONPATH" not in os.environ
