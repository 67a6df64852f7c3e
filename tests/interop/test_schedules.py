"""Crontabs are due when real Celery's are: others each time, also in zones whose clocks are turned."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.support import SOURCE

#: Celery is not to be imported where other tests run: what it raises would be looked up there.
SCRIPT = "tests.interop.crontabs"


@pytest.mark.parametrize("count", [200, pytest.param(5000, marks=pytest.mark.slow)])
def test_a_crontab_is_due_when_celerys_is(count: int) -> None:
    found = subprocess.run(
        [sys.executable, "-m", SCRIPT, str(count)],
        cwd=Path(SOURCE).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stdout + found.stderr
    assert "seed" in found.stdout
