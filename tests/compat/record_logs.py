"""Record what a worker of real Celery 5.7.0 logs of its tasks, as ``golden/logs.json``.

Run by hand like ``record_golden.py``, from the root of the repository, with Celery installed::

    python -m tests.compat.record_logs [output file]

A worker runs in a process of its own, with the pool ``solo`` and a broker in a directory, so that no
server is needed.
"""

# Celery has no type information, and need not be installed to type-check.

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.compat.log_cases import TASKS, lines

SETTINGS = """
from celery import Celery
from celery.exceptions import Ignore, Reject
from celery.utils.log import get_task_logger

stop_in = 3
app = Celery("tasks", broker="filesystem://")
app.conf.broker_transport_options = {
    "data_folder_in": here + "/queue", "data_folder_out": here + "/queue",
    "control_folder": here + "/control", "store_processed": False,
}
"""


def record(directory: Path) -> list[str]:
    """Return the lines that a worker logs of its tasks."""
    for name in ("queue", "control"):
        (directory / name).mkdir()
    head = f"here = {str(directory)!r}\n"
    (directory / "tasks.py").write_text(head + SETTINGS + TASKS)
    subprocess.run([sys.executable, "-c", "import tasks; tasks.send()"], cwd=directory, check=True)
    words = [sys.executable, "-m", "celery", "-A", "tasks", "worker", "-P", "solo", "-l", "INFO"]
    words += ["--without-gossip", "--without-mingle"]
    ended = subprocess.run(
        words, cwd=directory, capture_output=True, text=True, timeout=60, check=False
    )
    return lines(ended.stderr)


def main(argv: list[str]) -> int:
    """Record into the file named in ``argv``."""
    path = Path(argv[0]) if argv else Path(__file__).parent / "golden" / "logs.json"
    with tempfile.TemporaryDirectory() as directory:
        found = record(Path(directory))
    version = subprocess.run(
        [sys.executable, "-c", "import celery; print(celery.__version__)"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    text = json.dumps({"celery": version, "lines": found}, indent=1, ensure_ascii=False)
    path.write_text(re.sub(r"[ ]+$", "", text, flags=re.MULTILINE) + "\n")
    print(f"{len(found)} lines")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
