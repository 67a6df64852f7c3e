"""From a delivery to an outcome: what a worker does around `umbel.trace`. No broker, no store."""

from __future__ import annotations

import os
import threading
from collections.abc import Coroutine, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from umbel import signals
from umbel.app import Umbel
from umbel.backend import require_storable
from umbel.definition import Policy
from umbel.driving import Drive, Loop, drive_here
from umbel.exceptions import DecodeError, NotRegistered
from umbel.following import refusal
from umbel.message import Call, Delivery, Message, decode, offers, timestamp
from umbel.outcomes import Ended
from umbel.request import Request, request_of
from umbel.trace import Check, Guard, How, Traced, trace, trace_async
from umbel.worker.follow_ups import FollowUps, is_followed, is_followed_by_calls
from umbel.worker.outcome import (
    Condemned,
    Interrupted,
    Job,
    NotDue,
    Outcome,
    OverTime,
    Prepared,
    Revoked,
    Run,
    Unknown,
    Unprocessable,
    wants_value,
)
from umbel.worker.softlimit import SoftLimit

#: Most seconds that a message waits for a worker that knows its task, between two offers.
MOST_WAIT = 60.0
_NOTHING: Mapping[str, Any] = {}


class Runner:
    """Prepares and runs deliveries in one child; `drive` runs coroutines, else they run one at a time."""

    def __init__(self, app: Umbel, hostname: str, drive: Drive | None = None) -> None:
        self._app = app
        self._hostname = hostname
        self._settings = app.conf.snapshot
        self._policies: dict[str, Policy] = {}
        self._loop = Loop()
        here = os.getpid()
        self._how = How(app.clock, drive or self._loop.drive, process=here)
        self._awaited = How(app.clock, None, process=here)
        #: For async tasks that are to have a thread: no other's coroutine runs on its event loop.
        self._alone = self._how if drive is None else replace(self._how, drive=drive_here)
        #: Whether of a message that is to run no more is kept than its task has: its broker has it.
        self.forgets = False
        #: The soft limit of what runs in the main thread; heeded for what is run with it.
        self.soft = SoftLimit(app.clock)

    def prepare(self, delivery: Delivery) -> Prepared:
        """Read a delivery and find its task, or the reason why it cannot or must not run now."""
        if self._app.conf.snapshot is not self._settings:
            self._take_up_settings()
        try:
            call = decode(delivery.message, self._settings.accept_content, self._settings)
        except Exception as error:  # noqa: BLE001 - no message, whatever is in it, may stop a worker
            return Prepared(delivery, Unprocessable(error, f"{type(error).__name__}: {error}"))
        try:
            task = self._app.tasks[call.task]
        except NotRegistered as error:
            return Prepared(delivery, self._untimely(call) or self._unknown(delivery, error), call)
        policy = self._policies.get(call.task)
        if policy is None:
            policy = self._policies[call.task] = task.policy(self._settings)
        refused = (_refused(call) if is_followed(call) else None) or self._untimely(call)
        if refused is not None:
            return Prepared(delivery, refused, call, policy)
        job = Job(task, call, request_of(call, delivery, self._hostname))
        work: Job | Outcome = job
        if delivery.early:
            work = Interrupted(job)
        elif delivery.crashes >= self._settings.worker_max_deliveries:
            work = Condemned(delivery.crashes, job)
        elif delivery.over_time is not None:
            work = OverTime(delivery.over_time)
        elif self.forgets and not policy.rate:
            delivery = _without_message(delivery, call)
        return Prepared(delivery, work, call, policy)

    def _take_up_settings(self) -> None:
        """Go by settings that were written since."""
        self._settings = self._app.conf.snapshot
        self._policies.clear()

    def in_time(self, prepared: Prepared) -> Prepared:
        """Return what was read some time ago, or its end if it has expired meanwhile."""
        if not isinstance(prepared.work, Job):
            return prepared
        late = self._untimely(prepared.work.call)
        return prepared if late is None else replace(prepared, work=late)

    def _untimely(self, call: Call) -> Outcome | None:
        """Return an outcome for a call that has expired or is not due, None for one to run now."""
        if call.expires is None and call.eta is None:
            return None
        now = self._app.clock.time()
        expires = timestamp(call.expires)
        if expires is not None and now >= expires:
            return Revoked("expired")
        due = timestamp(call.eta)
        # Stores keep milliseconds: what is due within one is due.
        return NotDue(due) if due is not None and due > now + 0.001 else None

    def _unknown(self, delivery: Delivery, error: NotRegistered) -> Outcome:
        """Return what becomes of a call of a task that this app does not have.

        During a deploy of newer code others have it. Who never gets it must not keep anyone busy: the
        waits double, and then it is a dead letter.
        """
        offered = offers(delivery.message)
        if offered >= self._settings.worker_unknown_task_offers:
            return Unprocessable(error, f"NotRegistered: {error}")
        return Unknown(error, 2.0**offered if offered < 6 else MOST_WAIT)

    def run(self, prepared: Prepared, guard: Guard | None = None) -> Run:
        """Run a prepared delivery to its outcome. Nothing that the task does raises from here.

        The task's function may be interrupted by its `guard`.
        """
        job = prepared.work
        if not isinstance(job, Job):
            return self._refuse(prepared, job)
        how = self._alone if job.task.executor == "threads" else self._how
        if guard is not None:
            how = replace(how, guard=guard)
        follow_ups, check = self._begin(job, prepared)
        outcome, seconds = trace(job.task, job.request, how, check)
        return _run(prepared, outcome, seconds, follow_ups)

    def begin_async(
        self, prepared: Prepared, job: Job, guard: Guard | None = None
    ) -> tuple[Coroutine[Any, Any, Traced], FollowUps | None]:
        """Return what runs a job on the event loop, where it is to be awaited, and what follows it.

        Not awaited here: each coroutine around another is kept for as long as a task is in flight.
        """
        how = self._awaited if guard is None else replace(self._awaited, guard=guard)
        follow_ups, check = self._begin(job, prepared)
        return trace_async(job.task, job.request, how, check), follow_ups

    def end_async(self, prepared: Prepared, traced: Traced, follow_ups: FollowUps | None) -> Run:
        """Return what became of a job, which the one has returned and the other may follow."""
        return _run(prepared, *traced, follow_ups)

    def _begin(self, job: Job, prepared: Prepared) -> tuple[FollowUps | None, Check]:
        """Say that a task runs, and return what follows it and what checks its value."""
        if signals.task_received.is_heard:
            signals.task_received.send(job.task, request=job.request)
        followed = is_followed_by_calls(job.call)
        follow_ups = FollowUps(job, prepared.delivery) if followed else None
        check: Check = None
        if wants_value(prepared) and (follow_ups is not None or job.task.hooks.ends):
            # What cannot be stored is a failure before any handler hears of a success.
            check = partial(require_storable, job.task.name, self._settings)
        return follow_ups, check if follow_ups is None else partial(follow_ups.succeed, check)

    def _refuse(self, prepared: Prepared, outcome: Outcome) -> Run:
        self._announce_refusal(prepared, outcome)
        return Run(prepared, outcome)

    def _announce_refusal(self, prepared: Prepared, outcome: Outcome) -> None:
        """Send the signals of a message that is not run."""
        delivery, call = prepared.delivery, prepared.call
        match outcome:
            case Revoked() if call is not None:
                tell_revoked(outcome, request_of(call, delivery, self._hostname))
            case Unknown(error) | Unprocessable(NotRegistered() as error, _) if call is not None:
                signals.task_unknown.send(
                    None, message=delivery.message, exc=error, name=call.task, id=call.id
                )
            case Unprocessable(error, _):
                signals.task_rejected.send(None, message=delivery.message, exc=error)

    def close(self) -> None:
        """End the event loop."""
        self._loop.close()


def tell_revoked(outcome: Revoked, request: Request) -> None:
    """Send the signal of a call that does not run, or not any more."""
    terminated, expired = outcome.why == "terminated", outcome.why == "expired"
    signals.task_revoked.send(
        request.task,
        request=request,
        terminated=terminated,
        signum=outcome.signum,
        expired=expired,
    )


def tell_beside(outcome: Revoked, prepared: Prepared) -> threading.Thread | None:
    """Send the signal from a thread of its own, and return that: who ends what runs waits for no receiver."""
    if not isinstance(prepared.work, Job) or not signals.task_revoked.is_heard:
        return None
    arguments = outcome, prepared.work.request
    thread = threading.Thread(target=tell_revoked, args=arguments, name="umbel-told", daemon=True)
    thread.start()
    return thread


def _run(prepared: Prepared, outcome: Ended, seconds: float, follow_ups: FollowUps | None) -> Run:
    if follow_ups is None:
        return Run(prepared, outcome, seconds)
    sent = follow_ups.of(outcome)
    return Run(prepared, outcome, seconds, tuple(sent.publications), tuple(sent.openings))


def _without_message(delivery: Delivery, call: Call) -> Delivery:
    """Return a delivery of which nothing is sent again here, with what says whose it is."""
    properties = delivery.message.properties  # which its request has, too
    headers = _NOTHING if properties.get("correlation_id") == call.id else {"id": call.id}
    return replace(delivery, message=Message(headers, properties, b""))


def _refused(call: Call) -> Outcome | None:
    """Return an outcome for a call of which what follows it cannot be sent."""
    reason = refusal(call)
    if reason is None:
        return None
    error = DecodeError(f"The call cannot be run here: {reason}.")
    return Unprocessable(error, f"{error} Run it by a Celery worker.")
