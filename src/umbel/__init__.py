"""umbel: a distributed task queue with Celery's interface."""

from umbel._version import __version__
from umbel.app import Celery, Umbel, shared_task
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
from umbel.result import AsyncResult
from umbel.task import Task

__all__ = [
    "AsyncResult",
    "Broadcast",
    "Celery",
    "Exchange",
    "Ignore",
    "ImproperlyConfigured",
    "MaxRetriesExceededError",
    "NotRegistered",
    "OperationalError",
    "Queue",
    "Reject",
    "Retry",
    "Task",
    "TimeoutError",
    "Umbel",
    "UmbelError",
    "WorkerLostError",
    "__version__",
    "binding",
    "current_app",
    "current_task",
    "shared_task",
]
