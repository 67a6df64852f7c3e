"""What Celery has in ``celery.utils.log``: ``from umbel.utils.log import get_task_logger``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from umbel.absent import absent_from
from umbel.formatters import ColorFormatter
from umbel.loggers import (
    LOG_LEVELS,
    base_logger,
    get_logger,
    get_task_logger,
    mlevel,
    task_logger,
    worker_logger,
)
from umbel.redirected import LoggingProxy

__all__ = [
    "LOG_LEVELS",
    "ColorFormatter",
    "LoggingProxy",
    "base_logger",
    "get_logger",
    "get_task_logger",
    "mlevel",
    "task_logger",
    "worker_logger",
]


if not TYPE_CHECKING:  # to type checkers, what is not here is missing

    def __getattr__(name: str) -> Any:
        raise absent_from(__name__, name)
