"""What a task's own code hears when it failed with its process: it ran too long, or may not run again.

Called by a thread of the supervisor that runs code of users, once the failure is stored. As in Celery
(celery/worker/request.py) a task that ran too long has its handlers called, and both send `task_failure`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from umbel import announcing, current, states
from umbel.exceptions import TimeLimitExceeded
from umbel.ports import Action
from umbel.tracebacks import ExceptionInfo
from umbel.worker.decide import Verdict
from umbel.worker.execute import tell_revoked
from umbel.worker.outcome import Failure, Job, Lost, Revoked

logger = logging.getLogger("umbel.trace")


def is_news(verdict: Verdict) -> bool:
    """Tell whether code of users is to hear what became of a call whose process is gone."""
    return isinstance(verdict.run.outcome, Revoked) or failed_with(verdict) is not None


def tell_of(verdict: Verdict) -> None:
    """Call what is to hear of it."""
    error, job = failed_with(verdict), verdict.run.prepared.work
    if error is not None:
        tell(verdict, error)
    elif isinstance(verdict.run.outcome, Revoked) and isinstance(job, Job):
        tell_revoked(verdict.run.outcome, job.request)


def failed_with(verdict: Verdict) -> BaseException | None:
    """Return the error by which a call has failed for good with its process; None where it runs again."""
    match verdict.run.outcome:
        case Failure(error):
            return None if verdict.settlement.action is Action.REQUEUE else error
        case Lost() as lost:
            return lost.error
    return None


def tell(verdict: Verdict, error: BaseException) -> None:
    """Call what is to hear of a failure. What raises is logged."""
    job = verdict.run.prepared.work
    if not isinstance(job, Job):
        return  # the task is not known here
    task, request = job.task, job.request
    request.__dict__["running_task"] = task
    info = ExceptionInfo(error)
    entered = current.enter(request)
    try:
        if isinstance(error, TimeLimitExceeded):
            hooks, call = task.hooks, (request.id, request.args, request.kwargs)
            _call(hooks.on_failure, job, error, *call, info)
            _call(hooks.after_return, job, states.FAILURE, error, *call, None)
        announcing.send_failure(task, request, error, info)
    finally:
        current.leave(entered)


def _call(handler: Callable[..., Any] | None, job: Job, *arguments: Any) -> None:
    if handler is None:
        return
    try:
        handler(*arguments)
    except Exception:
        name = getattr(handler, "__name__", handler)
        text = "Task %s[%s] %s handler raised"
        logger.exception(text, job.task.name, job.request.id, name)
