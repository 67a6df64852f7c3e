"""What can become of a delivery that a worker took up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from umbel.exceptions import Retry
from umbel.message import Call, Delivery
from umbel.request import Request
from umbel.task import Policy, Task


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
class Rejected:
    """The task raised Reject."""

    reason: str
    requeue: bool


@dataclass(frozen=True, slots=True)
class Expired:
    """The message had expired before it could start."""


@dataclass(frozen=True, slots=True)
class NotDue:
    """The engine delivered the message before its time, in seconds since the epoch."""

    due: float


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

    `running` when the task had started and not ended.
    """

    reason: str
    running: bool


Outcome = Success | Failure | Retried | Ignored | Rejected | Expired | NotDue | Unprocessable | Lost


@dataclass(frozen=True, slots=True)
class Job:
    """A task to run, and the call that it is run for."""

    task: Task[Any, Any]
    call: Call
    request: Request


@dataclass(frozen=True, slots=True)
class Prepared:
    """A delivery that was read: a job to run, or an outcome that is certain without running anything.

    `call` and `policy` are what is known of it, as far as it could be read.
    """

    delivery: Delivery
    work: Job | Outcome
    call: Call | None = None
    policy: Policy | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """A delivery and what became of it; `seconds` is how long the task ran."""

    prepared: Prepared
    outcome: Outcome
    seconds: float = 0.0
