"""What is done with signatures comes to what it does in Celery 5.7; ``record_signatures.py`` recorded it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.compat.signature_cases import CASES, Kit, outcome
from umbel import Umbel, canvas

GOLDEN = Path(__file__).parent / "golden" / "signatures.json"
CELERY: dict[str, Any] = json.loads(GOLDEN.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", CASES)
def test_comes_to_what_it_does_in_celery(name: str) -> None:
    app = Umbel("proj", broker="memory://", backend="memory://")
    assert outcome(CASES[name], Kit(app, canvas)) == CELERY["signatures"][name]


def test_the_recording_is_of_this_table() -> None:
    assert CELERY["celery"] == "5.7.0"
    assert list(CELERY["signatures"]) == list(CASES), "run record_signatures.py"
