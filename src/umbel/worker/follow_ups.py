"""What a worker sends after a call, in the step that settles it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from umbel import records, states
from umbel.backend import expiry
from umbel.clock import Clock, utc
from umbel.following import (
    Outbox,
    after_failure,
    call_errbacks,
    collect_errbacks,
    send_after_success,
)
from umbel.links import as_list, is_signature
from umbel.message import Call, Delivery, Publication
from umbel.outcomes import Ended, Failure, Success
from umbel.records import CallInfo, ResultRecord, TaskResult
from umbel.settings import Settings
from umbel.worker.outcome import Job

logger = logging.getLogger("umbel.worker")


def is_followed(call: Call) -> bool:
    """Tell whether anything follows a call."""
    return bool(call.callbacks or call.errbacks or call.chain or call.chord)


class FollowUps:
    """The messages of what follows one call that runs here."""

    def __init__(self, job: Job, delivery: Delivery) -> None:
        self._job = job
        self._callbacks = Outbox(delivery.tag, job.call.id, "callback")
        self._errbacks = Outbox(delivery.tag, job.call.id, "errback")

    def succeed(self, check: Callable[[Any], None] | None, value: Any) -> None:
        """Make the messages that follow a success, before anybody hears of it.

        What raises makes the call fail, as in Celery: a value that cannot be sent or, by `check`, not stored.
        """
        if check is not None:
            check(value)
        request = self._job.request
        with self._callbacks.open(request):
            send_after_success(request, value, self._job.task.app, self._callbacks.new_id)

    def of(self, outcome: Ended) -> tuple[Publication, ...]:
        """Return the messages that follow an outcome. Errbacks that take the error are called here."""
        if isinstance(outcome, Success):
            return tuple(self._callbacks.publications)
        if isinstance(outcome, Failure) and self._job.call.errbacks:
            return self._failed(outcome)
        return ()

    def _failed(self, outcome: Failure) -> tuple[Publication, ...]:
        request, outbox = self._job.request, self._errbacks
        direct, sent = after_failure(request, self._job.task.app, outbox.new_id)
        call_errbacks(direct, request, outcome.error, outcome.traceback)
        collect_errbacks(outbox, sent, request, plainly=False)
        return tuple(outbox.publications)


def errbacks_only(work: object, delivery: Delivery) -> tuple[Publication, ...]:
    """Return the messages that follow a failure which is none of the task's function: its process died, say.

    Whoever decides on that runs no code of tasks. Errbacks that take the error are therefore not called.
    """
    job = work if isinstance(work, Job) else None
    if job is None or not job.call.errbacks:
        return ()
    outbox = Outbox(delivery.tag, job.call.id, "errback")
    direct, sent = after_failure(job.request, job.task.app, outbox.new_id)
    for errback in direct:
        logger.warning(
            "The errback %s of task %s is not called: it takes the error, and runs only where the task has.",
            errback.task,
            job.call.id,
        )
    collect_errbacks(outbox, sent, job.request, plainly=True)
    return tuple(outbox.publications)


def failures_of_chain(
    call: Call, error: BaseException, traceback: str | None, settings: Settings, clock: Clock
) -> tuple[ResultRecord, ...]:
    """Return the failures of those that would have followed a call in its chain: they never run."""
    now = clock.time()
    ends = expiry(settings, states.FAILURE, now)
    found = []
    for step in as_list(call.chain) or ():
        options = step.get("options") or {} if is_signature(step) else {}
        if not isinstance(options.get("task_id"), str):
            continue
        result = TaskResult(
            task_id=options["task_id"],
            state=states.FAILURE,
            result=error,
            traceback=traceback or None,
            date_done=utc(now),
            parent_id=options.get("parent_id"),
            group_id=options.get("group_id"),
            call=CallInfo(step["task"], step.get("args"), step.get("kwargs"))
            if settings.result_extended
            else None,
        )
        found.append(records.encode(result, ends, settings))
    return tuple(found)
