"""Results that umbel and the real Celery store in one place: what holds wherever that is.

Celery's side is a process of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from umbel import Umbel
from umbel.clock import unique_id
from umbel.testing.conformance.support import PATIENCE

HERE = Path(__file__).parent
VALUES: dict[str, Any] = {
    "number": 3,
    "text": "grüße",
    "nothing": None,
    "list": [1, {"a": [True, None]}],
    "large": {"deep": {"er": [1.5, "x" * 5000]}},
}


class Theirs:
    """A process of Celery's."""

    def __init__(self, url: str, settings: dict[str, Any]) -> None:
        command = [sys.executable, str(HERE / "celery_results.py"), url, json.dumps(settings)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __call__(self, *words: Any) -> Any:
        """Give a command and return its answer."""
        self.begin(*words)
        return self.answer()

    def begin(self, *words: Any) -> None:
        assert self._process.stdin is not None
        print(json.dumps(words), file=self._process.stdin, flush=True)

    def answer(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(PATIENCE)
        self._process.stdout.close()


class Sides:
    """An app of umbel's and a process of Celery's, with the same settings and place for results."""

    def __init__(self, url: str, settings: dict[str, Any]) -> None:
        self.theirs = Theirs(url, settings)
        self.ours = Umbel("ours", broker="memory://", backend=url)
        self.ours.conf.update(settings)

    def close(self) -> None:
        self.theirs.close()
        self.ours.close()


class ResultsOfBoth:
    """What holds of the results of both `sides`."""

    @pytest.mark.filterwarnings("ignore")  # that pickle is accepted is said elsewhere
    @pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
    def test_values_of_each_are_read_by_the_other(self, sides: Sides, value: Any) -> None:
        ours, theirs = unique_id(), unique_id()
        sides.ours.backend.store_result(ours, value, "SUCCESS")
        assert sides.theirs("get", ours, 5) == ["value", value]
        sides.theirs("store", theirs, value, "SUCCESS")
        assert sides.ours.AsyncResult(theirs).state == "SUCCESS"
        assert sides.ours.AsyncResult(theirs).get(timeout=5) == value

    def test_errors_of_each_are_raised_by_the_other(self, sides: Sides) -> None:
        ours, theirs = unique_id(), unique_id()
        sides.ours.backend.store_result(ours, ValueError("of ours"), "FAILURE", "Traceback: ours")
        read = sides.theirs("get", ours, 5)
        assert read == ["error", "ValueError", ["of ours"], "Traceback: ours"]
        sides.theirs("fail", theirs, "of theirs")
        result = sides.ours.AsyncResult(theirs)
        with pytest.raises(ValueError, match="of theirs"):
            result.get(timeout=5)
        assert result.traceback == "Traceback: theirs"

    def test_what_one_forgets_is_gone_for_the_other(self, sides: Sides) -> None:
        ours, theirs = unique_id(), unique_id()
        sides.ours.backend.store_result(ours, 1, "SUCCESS")
        sides.theirs("store", theirs, 1, "SUCCESS")
        sides.theirs("forget", ours)
        sides.ours.AsyncResult(theirs).forget()
        assert sides.theirs("state", theirs) == "PENDING"
        assert sides.ours.AsyncResult(ours).state == "PENDING"
