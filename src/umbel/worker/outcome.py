"""What can become of a delivery that a worker took up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from umbel.definition import Policy
from umbel.exceptions import NotRegistered
from umbel.message import Call, Delivery, Publication
from umbel.outcomes import Ended, Failure, Ignored, Rejected, Retried, Success
from umbel.request import Request
from umbel.task import Task
from umbel.values import value

__all__ = [
    "Expired",
    "Failure",
    "Ignored",
    "Job",
    "Lost",
    "NotDue",
    "Outcome",
    "OverTime",
    "Postponed",
    "Prepared",
    "Rejected",
    "Retried",
    "Run",
    "Success",
    "Unknown",
    "Unprocessable",
    "Waiting",
    "call_of",
    "wants_value",
]


@dataclass(frozen=True, slots=True)
class Expired:
    """The message had expired before it could start."""


@dataclass(frozen=True, slots=True)
class NotDue:
    """The engine delivered the message before its time, in seconds since the epoch."""

    due: float


@dataclass(frozen=True, slots=True)
class Unknown:
    """The message names a task that this worker does not know; a newer one may, `wait` seconds later."""

    error: NotRegistered
    wait: float


@dataclass(frozen=True, slots=True)
class Unprocessable:
    """The message cannot be run here, ever.

    It cannot be read, or names a task that does not exist.
    """

    error: Exception
    reason: str


@dataclass(frozen=True, slots=True)
class Lost:
    """The process that held the delivery died.

    `running` when the task had started and not ended, and its process died of it, perhaps. `stopped` when
    somebody stopped the process, for which no task is to blame. `end` says why it does not run again, where
    that is decided.
    """

    reason: str
    running: bool
    end: str = ""
    stopped: bool = False


@dataclass(frozen=True, slots=True)
class OverTime:
    """The task exceeded its hard time limit, of so many seconds, and was killed with its process."""

    limit: float


@dataclass(frozen=True, slots=True)
class Postponed:
    """The task's rate limit is used up; the call has its turn then, in seconds since the epoch."""

    turn: float


Outcome = Ended | Expired | NotDue | Unknown | Unprocessable | Lost | OverTime | Postponed


@value
class Job:
    """A task to run, and the call that it is run for."""

    task: Task[Any, Any]
    call: Call
    request: Request


@value
class Prepared:
    """A delivery that was read: a job to run, or an outcome that is certain without running anything.

    `call` and `policy` are what is known of it, as far as it could be read.
    """

    delivery: Delivery
    work: Job | Outcome
    call: Call | None = None
    policy: Policy | None = None


@value
class Waiting:
    """A prepared delivery that has not started, and its place in the page."""

    index: int
    prepared: Prepared


def call_of(prepared: Prepared) -> Request | Call | None:
    """Return what is known of a delivery's call: its request, where there is a task to run."""
    return prepared.work.request if isinstance(prepared.work, Job) else prepared.call


def wants_value(prepared: Prepared) -> bool:
    """Tell whether what the task returns is to be stored: the message may say no, and so may the task."""
    ignored = prepared.policy is not None and prepared.policy.ignore_result
    return not (ignored or (prepared.call is not None and prepared.call.ignore_result))


@value
class Run:
    """A delivery and what became of it; `seconds` is how long the task ran.

    `follow` are the messages of what follows it.
    """

    prepared: Prepared
    outcome: Outcome
    seconds: float = 0.0
    follow: tuple[Publication, ...] = ()
