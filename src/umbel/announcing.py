"""The signals around a task that runs, each with the arguments that it has in Celery."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from umbel import signals
from umbel.outcomes import Ended, ending
from umbel.request import Request
from umbel.tracebacks import ExceptionInfo

if TYPE_CHECKING:
    from umbel.task import Task


def send_prerun(task: Task[Any, Any], request: Request) -> None:
    """Send ``task_prerun``: the task is about to run."""
    signals.task_prerun.send(
        task, task_id=request.id, task=task, args=request.args, kwargs=request.kwargs
    )


def send_postrun(task: Task[Any, Any], request: Request, outcome: Ended | None) -> None:
    """Send ``task_postrun`` with what the task came to."""
    state, value = ending(outcome)
    signals.task_postrun.send(
        task,
        task_id=request.id,
        task=task,
        args=request.args,
        kwargs=request.kwargs,
        retval=value,
        state=state,
    )


def send_failure(
    task: Task[Any, Any], request: Request, error: BaseException, info: ExceptionInfo | None
) -> None:
    """Send ``task_failure``, with the traceback of the error."""
    if signals.task_failure.is_heard:
        signals.task_failure.send(
            task,
            task_id=request.id,
            exception=error,
            args=request.args,
            kwargs=request.kwargs,
            traceback=error.__traceback__,
            einfo=info or ExceptionInfo(error),
        )


def send_internal_error(task: Task[Any, Any], request: Request, error: BaseException) -> None:
    """Send ``task_internal_error``: what raised was something around the task."""
    if signals.task_internal_error.is_heard:
        signals.task_internal_error.send(
            task,
            task_id=request.id,
            args=request.args,
            kwargs=request.kwargs,
            request=request,
            exception=error,
            traceback=error.__traceback__,
            einfo=ExceptionInfo(error),
        )
