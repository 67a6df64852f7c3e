"""Every error umbel raises, in one tree::

    Exception
    └── UmbelError (CeleryError)
        ├── ImproperlyConfigured
        │   ├── SerializerNotInstalled   a serializer is not known, or its library not installed
        │   └── ModuleMissing            a setting names a module that is not there (a ModuleNotFoundError)
        ├── SecurityError                a worker would run what others may make it run, as root
        ├── OperationalError             the broker or the result store did not answer in time
        │   └── BrokerFull               it answered that it has no room left
        ├── LeaseLost                    a worker acted on deliveries that are no longer its own
        ├── Unroutable                   a message was sent to an exchange that passes it to no queue
        ├── SchedulingError              a periodic task could not be sent
        ├── EncodeError                  an argument or a result cannot be serialized
        │   └── MessageTooLarge          a call is larger than a worker would read
        ├── DecodeError                  a message or a result cannot be read
        │   └── ContentDisallowed        ... because its content type is not accepted
        ├── TaskError
        │   ├── NotRegistered            a task is named that this app does not have (a KeyError)
        │   ├── QueueNotFound            a queue is named that this app does not have (a KeyError)
        │   ├── TimeoutError             a result did not arrive in time
        │   ├── IncompleteStream         a task had not ended when what followed from it was asked for
        │   ├── ChordError               a task of a chord's header failed, so its body does not run
        │   ├── MaxRetriesExceededError
        │   ├── TaskRevokedError
        │   ├── WorkerLostError          the process that ran the task died
        │   ├── SoftTimeLimitExceeded
        │   ├── TimeLimitExceeded
        │   └── RemoteError              a task's exception whose class is not known here
        └── TaskPredicate                raised by a task to say what becomes of it
            ├── Retry
            ├── Ignore
            └── Reject
    UserWarning
    └── UmbelWarning (CeleryWarning)
        ├── AlwaysEagerIgnored           send_task sends, whatever task_always_eager says
        └── DuplicateTaskNameWarning     two functions are registered as one task

Engines translate the errors of their client libraries into this tree at their border.
"""

from __future__ import annotations

import builtins
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from umbel.absent import absent_from, tell_of_absent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime


class UmbelError(Exception):
    """Base of all errors of this package."""


CeleryError = UmbelError


class UmbelWarning(UserWarning):
    """Base of all warnings of this package."""


CeleryWarning = UmbelWarning


class AlwaysEagerIgnored(UmbelWarning):
    """A call is sent though ``task_always_eager`` is set: a task that is not known cannot run here."""


class DuplicateTaskNameWarning(UmbelWarning):
    """Two functions are registered under one task name; the first is kept."""


class ImproperlyConfigured(UmbelError):
    """A setting, an option or a URL is wrong; the text says which and what to do."""


class SerializerNotInstalled(ImproperlyConfigured):
    """A serializer is not known, or the library that it needs is not installed."""


class ModuleMissing(ImproperlyConfigured, ModuleNotFoundError):
    """A setting, or who loads settings, names a module that is not there."""


class SecurityError(UmbelError):
    """Something would be unsafe: how a worker is run, or the keys of signed messages; the text says why."""


class TaskError(UmbelError):
    """Base of what can become of a task beside its own exceptions."""


class NotRegistered(TaskError, KeyError):
    """A task was asked for by a name that the app does not know."""

    def __str__(self) -> str:
        """Show the text, which KeyError would put in quotes."""
        return str(self.args[0]) if self.args else ""


class QueueNotFound(TaskError, KeyError):
    """A queue was named that ``task_queues`` does not have, and may not be added."""

    def __str__(self) -> str:
        """Show the text, which KeyError would put in quotes."""
        return str(self.args[0]) if self.args else ""


class Unroutable(UmbelError):
    """A message was sent to an exchange that passes it on to no queue."""


class SchedulingError(UmbelError):
    """A periodic task could not be sent; the cause is what it failed with."""


class OperationalError(UmbelError):
    """The broker or the result store could not do its work in time."""

    passes: bool = True
    """Whether the same may work a moment later: not where a password or a name in the settings is wrong."""


class BrokerFull(OperationalError):
    """The broker has no room for the message: a full disk, a memory limit, or a queue that takes no more."""

    passes = False


class LeaseLost(UmbelError):
    """A consumer acted on leases that were taken from it, for example after it was frozen."""


class EncodeError(UmbelError):
    """A value cannot be serialized."""


class MessageTooLarge(EncodeError):
    """A call is larger, or nested more deeply, than a worker with the same settings would read."""


class DecodeError(UmbelError):
    """A message or a stored document cannot be read."""


class ContentDisallowed(DecodeError):
    """A message has a content type that ``accept_content`` does not list."""


class TimeoutError(TaskError, builtins.TimeoutError):
    """A result did not arrive within the time given to ``get``."""


class IncompleteStream(TaskError):
    """What followed from a task was asked for before all of it had ended."""


class ChordError(TaskError):
    """A task of a chord's header failed, so its body does not run; results that Celery stored have it."""


class MaxRetriesExceededError(TaskError):
    """A task was retried more often than its ``max_retries`` allows."""

    def __init__(
        self,
        *args: object,
        task_args: Sequence[Any] = (),
        task_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        self.task_args = task_args
        self.task_kwargs = {} if task_kwargs is None else task_kwargs
        super().__init__(*args)


class TaskRevokedError(TaskError):
    """The task was revoked, or expired before it started."""


class WorkerLostError(TaskError):
    """The process that ran the task died before the outcome was stored."""


class SoftTimeLimitExceeded(TaskError):
    """The task ran longer than its soft time limit."""


class TimeLimitExceeded(TaskError):
    """The task ran longer than its hard time limit and was killed."""


class RemoteError(TaskError):
    """A task failed with an exception whose class cannot be found in this process.

    ``type_name`` is the class as the worker named it, for example ``"payments.CardDeclined"``.
    """

    def __init__(self, type_name: str, *args: object) -> None:
        super().__init__(type_name, *args)
        self.type_name = type_name

    def __str__(self) -> str:
        """Read like the original: ``payments.CardDeclined: no funds``."""
        text = ", ".join(str(arg) for arg in self.args[1:])
        return f"{self.type_name}: {text}" if text else self.type_name

    def __reduce__(self) -> str | tuple[Any, ...]:
        """Travel by pickle without a stand-in's class, which is made where it is needed."""
        kind = type(self)
        if kind is RemoteError:
            return super().__reduce__()
        return remote_error, (kind.__module__, kind.__qualname__, *self.args[1:])


@lru_cache(maxsize=1024)  # bounded: the names come from outside
def _stand_in(module: str, name: str) -> type[RemoteError]:
    names = {"__module__": module, "__qualname__": name, "__doc__": f"{name} as {module} has it."}
    return type(name.rpartition(".")[2], (RemoteError,), names)


def remote_error(module: str, name: str, *args: object) -> RemoteError:
    """Return a RemoteError whose class has the names of one that is not known here."""
    full = f"{module}.{name}" if module else name
    try:
        kind = _stand_in(module, name)
    except (ValueError, UnicodeError):  # no name that a class can have
        kind = RemoteError
    return kind(full, *args)


class TaskPredicate(UmbelError):
    """Base of the exceptions by which a task says what is to become of it."""


@tell_of_absent
class Retry(TaskPredicate):
    """The task is to run again later; raised by ``self.retry``.

    ``when`` is the delay in seconds or the time of the next try; ``exc`` the exception that caused
    it; ``sig`` what will be sent.
    """

    def __init__(
        self,
        message: str | None = None,
        exc: BaseException | None = None,
        when: float | datetime | None = None,
        is_eager: bool = False,
        sig: Any = None,
    ) -> None:
        super().__init__(message, exc, when)
        self.message = message
        self.exc = exc
        self.when = when
        self.is_eager = is_eager
        self.sig = sig

    def humanize(self) -> str:
        """Say when the next try is due: ``in 3s`` or ``at 2026-01-01 12:00:00``."""
        return f"in {self.when}s" if isinstance(self.when, int | float) else f"at {self.when}"

    def __str__(self) -> str:
        """Read like Celery's log line."""
        if self.message:
            return self.message
        if self.exc is not None:
            return f"Retry {self.humanize()}: {self.exc!r}"
        return f"Retry {self.humanize()}"


RetryTaskError = Retry


class Ignore(TaskPredicate):
    """The task's outcome is not to be stored."""


class Reject(TaskPredicate):
    """The message is refused: put back when ``requeue``, else dead-lettered with ``reason``."""

    def __init__(self, reason: object = None, requeue: bool = False) -> None:
        super().__init__(reason, requeue)
        self.reason = reason
        self.requeue = requeue

    def __repr__(self) -> str:
        return f"reject requeue={self.requeue}: {self.reason}"


#: Errors that Celery has too, and in which of its modules: what travels is Celery's name for them.
CELERY_MODULES = {
    "ChordError": "celery.exceptions",
    "ImproperlyConfigured": "celery.exceptions",
    "IncompleteStream": "celery.exceptions",
    "MaxRetriesExceededError": "celery.exceptions",
    "NotRegistered": "celery.exceptions",
    "Reject": "celery.exceptions",
    "SecurityError": "celery.exceptions",
    "TaskError": "celery.exceptions",
    "TaskRevokedError": "celery.exceptions",
    "TimeoutError": "celery.exceptions",
    "SoftTimeLimitExceeded": "billiard.exceptions",
    "TimeLimitExceeded": "billiard.exceptions",
    "WorkerLostError": "billiard.exceptions",
    "ContentDisallowed": "kombu.exceptions",
    "DecodeError": "kombu.exceptions",
    "EncodeError": "kombu.exceptions",
    "OperationalError": "kombu.exceptions",
    "SerializerNotInstalled": "kombu.exceptions",
}


if not TYPE_CHECKING:  # to type checkers, what is not here is missing

    def __getattr__(name: str) -> Any:
        raise absent_from(__name__, name)
