"""From a delivery to an outcome: the only place that calls the code of tasks. No broker, no store."""

from __future__ import annotations

import asyncio
import contextvars
import traceback
from collections.abc import Coroutine
from types import TracebackType
from typing import Any

from umbel import current, signals
from umbel.app import Umbel
from umbel.exceptions import DecodeError, Ignore, NotRegistered, Reject, Retry
from umbel.message import Call, Delivery, decode, timestamp
from umbel.request import request_of
from umbel.settings import zone
from umbel.task import Policy
from umbel.worker.outcome import (
    Expired,
    Failure,
    Ignored,
    NotDue,
    Outcome,
    Prepared,
    Rejected,
    Retried,
    Run,
    Success,
    Unprocessable,
)

#: Most characters of a traceback that are kept.
TRACEBACK_LIMIT = 65536


class Runner:
    """Prepares and runs deliveries in one child, one at a time; async tasks on one event loop."""

    def __init__(self, app: Umbel, hostname: str) -> None:
        self._app = app
        self._hostname = hostname
        self._settings = app.conf.snapshot
        self._zone = zone(self._settings)
        self._policies: dict[str, Policy] = {}
        self._async: asyncio.Runner | None = None

    def prepare(self, delivery: Delivery) -> Prepared:
        """Read a delivery and find its task; an outcome is set when it cannot or must not start."""
        self._follow_settings()
        try:
            call = decode(delivery.message, self._settings.accept_content)
        except DecodeError as error:
            return Prepared(
                delivery, outcome=Unprocessable(error, f"{type(error).__name__}: {error}")
            )
        try:
            task = self._app.tasks[call.task]
        except NotRegistered as error:
            return Prepared(delivery, call, outcome=Unprocessable(error, f"NotRegistered: {error}"))
        policy = self._policies.get(call.task)
        if policy is None:
            policy = self._policies[call.task] = task.policy(self._settings)
        request = request_of(call, delivery, self._hostname)
        return Prepared(delivery, call, task, request, policy, self._untimely(call))

    def _follow_settings(self) -> None:
        """Take up settings that were written since."""
        if self._app.conf.snapshot is not self._settings:
            self._settings = self._app.conf.snapshot
            self._zone = zone(self._settings)
            self._policies.clear()

    def _untimely(self, call: Call) -> Outcome | None:
        """Return an outcome for a call that has expired or is not due, None for one to run now."""
        if call.expires is None and call.eta is None:
            return None
        now = self._app.clock.time()
        expires = timestamp(call.expires, self._zone)
        if expires is not None and now >= expires:
            return Expired()
        due = timestamp(call.eta, self._zone)
        # Stores keep milliseconds: what is due within one is due.
        return NotDue(due) if due is not None and due > now + 0.001 else None

    def run(self, prepared: Prepared) -> Run:
        """Run a prepared delivery to its outcome. Nothing that the task does raises from here."""
        if prepared.outcome is not None:
            return Run(prepared, prepared.outcome)
        task, request, call = prepared.task, prepared.request, prepared.call
        assert task is not None and request is not None and call is not None  # noqa: S101 - see prepare
        clock = self._app.clock
        token = current.running.set(request)
        signals.task_prerun.send(
            task, task_id=call.id, task=task, args=call.args, kwargs=call.kwargs
        )
        started = clock.monotonic()
        try:
            outcome = self._call(prepared)
        finally:
            seconds = clock.monotonic() - started
            current.running.reset(token)
        _announce(prepared, outcome)
        return Run(prepared, outcome, seconds)

    def _call(self, prepared: Prepared) -> Outcome:
        """Call the task's function and turn whatever it does into an outcome."""
        task, call = prepared.task, prepared.call
        assert task is not None and call is not None  # noqa: S101 - see prepare
        try:
            value = task.run(*call.args, **call.kwargs)
            if task.is_async:
                value = self._await(value)
            return Success(value)
        except Retry as retry:
            return Retried(retry, _text(retry))
        except Ignore:
            return Ignored()
        except Reject as reject:
            return Rejected(str(reject.reason), bool(reject.requeue))
        except (Exception, SystemExit) as error:  # noqa: BLE001 - tasks may raise anything
            return self._failed(prepared, error)

    def _failed(self, prepared: Prepared, error: BaseException) -> Outcome:
        """Return the retry that the task asks for by itself, or the failure."""
        task = prepared.task
        assert task is not None  # noqa: S101 - see prepare
        try:
            retry = task.autoretry(error)
        except Exception as final:  # noqa: BLE001 - the error itself, or MaxRetriesExceededError
            error, retry = final, None
        if retry is not None:
            return Retried(retry, _text(error))
        return Failure(error, _text(error), isinstance(error, task.throws))

    def _await(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine on the event loop that lives as long as this child."""
        if self._async is None:
            self._async = asyncio.Runner()
        return self._async.run(coroutine, context=contextvars.copy_context())

    def close(self) -> None:
        """End the event loop."""
        if self._async is not None:
            self._async.close()


def _text(error: BaseException) -> str:
    """Return the traceback as text, without the frames of the worker itself."""
    frames: TracebackType | None = error.__traceback__
    while frames is not None and frames.tb_frame.f_globals.get("__name__", "").startswith(
        "umbel."
    ):
        frames = frames.tb_next
    lines = traceback.format_exception(type(error), error, frames or error.__traceback__)
    return "".join(lines)[-TRACEBACK_LIMIT:]


def _announce(prepared: Prepared, outcome: Outcome) -> None:
    """Send the signals of a task that ran."""
    task, call = prepared.task, prepared.call
    assert task is not None and call is not None  # noqa: S101 - see prepare
    state, value = "SUCCESS", None
    match outcome:
        case Success(value):
            signals.task_success.send(task, result=value)
        case Failure(error, text):
            state, value = "FAILURE", error
            signals.task_failure.send(
                task,
                task_id=call.id,
                exception=error,
                args=call.args,
                kwargs=call.kwargs,
                traceback=error.__traceback__,
                einfo=text,
            )
        case Retried(retry, text):
            state, value = "RETRY", retry
            signals.task_retry.send(task, request=prepared.request, reason=retry, einfo=text)
        case _:
            state = "IGNORED"
    signals.task_postrun.send(
        task,
        task_id=call.id,
        task=task,
        args=call.args,
        kwargs=call.kwargs,
        retval=value,
        state=state,
    )
