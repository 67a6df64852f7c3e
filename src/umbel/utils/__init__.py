"""What Celery has in ``celery.utils`` for everyone: ``from umbel.utils import uuid``."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from umbel.absent import absent_from
from umbel.clock import unique_id as uuid
from umbel.entities import worker_direct
from umbel.loggers import LOG_LEVELS

gen_unique_id = uuid

__all__ = ["LOG_LEVELS", "cached_property", "gen_unique_id", "uuid", "worker_direct"]


if not TYPE_CHECKING:  # to type checkers, what is not here is missing

    def __getattr__(name: str) -> Any:
        raise absent_from(__name__, name)
