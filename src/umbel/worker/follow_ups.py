"""What a worker sends after a call, in the step that settles it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from umbel.following import (
    after_failure,
    call_errbacks,
    collect_errbacks,
    send_after_success,
)
from umbel.message import Call, Delivery
from umbel.outbox import Outbox
from umbel.outcomes import Ended, Failure, Success
from umbel.worker.outcome import Job

logger = logging.getLogger("umbel.worker")


def is_followed(call: Call) -> bool:
    """Tell whether anything follows a call."""
    return bool(call.callbacks or call.errbacks or call.chain or call.chord)


def is_followed_by_calls(call: Call) -> bool:
    """Tell whether a call's end sends anything by itself; a chord only hears of it."""
    return bool(call.callbacks or call.errbacks or call.chain)


class FollowUps:
    """The messages of what follows one call that runs here."""

    def __init__(self, job: Job, delivery: Delivery) -> None:
        self._job = job
        self._tag = delivery.tag
        self._callbacks = Outbox(delivery.tag, job.call.id, "callback")

    def succeed(self, check: Callable[[Any], None] | None, value: Any) -> None:
        """Make the messages that follow a success, before anybody hears of it.

        What raises makes the call fail, as in Celery: a value that cannot be sent or, by `check`, not stored.
        """
        if check is not None:
            check(value)
        call, request = self._job.call, self._job.request
        if not (call.callbacks or call.chain):
            return
        with self._callbacks.open(request):
            send_after_success(request, value, self._job.task.app, self._callbacks.new_id)

    def of(self, outcome: Ended) -> Outbox:
        """Return what is sent after an outcome. Errbacks that take the error are called here."""
        if isinstance(outcome, Success):
            return self._callbacks
        outbox = Outbox(self._tag, self._job.call.id, "errback")
        if isinstance(outcome, Failure) and self._job.call.errbacks:
            self._failed(outcome, outbox)
        return outbox

    def _failed(self, outcome: Failure, outbox: Outbox) -> None:
        request = self._job.request
        direct, sent = after_failure(request, self._job.task.app, outbox.new_id)
        call_errbacks(direct, request, outcome.error, outcome.traceback)
        collect_errbacks(outbox, sent, request, plainly=False)


def errbacks_only(work: object, delivery: Delivery) -> Outbox | None:
    """Return what is sent after a failure which is none of the task's function: its process died, say.

    Whoever decides on that runs no code of tasks. Errbacks that take the error are therefore not called.
    """
    job = work if isinstance(work, Job) else None
    if job is None or not job.call.errbacks:
        return None
    outbox = Outbox(delivery.tag, job.call.id, "errback")
    direct, sent = after_failure(job.request, job.task.app, outbox.new_id)
    for errback in direct:
        logger.warning(
            "The errback %s of task %s is not called: it takes the error, and runs only where the task has.",
            errback.task,
            job.call.id,
        )
    collect_errbacks(outbox, sent, job.request, plainly=True)
    return outbox
