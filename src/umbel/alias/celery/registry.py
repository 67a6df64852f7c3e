"""``celery.registry``: the tasks of the current app."""

from __future__ import annotations

from typing import Any

from umbel.current import get_current_app


def __getattr__(name: str) -> Any:
    if name == "tasks":
        return get_current_app().tasks
    raise AttributeError(f"module 'celery.registry' has no attribute {name!r}")
