"""What a worker logs of its tasks, held against what Celery's worker logged of the same ones."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import umbel
from tests.compat.log_cases import TASKS, lines
from umbel.testing.conformance.support import PATIENCE

GOLDEN = json.loads((Path(__file__).parent / "golden" / "logs.json").read_text("utf-8"))

HEAD = """
from umbel import Ignore, Reject, Umbel
from umbel.utils.log import get_task_logger

stop_in = 1
app = Umbel("tasks", broker="sqlite:///" + here + "/umbel.db")
"""


def by_task(said: Iterable[str]) -> dict[str, list[str]]:
    """Return the lines of each task, in their order: which task is next is the broker's affair."""
    found: dict[str, list[str]] = {}
    task = ""
    for line in said:
        match = re.search(r"\[(\d)\]", line)
        task = match[1] if match else task  # a line that names none belongs to what runs
        found.setdefault(task, []).append(line)
    return found


def test_lines_are_celerys(tmp_path: Path) -> None:
    (tmp_path / "tasks.py").write_text(f"here = {str(tmp_path)!r}\n" + HEAD + TASKS)
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(umbel.__file__).parents[1]),
        "XDG_RUNTIME_DIR": str(tmp_path),
    }
    for words in (
        ["-c", "import tasks; tasks.send()"],
        ["-m", "umbel", "-A", "tasks", "worker", "-P", "solo", "-l", "INFO"],
    ):
        ended = subprocess.run(
            [sys.executable, *words],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=True,
        )
    ours, theirs = by_task(lines(ended.stderr)), by_task(GOLDEN["lines"])
    assert theirs.keys() == set("123456789")
    # Celery does not say why.
    assert ours.pop("9") == [
        *theirs.pop("9")[:-1],
        "INFO Discarding revoked task: proj.add[9] (expired)",
    ]
    assert ours == theirs
