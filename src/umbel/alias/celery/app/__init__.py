"""``celery.app``: the app's class, and which app is meant."""

from __future__ import annotations

from umbel.alias.packages import attributes_of
from umbel.app import Celery, Umbel
from umbel.bug_report import bugreport
from umbel.current import current_app as default_app
from umbel.current import get_current_app
from umbel.registry import shared_task

__all__ = ["Celery", "app_or_default", "bugreport", "default_app", "shared_task"]


def app_or_default(app: Umbel | None = None) -> Umbel:
    """Return the app that is given, else the current one."""
    return get_current_app() if app is None else app


__getattr__ = attributes_of("celery.app", head="umbel.app")
