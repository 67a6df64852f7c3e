"""What a worker logs of its tasks, held against what Celery's worker logged of the same ones."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import umbel
from tests.compat.log_cases import TASKS, lines
from umbel.testing.conformance.support import PATIENCE

GOLDEN = json.loads((Path(__file__).parent / "golden" / "logs.json").read_text("utf-8"))

HEAD = """
from umbel import Ignore, Reject, Umbel
from umbel.utils.log import get_task_logger

stop_in = 3600  # the test stops the worker when all have run
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
    place: dict[str, Any] = {"cwd": tmp_path, "env": environment, "text": True}
    send = [sys.executable, "-c", "import tasks; tasks.send()"]
    subprocess.run(send, timeout=PATIENCE, check=True, **place)
    worker = [sys.executable, "-m", "umbel", "-A", "tasks", "worker", "-P", "solo", "-l", "INFO"]
    with subprocess.Popen(
        worker, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, **place
    ) as running:
        hung = threading.Timer(PATIENCE, running.kill)
        hung.start()
        said = []
        for line in running.stderr or ():
            said.append(line)
            if "[8] succeeded" in line:  # the retry, which came to the queue last
                running.terminate()
        hung.cancel()
    assert running.returncode == 0
    ours, theirs = by_task(lines("".join(said))), by_task(GOLDEN["lines"])
    assert theirs.keys() == set("123456789")
    # Celery does not say why.
    assert ours.pop("9") == [
        *theirs.pop("9")[:-1],
        "INFO Discarding revoked task: proj.add[9] (expired)",
    ]
    assert ours == theirs
