"""What a worker logs of its tasks, in Celery's words."""

from __future__ import annotations

import logging
from functools import lru_cache
from typing import Any

from umbel.ports import Action
from umbel.representation import LIMIT, representation
from umbel.worker.decide import Verdict
from umbel.worker.outcome import (
    Expired,
    Failure,
    Ignored,
    Job,
    Lost,
    NotDue,
    Prepared,
    Rejected,
    Retried,
    Run,
    Success,
    Unknown,
    Unprocessable,
)

logger = logging.getLogger("umbel.task")


def received(prepared: Prepared) -> None:
    """Log that a message was taken up."""
    if logger.isEnabledFor(logging.INFO) and prepared.call is not None:
        logger.info("Task %s received", _named(prepared))


def finished(run: Run) -> None:
    """Log what became of a message."""
    if isinstance(run.outcome, Unknown) and run.prepared.call is not None:
        _warn_of_unknown(run.prepared.call.task)
    level, text, *values = _line(run)
    if logger.isEnabledFor(level):
        logger.log(level, text, _named(run.prepared), *values)


@lru_cache(maxsize=1000)  # whoever may send may make up names
def _warn_of_unknown(name: str) -> None:
    """Say once of each task that it is not known, and what would make it so."""
    module = name.rpartition(".")[0]
    remedy = f", for example by the setting include: {module!r}" if module else ""
    logger.warning(
        "This worker does not know the task %r. Its messages are offered again to all workers, for about a"
        " minute unless worker_unknown_task_offers says otherwise, and become dead letters then. If this"
        " worker is to run it, it has to import the module that defines it%s.",
        name,
        remedy,
    )


def lost(verdict: Verdict) -> None:
    """Log what becomes of a message whose process died."""
    settlement, reason = verdict.settlement, verdict.run.outcome
    why = reason.reason if isinstance(reason, Lost) else ""
    match settlement.action:
        case Action.ACK if settlement.publish:
            level, text = logging.WARNING, "Task %s is retried: %s"
        case Action.REQUEUE:
            level, text = logging.WARNING, "Task %s runs again: %s"
        case Action.DEAD_LETTER:
            level, text = logging.ERROR, "Task %s is now a dead letter (umbel dead list): %s"
            why = settlement.reason or why
        case _:
            level, text = logging.ERROR, "Task %s failed, and may run only once: %s"
    logger.log(level, text, _named(verdict.run.prepared), why)


def _line(run: Run) -> tuple[Any, ...]:
    """Return level, text and values of a log line; the name of the task is put first."""
    match run.outcome:
        case Success(value):
            shown = _Shown(value, _limit(run.prepared))
            return logging.INFO, "Task %s succeeded in %ss: %s", run.seconds, shown
        case Failure(error, _, True):
            return logging.INFO, "Task %s raised expected: %r", error
        case Failure(error, traceback):
            return logging.ERROR, "Task %s raised unexpected: %r\n%s", error, traceback
        case Retried(_, retry):
            return logging.INFO, "Task %s retry: %s", retry
        case Rejected(reason, requeue):
            return logging.WARNING, "Task %s reject requeue=%s: %s", requeue, reason
        case Unknown(_, wait):
            return logging.INFO, "Task %s is not known here and offered again in %gs", wait
        case Unprocessable(_, reason):
            return logging.ERROR, "Message %s is now a dead letter (umbel dead list). %s", reason
        case outcome:
            return logging.INFO, _PLAIN_LINES[type(outcome)]


_PLAIN_LINES = {
    Ignored: "Task %s ignored",
    Expired: "Discarding revoked task: %s (expired)",
    NotDue: "Task %s is not due yet",
    Lost: "Task %s was given up",
}


class _Shown:
    """A value whose text is made only if the line is printed."""

    def __init__(self, value: object, limit: int) -> None:
        self._value = value
        self._limit = limit

    def __str__(self) -> str:
        return representation(self._value, self._limit)


def _limit(prepared: Prepared) -> int:
    """Return how many characters of a task's result are shown."""
    job = prepared.work
    return job.task.resultrepr_maxsize if isinstance(job, Job) else LIMIT


def _named(prepared: Prepared) -> str:
    """Return ``name[id]`` of a task, as far as its message can be read."""
    call, headers = prepared.call, prepared.delivery.message.headers
    if call is not None:
        return f"{call.shadow or call.task}[{call.id}]"
    return f"{headers.get('task', 'of unknown task')}[{prepared.delivery.message.task_id}]"
