"""Celery's side of results: a process of its own that stores and reads what it is told, line by line.

Each line of its input is a JSON list: a word and what belongs to it. Each is answered by a line of JSON.
"""

# Celery has no type information, and need not be installed to type-check.
# mypy: disable-error-code="import-not-found,import-untyped,no-untyped-call"

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import celery


def main() -> None:
    """Serve until the input ends. Arguments: URL of the backend, settings as JSON."""
    url, settings = sys.argv[1], json.loads(sys.argv[2])
    app = celery.Celery("theirs", broker="memory://", backend=url)
    app.conf.update(settings)
    for line in sys.stdin:
        word, *rest = json.loads(line)
        print(json.dumps(_COMMANDS[word](app, *rest)), flush=True)


def _store(app: Any, task_id: str, value: Any, state: str) -> None:
    app.backend.store_result(task_id, value, state)


def _fail(app: Any, task_id: str, text: str) -> None:
    app.backend.store_result(task_id, ValueError(text), "FAILURE", traceback="Traceback: theirs")


def _get(app: Any, task_id: str, timeout: float) -> list[Any]:
    result = app.AsyncResult(task_id)
    try:
        return ["value", result.get(timeout=timeout)]
    except Exception as error:  # noqa: BLE001 - whatever it is, it is told
        return ["error", type(error).__name__, [str(one) for one in error.args], result.traceback]


def _state(app: Any, task_id: str) -> str:
    return str(app.AsyncResult(task_id).state)


def _forget(app: Any, task_id: str) -> None:
    app.AsyncResult(task_id).forget()


def _save(app: Any, group: str, members: list[str]) -> None:
    app.GroupResult(group, [app.AsyncResult(one) for one in members]).save()


def _restore(app: Any, group: str) -> list[str]:
    return [one.id for one in app.GroupResult.restore(group)]


_COMMANDS: dict[str, Callable[..., Any]] = {
    "store": _store,
    "fail": _fail,
    "get": _get,
    "state": _state,
    "forget": _forget,
    "save": _save,
    "restore": _restore,
}

if __name__ == "__main__":
    main()
