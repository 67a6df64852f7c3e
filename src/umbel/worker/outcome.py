"""What can become of a delivery that a worker took up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from umbel.backend import call_info, children_of
from umbel.definition import Policy
from umbel.exceptions import NotRegistered
from umbel.message import Call, Delivery, Publication
from umbel.outcomes import Ended, Failure, Ignored, Rejected, Retried, Success
from umbel.ports import GroupOpening
from umbel.records import CallInfo
from umbel.request import Request
from umbel.settings import Settings
from umbel.task import Task
from umbel.values import value

__all__ = [
    "Condemned",
    "Copied",
    "Failure",
    "Ignored",
    "Interrupted",
    "Job",
    "Lost",
    "NotDue",
    "Outcome",
    "OverTime",
    "Postponed",
    "Prepared",
    "Rejected",
    "Retried",
    "Revoked",
    "Run",
    "Success",
    "Unknown",
    "Unprocessable",
    "Waiting",
    "about",
    "call_of",
    "is_early",
    "marked",
    "wants_value",
]


@dataclass(frozen=True, slots=True)
class Revoked:
    """The call is not to run, or not to go on; `why` is what its result says.

    It had ``expired`` before it could start, or was ``revoked``, perhaps by a stamp that it has; or it was
    ``terminated`` while it ran, by a signal.
    """

    why: str = "revoked"
    signum: int | None = None
    stamp: Mapping[str, Any] | None = None


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
    that is decided, and `error` is what it has failed by then.
    """

    reason: str
    running: bool
    end: str = ""
    stopped: bool = False
    error: BaseException | None = None


@dataclass(frozen=True, slots=True)
class Condemned:
    """The message says itself that so many processes died running it, which is enough.

    So it is where nobody takes over from the dead, and their broker delivers it again.
    """

    crashes: int
    job: Job


@dataclass(frozen=True, slots=True)
class Interrupted:
    """The message says itself that it had begun, and it may run only once: its process died."""

    job: Job


@dataclass(frozen=True, slots=True)
class OverTime:
    """The task exceeded its hard time limit, of so many seconds, and was killed with its process."""

    limit: float


@dataclass(frozen=True, slots=True)
class Postponed:
    """The task's rate limit is used up; the call has its turn then, in seconds since the epoch."""

    turn: float


@dataclass(frozen=True, slots=True)
class Copied:
    """Another copy of the message was taken up before, and is the one that runs."""


Outcome = (
    Ended
    | Revoked
    | NotDue
    | Unknown
    | Unprocessable
    | Lost
    | Condemned
    | Interrupted
    | OverTime
    | Postponed
    | Copied
)


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


def asker_of(delivery: Delivery) -> Call | None:
    """Return who waits for the result of a call that cannot be read, as its message says beside its body."""
    message = delivery.message
    asker, correlation = (message.properties.get(name) for name in ("reply_to", "correlation_id"))
    if not (message.task_id and isinstance(asker, str) and asker):
        return None
    known = correlation if isinstance(correlation, str) else None
    return Call("", message.task_id, reply_to=asker, correlation_id=known)


def ignores_result(policy: Policy | None, call: Call | None) -> bool:
    """Tell whether no result is to be stored: the message counts where it says so or not, else the task."""
    said = None if call is None else call.ignore_result
    return said if said is not None else policy is not None and policy.ignore_result


def wants_value(prepared: Prepared) -> bool:
    """Tell whether what the task returns is to be stored."""
    return not ignores_result(prepared.policy, prepared.call)


@value
class Run:
    """A delivery and what became of it; `seconds` is how long the task ran.

    `follow` are the messages of what follows it, and `openings` the chords that begin with them.
    """

    prepared: Prepared
    outcome: Outcome
    seconds: float = 0.0
    follow: tuple[Publication, ...] = ()
    openings: tuple[GroupOpening, ...] = ()


def is_early(item: Prepared) -> bool:
    """Tell whether a delivery is acknowledged before it starts: at most once."""
    return isinstance(item.work, Job) and item.policy is not None and not item.policy.acks_late


def marked(item: Prepared) -> Prepared:
    """Return it with the mark the broker has now: giving it up must not deliver it again."""
    return replace(item, delivery=replace(item.delivery, early=True))


def about(prepared: Prepared, settings: Settings) -> tuple[list[Any] | None, CallInfo | None]:
    """Return what a result says of its call beside the ids: the calls that it made, and its arguments."""
    work, extended = prepared.work, settings.result_extended
    if isinstance(work, Job):
        request = work.request
        # Which it has as soon as somebody has asked for them.
        children = children_of(request, settings) if "children" in request.__dict__ else []
        return children, call_info(request) if extended else None
    if prepared.call is None or not extended:
        return [], None
    return [], _call_that_did_not_run(prepared.call, prepared.delivery.queue)


def _call_that_did_not_run(call: Call, queue: str) -> CallInfo:
    return CallInfo(
        name=call.task,
        args=call.args,
        kwargs=call.kwargs,
        retries=call.retries,
        queue=queue,
        stamped_headers=call.stamped_headers,
        stamps=call.stamps,
    )


def is_given_back(run: Run) -> bool:
    """Tell whether a call ended because it was cancelled, and is to run again elsewhere."""
    job = run.prepared.work
    return isinstance(run.outcome, Ignored) and isinstance(job, Job) and job.request.given_back
