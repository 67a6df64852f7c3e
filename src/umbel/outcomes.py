"""What can become of a task that ran."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from umbel import states
from umbel.exceptions import Reject, Retry
from umbel.values import value

if TYPE_CHECKING:
    from umbel.task import Task


@value
class Success:
    """The task returned a value."""

    value: Any


@dataclass(frozen=True, slots=True)
class Failure:
    """The task raised an exception; `expected` when it is one of the task's ``throws``."""

    error: BaseException
    traceback: str
    expected: bool = False


@dataclass(frozen=True, slots=True)
class Retried:
    """The task wants to run again; ``retry.sig`` says how."""

    task: Task[Any, Any]
    retry: Retry
    traceback: str


@dataclass(frozen=True, slots=True)
class Ignored:
    """The task raised Ignore: nothing is stored."""

    error: BaseException | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Rejected:
    """The task raised Reject."""

    reason: str
    requeue: bool
    error: Reject | None = field(default=None, compare=False)


Ended = Success | Failure | Retried | Ignored | Rejected


def ending(outcome: Ended | None) -> tuple[str | None, Any]:
    """Return the state that an outcome is, and what the task returned or raised."""
    match outcome:
        case Success(value):
            return states.SUCCESS, value
        case Failure(error):
            return states.FAILURE, error
        case Retried(_, retry):
            return states.RETRY, retry
        case Rejected(_, _, error):
            return states.REJECTED, error
        case Ignored(error):
            return states.IGNORED, error
    return None, None
