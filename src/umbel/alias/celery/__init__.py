"""What is imported as ``celery``: the names of `umbel`, Celery's version, and Celery's modules below it."""

from __future__ import annotations

from umbel.alias.packages import attributes_of
from umbel.alias.versions import CELERY, version_info, version_info_t

SERIES = "umbel"
__version__ = CELERY
__author__ = "The umbel authors"
VERSION = version_info(CELERY)
VERSION_BANNER = f"{CELERY} ({SERIES})"
__all__ = [
    "Celery",
    "SERIES",
    "Task",
    "VERSION",
    "VERSION_BANNER",
    "bugreport",
    "current_app",
    "current_task",
    "maybe_patch_concurrency",
    "shared_task",
    "uuid",
    "version_info",
    "version_info_t",
]
version_info = VERSION  # type: ignore[assignment]


def maybe_patch_concurrency(*_: object, **__: object) -> None:
    """Do nothing: it is for gevent and eventlet, and umbel has no such executors."""


__getattr__ = attributes_of("celery", head="umbel")
