"""``celery.app.utils``: the class of settings, and finding an app by its name."""

from __future__ import annotations

from umbel.bug_report import bugreport
from umbel.settings import Config as Settings
from umbel.worker.bootstrap import find_app

__all__ = ["Settings", "bugreport", "find_app"]
