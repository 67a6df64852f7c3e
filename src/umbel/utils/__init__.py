"""What Celery has in ``celery.utils`` for everyone: ``from umbel.utils import uuid``."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from umbel.absent import absent_from
from umbel.clock import unique_id as uuid
from umbel.entities import worker_direct
from umbel.loggers import LOG_LEVELS
from umbel.utils.functional import chunks, memoize, noop
from umbel.utils.imports import import_from_cwd, instantiate
from umbel.utils.imports import qualname as get_full_cls_name
from umbel.utils.imports import symbol_by_name as get_cls_by_name
from umbel.utils.nodenames import nodename, nodesplit

gen_unique_id = uuid

__all__ = [
    "LOG_LEVELS",
    "cached_property",
    "chunks",
    "gen_unique_id",
    "get_cls_by_name",
    "get_full_cls_name",
    "import_from_cwd",
    "instantiate",
    "memoize",
    "nodename",
    "nodesplit",
    "noop",
    "uuid",
    "worker_direct",
]


if not TYPE_CHECKING:  # to type checkers, what is not here is missing

    def __getattr__(name: str) -> Any:
        raise absent_from(__name__, name)
