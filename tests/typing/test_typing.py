"""mypy and pyright find exactly the mistakes in calls.py."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

CALLS = Path(__file__).parent / "calls.py"
ROOT = Path(__file__).parents[2]
WRONG = {
    number
    for number, line in enumerate(CALLS.read_text("utf-8").splitlines(), 1)
    if line.endswith("# wrong")
}


def test_there_is_something_to_find() -> None:
    assert len(WRONG) > 10


def test_mypy_finds_every_wrong_call_and_no_other() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", str(CALLS)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    found = {int(line) for line in re.findall(r"calls\.py:(\d+): error", run.stdout)}
    assert found == WRONG, run.stdout + run.stderr


def test_pyright_finds_every_wrong_call_and_no_other() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "pyright", "--outputjson", str(CALLS)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    answer = json.loads(run.stdout)
    errors = [item for item in answer["generalDiagnostics"] if item["severity"] == "error"]
    found = {item["range"]["start"]["line"] + 1 for item in errors}
    assert found == WRONG, errors
