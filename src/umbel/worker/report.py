"""What a worker logs of its tasks, in Celery's words."""

from __future__ import annotations

import logging

from umbel.representation import representation
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

logger = logging.getLogger("umbel.task")


def received(prepared: Prepared) -> None:
    """Log that a message was taken up."""
    if logger.isEnabledFor(logging.INFO) and prepared.call is not None:
        logger.info("Task %s received", _named(prepared))


def finished(run: Run) -> None:
    """Log what became of a message."""
    prepared, outcome = run.prepared, run.outcome
    match outcome:
        case Success(value):
            if logger.isEnabledFor(logging.INFO):
                shown = representation(value)
                logger.info(
                    "Task %s succeeded in %ss: %s", _named(prepared), run.seconds, shown
                )
        case Failure(error, _, True):
            logger.info("Task %s raised expected: %r", _named(prepared), error)
        case Failure(error, traceback):
            logger.error("Task %s raised unexpected: %r\n%s", _named(prepared), error, traceback)
        case Retried(retry):
            logger.info("Task %s retry: %s", _named(prepared), retry)
        case Ignored():
            logger.info("Task %s ignored", _named(prepared))
        case Rejected(reason, requeue):
            logger.warning(
                "Task %s reject requeue=%s: %s", _named(prepared), requeue, reason
            )
        case Expired():
            logger.info("Discarding revoked task: %s (expired)", _named(prepared))
        case Unprocessable(_, reason):
            logger.error(
                "Message %s was put with the dead letters (umbel dead list). %s",
                _named(prepared),
                reason,
            )
        case Lost(reason):
            logger.error("Task %s: %s", _named(prepared), reason)
        case NotDue():
            pass


def _named(prepared: Prepared) -> str:
    """Return ``name[id]`` of a task, as far as its message can be read."""
    call, headers = prepared.call, prepared.delivery.message.headers
    if call is not None:
        return f"{call.shadow or call.task}[{call.id}]"
    return f"{headers.get('task', 'of unknown task')}[{prepared.delivery.message.task_id}]"
