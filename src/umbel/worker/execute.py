"""From a delivery to an outcome: the only place that calls the code of tasks.

No broker, no store.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from collections.abc import Coroutine
from typing import Any

from umbel import current, signals, states
from umbel.app import Umbel
from umbel.exceptions import DecodeError, Ignore, NotRegistered, Reject, Retry
from umbel.message import Call, Delivery, decode, timestamp
from umbel.request import request_of
from umbel.task import Policy
from umbel.worker.outcome import (
    Expired,
    Failure,
    Ignored,
    Job,
    NotDue,
    Outcome,
    Prepared,
    Rejected,
    Retried,
    Run,
    Success,
    Unprocessable,
)
from umbel.worker.tracebacks import traceback_text


class Runner:
    """Prepares and runs deliveries in one child, one at a time; async tasks on one event loop."""

    def __init__(self, app: Umbel, hostname: str) -> None:
        self._app = app
        self._hostname = hostname
        self._settings = app.conf.snapshot
        self._policies: dict[str, Policy] = {}
        self._async: asyncio.Runner | None = None

    def prepare(self, delivery: Delivery) -> Prepared:
        """Read a delivery and find its task, or the reason why it cannot or must not run now."""
        self._follow_settings()
        try:
            call = decode(delivery.message, self._settings.accept_content, self._settings)
        except Exception as error:  # noqa: BLE001 - no message, whatever is in it, may stop a worker
            return Prepared(delivery, Unprocessable(error, f"{type(error).__name__}: {error}"))
        try:
            task = self._app.tasks[call.task]
        except NotRegistered as error:
            return Prepared(delivery, Unprocessable(error, f"NotRegistered: {error}"), call)
        policy = self._policies.get(call.task)
        if policy is None:
            policy = self._policies[call.task] = task.policy(self._settings)
        refused = _refused(call) or self._untimely(call)
        work = refused or Job(task, call, request_of(call, delivery, self._hostname))
        return Prepared(delivery, work, call, policy)

    def _follow_settings(self) -> None:
        """Take up settings that were written since."""
        if self._app.conf.snapshot is not self._settings:
            self._settings = self._app.conf.snapshot
            self._policies.clear()

    def _untimely(self, call: Call) -> Outcome | None:
        """Return an outcome for a call that has expired or is not due, None for one to run now."""
        if call.expires is None and call.eta is None:
            return None
        now = self._app.clock.time()
        expires = timestamp(call.expires)
        if expires is not None and now >= expires:
            return Expired()
        due = timestamp(call.eta)
        # Stores keep milliseconds: what is due within one is due.
        return NotDue(due) if due is not None and due > now + 0.001 else None

    def run(self, prepared: Prepared) -> Run:
        """Run a prepared delivery to its outcome. Nothing that the task does raises from here."""
        job = prepared.work
        if not isinstance(job, Job):
            self._announce_refusal(prepared, job)
            return Run(prepared, job)
        task, call = job.task, job.call
        clock = self._app.clock
        signals.task_received.send(task, request=job.request)
        token = current.running.set(job.request)
        signals.task_prerun.send(
            task, task_id=call.id, task=task, args=call.args, kwargs=call.kwargs
        )
        started = clock.monotonic()
        outcome = self._call(job)
        seconds = clock.monotonic() - started
        _announce(job, outcome)
        current.running.reset(token)
        return Run(prepared, outcome, seconds)

    def _announce_refusal(self, prepared: Prepared, outcome: Outcome) -> None:
        """Send the signals of a message that is not run."""
        delivery, call = prepared.delivery, prepared.call
        match outcome:
            case Expired() if call is not None:
                request = request_of(call, delivery, self._hostname)
                signals.task_revoked.send(
                    call.task, request=request, terminated=False, signum=None, expired=True
                )
            case Unprocessable(NotRegistered() as error, _) if call is not None:
                signals.task_unknown.send(
                    None, message=delivery.message, exc=error, name=call.task, id=call.id
                )
            case Unprocessable(error, _):
                signals.task_rejected.send(None, message=delivery.message, exc=error)

    def _call(self, job: Job) -> Outcome:
        """Call the task's function and turn whatever it does into an outcome."""
        try:
            value = job.task.run(*job.call.args, **job.call.kwargs)
            if inspect.iscoroutine(value):
                value = self._await(value)
            return Success(value)
        except Retry as retry:
            return Retried(job.task, retry, traceback_text(retry))
        except Ignore:
            return Ignored()
        except Reject as reject:
            return Rejected(str(reject.reason), bool(reject.requeue))
        except BaseException as error:  # noqa: BLE001 - tasks may raise anything, exits and cancellations too
            return _failed(job, error)

    def _await(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine on the event loop that lives as long as this child."""
        if self._async is None:
            self._async = asyncio.Runner()
        return self._async.run(coroutine, context=contextvars.copy_context())

    def close(self) -> None:
        """End the event loop."""
        if self._async is not None:
            self._async.close()


def _refused(call: Call) -> Outcome | None:
    """Return an outcome for a call that asks for more than this version does."""
    if not (call.callbacks or call.errbacks or call.chain or call.chord):
        return None
    error = DecodeError("The call is part of a workflow (callbacks, chain or chord).")
    return Unprocessable(error, f"{error} Workflows are not run yet; run it by a Celery worker.")


def _failed(job: Job, error: BaseException) -> Outcome:
    """Return the retry that the task asks for by itself, or the failure."""
    try:
        retry = job.task.autoretry(error)
    except BaseException as final:  # noqa: BLE001 - the error itself, or MaxRetriesExceededError
        error, retry = final, None
    if retry is not None:
        return Retried(job.task, retry, traceback_text(error))
    return Failure(error, traceback_text(error), isinstance(error, job.task.throws))


def _announce(job: Job, outcome: Outcome) -> None:
    """Send the signals of a task that ran."""
    task, call = job.task, job.call
    state: str = states.IGNORED
    value: Any = None
    match outcome:
        case Success(value):
            state = states.SUCCESS
            signals.task_success.send(task, result=value)
        case Failure(error, text):
            state, value = states.FAILURE, error
            signals.task_failure.send(
                task,
                task_id=call.id,
                exception=error,
                args=call.args,
                kwargs=call.kwargs,
                traceback=error.__traceback__,
                einfo=text,
            )
        case Retried(_, retry, text):
            state, value = states.RETRY, retry
            signals.task_retry.send(task, request=job.request, reason=retry, einfo=text)
    signals.task_postrun.send(
        task,
        task_id=call.id,
        task=task,
        args=call.args,
        kwargs=call.kwargs,
        retval=value,
        state=state,
    )
