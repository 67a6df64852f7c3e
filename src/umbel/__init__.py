"""umbel: a distributed task queue with Celery's interface."""

from typing import TYPE_CHECKING, Any

from umbel._version import __version__
from umbel.absent import absent_from as _absent_from
from umbel.alias import install_as_celery
from umbel.alias import install_if_told as _install_if_told
from umbel.app import Celery, Umbel
from umbel.bug_report import bugreport
from umbel.canvas import (
    Signature,
    chain,
    chord,
    chunks,
    group,
    maybe_signature,
    signature,
    subtask,
    xmap,
    xstarmap,
)
from umbel.clock import unique_id as uuid
from umbel.consuming import Consumer
from umbel.current import current_app, current_task
from umbel.entities import Broadcast, Exchange, Queue, binding
from umbel.exceptions import (
    Ignore,
    ImproperlyConfigured,
    MaxRetriesExceededError,
    NotRegistered,
    OperationalError,
    Reject,
    Retry,
    TimeoutError,
    UmbelError,
    WorkerLostError,
)
from umbel.registry import shared_task
from umbel.result import AsyncResult
from umbel.task import Task

__all__ = [
    "AsyncResult",
    "Broadcast",
    "Celery",
    "Consumer",
    "Exchange",
    "Ignore",
    "ImproperlyConfigured",
    "MaxRetriesExceededError",
    "NotRegistered",
    "OperationalError",
    "Queue",
    "Reject",
    "Retry",
    "Signature",
    "Task",
    "TimeoutError",
    "Umbel",
    "UmbelError",
    "WorkerLostError",
    "__version__",
    "binding",
    "bugreport",
    "chain",
    "chord",
    "chunks",
    "current_app",
    "current_task",
    "group",
    "install_as_celery",
    "maybe_signature",
    "shared_task",
    "signature",
    "subtask",
    "uuid",
    "xmap",
    "xstarmap",
]


if not TYPE_CHECKING:  # to type checkers, what is not here is missing

    def __getattr__(name: str) -> Any:
        raise _absent_from(__name__, name)


_install_if_told()
