"""``celery._state``: which app and which task are current."""

from __future__ import annotations

from umbel.alias.packages import attributes_of
from umbel.current import (
    current_app,
    current_task,
    get_current_app,
    set_default_app,
)
from umbel.current import running_task as get_current_task

__all__ = [
    "current_app",
    "current_task",
    "get_current_app",
    "get_current_task",
    "set_default_app",
]
__getattr__ = attributes_of(
    "celery._state", {"app_or_default": "umbel.alias.celery.app:app_or_default"}
)
