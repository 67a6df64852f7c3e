"""Workers of projects that import celery: each of their processes has umbel for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.support import SOURCE, Start
from umbel import Umbel

PACKAGES = SOURCE.parent / "packages" / "umbel-as-celery" / "src"

#: A project as it was written for Celery, but for its broker.
PROJECT = """
import sys
from pathlib import Path

from celery import Celery
from celery.app.task import Task
from celery.utils.log import get_task_logger

here = Path(__file__).parent
url = "sqlite:///" + str(here / "umbel.db")
app = Celery("tasks", broker=url, backend=url)
logger = get_task_logger(__name__)


@app.task(bind=True)
def where(self):
    import celery.app.trace
    import subprocess

    logger.info("looking")
    line = "import umbel; from celery import Celery; print(Celery.__module__)"
    below = subprocess.run([sys.executable, "-Wignore", "-c", line], capture_output=True, text=True)
    return [celery.app.trace.__name__, isinstance(self, Task), below.stdout.strip()]
"""
IN_ITS_CODE = "import umbel\numbel.install_as_celery()\n"
#: A process that has threads is not forked: children are started from scratch.
THREAD = (
    "\nimport threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n"
)


@pytest.mark.parametrize(
    ("code", "before", "spawned"),
    [
        pytest.param(IN_ITS_CODE + PROJECT, "", False, id="installed, forked"),
        pytest.param(PROJECT + THREAD, "export UMBEL_AS_CELERY=1", True, id="variable, spawned"),
        pytest.param(
            PROJECT,
            f'export PYTHONPATH="{PACKAGES}:$PYTHONPATH"',
            False,
            id="distribution, forked",
        ),
    ],
)
def test_a_project_runs_unchanged(
    start: Start, app: Umbel, project: Path, code: str, before: str, spawned: bool
) -> None:
    (project / "tasks.py").write_text(code)
    worker = start("-c", "1", before=before)
    result = app.tasks["tasks.where"].delay()
    assert result.get(timeout=30) == ["umbel.trace", True, "umbel.app"], worker.text
    assert ("thread" in worker.text) is spawned
    assert "Traceback" not in worker.text
