"""What a worker logs of its tasks, in Celery's words, by the logger ``umbel.trace``.

As Celery's records, each has a mapping as its arguments, and as its `data` too, for handlers that do more
than write a line: ``id``, ``name``, and what the line says, as texts and numbers. `task_id` and `task_name`
are for formats.
"""

from __future__ import annotations

import logging
import sys
from functools import lru_cache, partial
from typing import Any

from umbel import states
from umbel.clock import utc
from umbel.exceptions import TimeLimitExceeded
from umbel.loggers import trace_logger as logger
from umbel.ports import Action
from umbel.representation import LIMIT, careful_repr, representation
from umbel.revoking import signal_name
from umbel.tracebacks import own_frames
from umbel.worker.decide import Verdict
from umbel.worker.outcome import (
    Condemned,
    Copied,
    Failure,
    Ignored,
    Job,
    Lost,
    NotDue,
    Postponed,
    Prepared,
    Rejected,
    Retried,
    Revoked,
    Run,
    Success,
    Unknown,
    Unprocessable,
)


def received(prepared: Prepared) -> None:
    """Log that a message was taken up."""
    call = prepared.call
    if call is not None and logger.isEnabledFor(logging.INFO):
        _log(
            logging.INFO,
            prepared,
            "received",
            {**_arguments(prepared), "eta": call.eta},
            state=states.RECEIVED,
        )


def finished(run: Run) -> None:
    """Log what became of a message."""
    if isinstance(run.outcome, Unknown) and run.prepared.call is not None:
        _warn_of_unknown(run.prepared.call.task)
    level = _level(run)
    if not logger.isEnabledFor(level):
        return
    prepared = run.prepared
    log = partial(_log, state=_STATES.get(type(run.outcome), ""))
    match run.outcome:
        case Success(value):
            shown = representation(value, _limit(prepared))
            facts = {"runtime": run.seconds, "return_value": shown}
            text = "succeeded in %(runtime)ss: %(return_value)s"
            log(level, prepared, text, {**facts, **_arguments(prepared)})
        case Failure(error, traceback, expected):
            how = "raised expected" if expected else "raised unexpected"
            facts = {"exc": careful_repr(error), "description": how, "traceback": traceback}
            facts |= _arguments(prepared)
            with_frames = None if expected else error
            log(level, prepared, "%(description)s: %(exc)s", facts, error=with_frames)
        case Retried(_, retry):
            log(level, prepared, "retry: %(exc)s", {"exc": str(retry)})
        case Rejected(reason, requeue):
            facts = {"reason": reason, "requeue": requeue}
            log(level, prepared, "reject requeue=%(requeue)s: %(reason)s", facts)
        case Unknown() | Postponed():
            log(level, prepared, *_when_again(run.outcome))
        case Unprocessable(_, reason):
            text = "Message %(name)s[%(id)s] is now a dead letter (umbel dead list). %(reason)s"
            log(level, prepared, "", {"reason": reason}, line=text)
        case Revoked() as revoked:
            log(level, prepared, "", {}, line=_revoked(revoked))
        case outcome:
            log(level, prepared, _PLAIN_LINES[type(outcome)], {})


def _revoked(revoked: Revoked) -> str:
    """Return what is said of a call that does not run, or not any more."""
    if revoked.why == "terminated":
        how = "" if revoked.signum is None else f" ({signal_name(revoked.signum)})"
        return f"Terminating %(name)s[%(id)s]{how}"
    why = " (expired)" if revoked.why == "expired" else ""
    if revoked.stamp is not None:
        shown = representation(revoked.stamp, LIMIT).replace("%", "%%")
        why = f" (revoked by header: {shown})"
    return f"Discarding revoked task: %(name)s[%(id)s]{why}"


def soft_limit(prepared: Prepared, limit: float) -> None:
    """Log that a task is told of its soft time limit."""
    text = "Soft time limit (%(limit)ss) exceeded for %(name)s[%(id)s]"
    _log(logging.WARNING, prepared, "", {"limit": limit}, line=text)


def put_off(prepared: Prepared, waited: float, seconds: float) -> None:
    """Log that a message which has to run alone found no moment for that, and comes back.

    Without a warning where it was not waited for (0.0), since others just were.
    """
    text = (
        "Task %(name)s[%(id)s] has to run alone, since %(crashes)s processes died while it ran. Others here"
        f" did not end {'yet' if not waited else 'within %(waited)gs'}, so it comes back in %(wait).3gs"
    )
    facts = {"crashes": prepared.delivery.crashes, "waited": waited, "wait": seconds}
    _log(logging.WARNING if waited else logging.INFO, prepared, "", facts, line=text)


def _when_again(outcome: Unknown | Postponed) -> tuple[str, dict[str, Any]]:
    """Return what is said of a message that comes back later."""
    if isinstance(outcome, Postponed):
        return "is over its rate limit, and comes back at %(turn)s", {
            "turn": utc(outcome.turn).isoformat()
        }
    return "is not known here and offered again in %(wait)gs", {"wait": outcome.wait}


@lru_cache(maxsize=1000)  # whoever may send may make up names
def _warn_of_unknown(name: str) -> None:
    """Say once of each task that it is not known, and what would make it so."""
    module = name.rpartition(".")[0]
    remedy = (
        "If this worker is to run it, it has to import the module that defines it"
        f"{f', for example by the setting include: {module!r}' if module else ''}."
    )
    if module in sys.modules:
        remedy = f"The module {module!r} is imported here and has no such task."
    logger.warning(
        "This worker does not know the task %r. Its messages are offered again to all workers, for about a"
        " minute unless worker_unknown_task_offers says otherwise, and become dead letters then. %s",
        name,
        remedy,
    )


def lost(verdict: Verdict) -> None:
    """Log what becomes of a message whose process died."""
    settlement, outcome = verdict.settlement, verdict.run.outcome
    if isinstance(outcome, Revoked):
        return _log(logging.INFO, verdict.run.prepared, "", {}, line=_revoked(outcome))
    if isinstance(outcome, Failure) and isinstance(outcome.error, TimeLimitExceeded):
        limit = {"limit": outcome.error.args[0]}
        text = "Hard time limit (%(limit)ss) exceeded for %(name)s[%(id)s]"
        return _log(logging.ERROR, verdict.run.prepared, "", limit, line=text)
    why, end = (outcome.reason, outcome.end) if isinstance(outcome, Lost) else ("", "")
    match settlement.action:
        case Action.ACK if not end:
            level, text = logging.WARNING, "is retried: %(reason)s"
        case Action.REQUEUE:
            level, text = logging.WARNING, "runs again: %(reason)s"
        case Action.DEAD_LETTER:
            level, text = logging.ERROR, "is now a dead letter (umbel dead list): %(reason)s"
            why = settlement.reason or why
        case _:
            level, text = logging.ERROR, f"failed, and {end}: %(reason)s"
    _log(level, verdict.run.prepared, text, {"reason": why})


_STATES = {
    Success: states.SUCCESS,
    Failure: states.FAILURE,
    Retried: states.RETRY,
    Rejected: states.REJECTED,
    Ignored: states.IGNORED,
    Revoked: states.REVOKED,
}

_PLAIN_LINES = {
    Ignored: "ignored",
    Copied: "is left out: another copy of this periodic run was taken up before",
    NotDue: "is not due yet",
    Lost: "was given up",
    Condemned: "is now a dead letter (umbel dead list): too many processes died running it",
}


def _level(run: Run) -> int:
    if isinstance(run.outcome, Success):
        return logging.INFO
    match run.outcome:
        case Failure(_, _, False) | Unprocessable() | Condemned() | Lost():
            return logging.ERROR
        case Rejected():
            return logging.WARNING
    return logging.INFO


def _log(
    level: int,
    prepared: Prepared,
    text: str,
    facts: dict[str, Any],
    error: BaseException | None = None,
    line: str = "",
    state: str = "",
) -> None:
    """Log `text` of the task that a message names, or a whole `line`; with the traceback of an error."""
    name, task_id = _name(prepared)
    context = {"id": task_id, "name": name, **facts}
    logger.log(
        level,
        line or f"Task %(name)s[%(id)s] {text}",
        context,
        exc_info=None if error is None else (type(error), error, own_frames(error)),
        extra={
            "data": context,
            "facts": _facts(prepared, state),
            "task_id": task_id,
            "task_name": name,
        },
    )


def _facts(prepared: Prepared, state: str) -> dict[str, Any]:
    """Return what lines of JSON tell beside a record's `data`, which is as Celery's."""
    delivery = prepared.delivery
    found: dict[str, Any] = {"queue": delivery.queue, "redelivered": delivery.redelivered}
    if isinstance(prepared.work, Job):
        found["retries"] = prepared.work.request.retries
    return {**found, "state": state} if state else found


def _arguments(prepared: Prepared) -> dict[str, str]:
    """Return a call's arguments as texts: those of its message, else of what it holds."""
    call = prepared.call
    if call is None:
        return {}
    return {
        "args": _text_of(call.argsrepr) or representation(tuple(call.args)),
        "kwargs": _text_of(call.kwargsrepr) or representation(dict(call.kwargs)),
    }


def _text_of(header: object) -> str:
    """Return a header if it is a text, as it should be."""
    return header if isinstance(header, str) else ""


def _limit(prepared: Prepared) -> int:
    """Return how many characters of a task's result are shown."""
    job = prepared.work
    return job.task.resultrepr_maxsize if isinstance(job, Job) else LIMIT


def _name(prepared: Prepared) -> tuple[str, str | None]:
    """Return name and id of a task, as far as its message can be read."""
    call, message = prepared.call, prepared.delivery.message
    if call is not None:
        return call.shadow or call.task, call.id
    return message.headers.get("task", "of unknown task"), message.task_id
