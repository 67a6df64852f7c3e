"""Workflows are built and shown as in Celery 5.7; ``record_workflows.py`` recorded it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.compat.signature_cases import Kit
from tests.compat.workflow_cases import CASES, TEXTS, outcome
from tests.each import for_each
from umbel import Umbel, canvas

GOLDEN = Path(__file__).parent / "golden" / "workflows.json"
CELERY: dict[str, Any] = json.loads(GOLDEN.read_text(encoding="utf-8"))


def _kit() -> Kit:
    return Kit(Umbel("proj", broker="memory://", backend="memory://"), canvas)


@for_each("name", CASES)
def test_every_pair_of_kinds_joins_as_in_celery(name: str) -> None:
    found = json.loads(json.dumps(outcome(CASES[name], _kit())))
    assert found == CELERY["shapes"][name]


@for_each("name", TEXTS)
def test_workflows_are_shown_as_in_celery(name: str) -> None:
    assert outcome(TEXTS[name], _kit()) == CELERY["texts"][name]


def test_the_recording_is_of_this_table() -> None:
    assert CELERY["celery"] == "5.7.0"
    assert list(CELERY["shapes"]) == list(CASES), "run record_workflows.py"
    assert list(CELERY["texts"]) == list(TEXTS), "run record_workflows.py"
