"""From an outcome to everything that must become true. Pure: the same run gives the same verdict.

That includes the tags of what follows a task, so that a verdict that is decided and settled twice, because the
process died in between, has the effect of one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from umbel import records, states
from umbel.clock import Clock, utc
from umbel.exceptions import EncodeError, TaskRevokedError, WorkerLostError
from umbel.message import Call, Delivery, Publication
from umbel.ports import Action, Settlement
from umbel.publish import build, derived_tag
from umbel.records import ResultRecord, TaskResult
from umbel.routing import Route
from umbel.settings import Settings
from umbel.task import Again, Policy
from umbel.worker.outcome import (
    Expired,
    Failure,
    Ignored,
    Lost,
    NotDue,
    Prepared,
    Rejected,
    Retried,
    Run,
    Success,
    Unprocessable,
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to be settled, and the run it comes from.

    The run's outcome is the final one: a success whose value cannot be stored has become a failure.
    """

    run: Run
    settlement: Settlement


def decide(run: Run, settings: Settings, clock: Clock) -> Verdict:
    """Return the verdict on a run."""
    delivery = run.prepared.delivery
    match run.outcome:
        case Success():
            return _success(run, settings, clock)
        case Failure(error, traceback):
            return _failure(run, error, traceback, settings, clock)
        case Retried():
            return _retry(run, settings, clock)
        case Ignored():
            settlement = Settlement(delivery)
        case Expired():
            result = _record(
                run, states.REVOKED, TaskRevokedError("expired"), None, settings, clock
            )
            settlement = Settlement(delivery, result=result)
        case NotDue(due):
            settlement = Settlement(delivery, Action.PARK, due=due)
        case Rejected(reason, requeue):
            if requeue:
                settlement = Settlement(delivery, Action.REQUEUE)
            else:
                settlement = _dead(run, f"Rejected by the task: {reason}", settings, clock)
        case Unprocessable(error, reason):
            result = _record(run, states.FAILURE, error, None, settings, clock)
            settlement = _dead(run, reason, settings, clock, result=result)
        case Lost():
            return _lost(run, settings, clock)
    return Verdict(run, settlement)


def _success(run: Run, settings: Settings, clock: Clock) -> Verdict:
    assert isinstance(run.outcome, Success)  # noqa: S101 - see decide
    if not _wants_result(run, settings):
        return Verdict(run, Settlement(run.prepared.delivery))
    try:
        record = _record(run, states.SUCCESS, run.outcome.value, None, settings, clock)
    except EncodeError as error:
        name = run.prepared.call.task if run.prepared.call else "?"
        explained = EncodeError(
            f"{name} returned {type(run.outcome.value).__name__}, which cannot be stored: {error}. Return plain"
            " data, or set ignore_result."
        )
        failed = Run(run.prepared, Failure(explained, ""), run.seconds)
        return _failure(failed, explained, "", settings, clock)
    return Verdict(run, Settlement(run.prepared.delivery, result=record))


def _failure(
    run: Run, error: BaseException, traceback: str, settings: Settings, clock: Clock
) -> Verdict:
    record = None
    if _wants_result(run, settings, error=True):
        record = _record(run, states.FAILURE, error, traceback, settings, clock)
    return Verdict(run, Settlement(run.prepared.delivery, result=record))


def _retry(run: Run, settings: Settings, clock: Clock) -> Verdict:
    """Send the call again and remember why, in one step with the acknowledgement."""
    prepared = run.prepared
    assert isinstance(run.outcome, Retried) and prepared.task and prepared.call  # noqa: S101
    retry = run.outcome.retry
    if not isinstance(retry.sig, Again):
        error = TypeError(
            f"{prepared.task.name} raised a Retry of its own; use `raise self.retry(...)`."
        )
        return _failure(
            Run(prepared, Failure(error, run.outcome.traceback), run.seconds),
            error,
            run.outcome.traceback,
            settings,
            clock,
        )
    record = None
    if _wants_result(run, settings):
        record = _record(
            run, states.RETRY, retry.exc, run.outcome.traceback, settings, clock
        )
    publication = _publication(prepared, retry.sig, settings, clock)
    return Verdict(run, Settlement(prepared.delivery, result=record, publish=(publication,)))


def _publication(
    prepared: Prepared, again: Again, settings: Settings, clock: Clock
) -> Publication:
    assert prepared.task is not None  # noqa: S101 - only tasks that ran are retried
    options = again.options
    where = Route(options.queue or prepared.delivery.queue, options.priority)
    tag = derived_tag(prepared.delivery.tag, f"retry {options.retries}")
    return build(
        prepared.task.template(settings),
        again.args,
        again.kwargs,
        options,
        where,
        settings,
        clock,
        tag=tag,
    )


def _lost(run: Run, settings: Settings, clock: Clock) -> Verdict:
    """Decide on a delivery whose process died.

    At most once: it fails. At least once: it runs again, but only so often if it was what ran when its
    processes died.
    """
    prepared = run.prepared
    delivery, lost = prepared.delivery, run.outcome
    assert isinstance(lost, Lost)  # noqa: S101 - see decide
    policy = prepared.policy or default_policy(settings)
    if delivery.early or not policy.reject_on_worker_lost:
        error = WorkerLostError(lost.reason)
        record = None
        if _wants_result(run, settings, error=True):
            record = _record(run, states.FAILURE, error, None, settings, clock)
        return Verdict(run, Settlement(delivery, result=record))
    crashes = delivery.crashes + (1 if lost.running else 0)
    if crashes < settings.worker_max_deliveries:
        return Verdict(run, Settlement(delivery, Action.REQUEUE, crashed=lost.running))
    reason = f"{crashes} processes died running it, the last one: {lost.reason}"
    record = _record(run, states.FAILURE, WorkerLostError(reason), None, settings, clock)
    return Verdict(run, _dead(run, reason, settings, clock, result=record, crashed=True))


def default_policy(settings: Settings) -> Policy:
    """Return what holds for a task that this app does not know."""
    return Policy(
        acks_late=settings.task_acks_late,
        reject_on_worker_lost=settings.task_reject_on_worker_lost,
        ignore_result=settings.task_ignore_result,
        store_errors_even_if_ignored=settings.task_store_errors_even_if_ignored,
        track_started=settings.task_track_started,
    )


def started(prepared: Prepared, hostname: str, pid: int) -> ResultRecord | None:
    """Return the record of a task that is about to start, where its policy wants one."""
    call, policy = prepared.call, prepared.policy
    if call is None or policy is None or not policy.track_started or policy.ignore_result:
        return None
    value = {"pid": pid, "hostname": hostname}
    return records.encode(TaskResult(call.id, states.STARTED, value))


def _wants_result(run: Run, settings: Settings, error: bool = False) -> bool:
    """Tell whether the outcome is to be stored: the message's word counts most, then the task's."""
    call, policy = run.prepared.call, run.prepared.policy or default_policy(settings)
    ignored = policy.ignore_result or bool(call and call.ignore_result)
    return not ignored or (error and policy.store_errors_even_if_ignored)


def _record(
    run: Run, state: str, value: Any, traceback: str | None, settings: Settings, clock: Clock
) -> ResultRecord | None:
    """Return the result to store; None for a message of which not even the id is known."""
    task_id = _task_id(run.prepared.call, run.prepared.delivery)
    if task_id is None:
        return None
    now = clock.time()
    call = run.prepared.call
    result = TaskResult(
        task_id=task_id,
        state=state,
        result=value,
        traceback=traceback or None,
        date_done=utc(now) if state in states.READY_STATES else None,
        parent_id=call.parent_id if call else None,
        group_id=call.group_id if call else None,
    )
    expires = None if settings.result_expires is None else now + settings.result_expires
    return records.encode(result, expires)


def _task_id(call: Call | None, delivery: Delivery) -> str | None:
    return call.id if call else delivery.message.task_id


def _dead(
    run: Run,
    reason: str,
    settings: Settings,
    clock: Clock,
    result: ResultRecord | None = None,
    crashed: bool = False,
) -> Settlement:
    kept = settings.worker_dead_letter_expires
    expires = None if kept is None else clock.time() + kept
    return Settlement(
        run.prepared.delivery,
        Action.DEAD_LETTER,
        result=result,
        reason=reason,
        expires=expires,
        crashed=crashed,
    )
