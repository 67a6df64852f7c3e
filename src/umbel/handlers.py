"""The handlers of tasks: which there are, and what is called when a task has ended.

As in Celery 5.7 (celery/app/trace.py).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from umbel import announcing, signals, states
from umbel.exceptions import Reject
from umbel.outcomes import Ended, Failure, Rejected, Retried, Success
from umbel.request import Request
from umbel.tracebacks import ExceptionInfo, traceback_text

if TYPE_CHECKING:
    from umbel.task import Task

logger = logging.getLogger("umbel.trace")

Handler = Callable[..., Any]


class Mode(Enum):
    """Who runs a task: a worker, or its caller, to whom errors may be `RAISED` as they are."""

    WORKER = "worker"
    EAGER = "eager"
    RAISED = "raised"


@dataclass(frozen=True, slots=True)
class Hooks:
    """What there is to call for a task: None for a handler that its class does not have."""

    call: Handler
    before_start: Handler | None
    on_success: Handler | None
    on_failure: Handler | None
    on_retry: Handler | None
    after_return: Handler | None

    @property
    def ends(self) -> bool:
        """Tell whether anything hears of the end of a task."""
        return (
            self.on_success is not None
            or self.after_return is not None
            or signals.task_success.is_heard
            or signals.task_postrun.is_heard
        )


_HANDLERS = ("before_start", "on_success", "on_failure", "on_retry", "after_return")


def find_hooks(task: Task[Any, Any]) -> Hooks:
    """Return what a task has beyond what `Task` has for all, whose own handlers do nothing."""
    handlers = {name: getattr(task, name) for name in _HANDLERS}
    own = {
        name: None if getattr(found, "__func__", None) is task.originals[name] else found
        for name, found in handlers.items()
    }
    return Hooks(call=task if task_has_custom(task, "__call__") else task.run, **own)


def task_has_custom(task: Task[Any, Any], attr: str) -> bool:
    """Tell whether a task's class has an attribute of its own, in place of the one that all tasks have.

    Also where another package has put it on `Task` itself.
    """
    kind = type(task)
    base = next(one for one in kind.__mro__ if "originals" in vars(one))
    return getattr(kind, attr, None) is not task.originals.get(attr, getattr(base, attr, None))


def handle(
    task: Task[Any, Any],
    request: Request,
    hooks: Hooks,
    mode: Mode,
    outcome: Ended,
    seconds: float,
) -> Ended:
    """Call the handlers of an outcome and send its signal; a handler may turn it into another."""
    if isinstance(outcome, Success):
        value = outcome.value
        if hooks.on_success is not None:
            rejected = _after(hooks.on_success, mode, task, request, value)
            if rejected is not None:
                return rejected
        if signals.task_success.is_heard:
            signals.task_success.send(task, result=value, runtime=seconds)
        if hooks.after_return is None:
            return outcome
        return _returned(task, request, hooks, mode, outcome, states.SUCCESS, value)
    match outcome:
        case Failure():
            return _failed(task, request, hooks, mode, outcome)
        case Retried():
            _retried(task, request, hooks, mode, outcome)
        case Rejected(_, False, error) if mode is Mode.WORKER and error is not None:
            announcing.send_failure(task, request, error, None)
    return outcome


def _after(
    handler: Handler, mode: Mode, task: Task[Any, Any], request: Request, *values: Any
) -> Rejected | None:
    """Call a handler of what has ended. In a worker it cannot change that, but by raising Reject."""
    try:
        handler(*values, request.id, request.args, request.kwargs)
    except Reject as error:
        if mode is not Mode.WORKER:
            raise
        return Rejected(str(error.reason), bool(error.requeue), error)
    except BaseException:
        if mode is not Mode.WORKER:
            raise
        name = getattr(handler, "__name__", handler)
        logger.exception("Task %s[%s] %s handler raised", task.name, request.id, name)
    return None


def _returned(
    task: Task[Any, Any],
    request: Request,
    hooks: Hooks,
    mode: Mode,
    outcome: Ended,
    *ending: Any,
) -> Ended:
    """Call `after_return` with the state and what the task returned or raised."""
    handler = hooks.after_return
    if handler is None:
        return outcome
    state, value = ending

    def after_return(*call: Any) -> None:
        handler(state, value, *call, None)

    return _after(after_return, mode, task, request) or outcome


def _failed(
    task: Task[Any, Any], request: Request, hooks: Hooks, mode: Mode, outcome: Failure
) -> Ended:
    try:
        _tell_failure(task, request, hooks, outcome)
    except BaseException as error:
        if mode is not Mode.WORKER:
            raise
        # As in Celery: the handler's error is the task's now, and the handler hears of it.
        announcing.send_internal_error(task, request, error)
        _remember(outcome.error, error)
        outcome = failure(task, error)
        try:
            _tell_failure(task, request, hooks, outcome)
        except BaseException:
            logger.exception("Task %s[%s] on_failure handler raised", task.name, request.id)
        return outcome
    return _returned(task, request, hooks, mode, outcome, states.FAILURE, outcome.error)


def _remember(first: BaseException, later: BaseException) -> None:
    """Let the traceback of an error of a handler show what it was called for."""
    seen: BaseException | None = first
    while seen is not None and seen is not later:
        seen = seen.__cause__ or seen.__context__
    if seen is None and later.__context__ is None:
        later.__context__ = first


def _tell_failure(task: Task[Any, Any], request: Request, hooks: Hooks, outcome: Failure) -> None:
    info = None
    if hooks.on_failure is not None:
        info = ExceptionInfo(outcome.error, text=outcome.traceback)
        hooks.on_failure(outcome.error, request.id, request.args, request.kwargs, info)
    announcing.send_failure(task, request, outcome.error, info)


def _retried(
    task: Task[Any, Any], request: Request, hooks: Hooks, mode: Mode, outcome: Retried
) -> None:
    retry = outcome.retry
    info = ExceptionInfo(retry, text=outcome.traceback) if hooks.on_retry is not None else None
    if hooks.on_retry is not None:
        try:
            hooks.on_retry(retry.exc, request.id, request.args, request.kwargs, info)
        except BaseException as error:
            if mode is not Mode.WORKER:
                raise
            # In Celery the retry is on its way by then, whatever the handler does.
            announcing.send_internal_error(task, request, error)
            logger.exception("Task %s[%s] on_retry handler raised", task.name, request.id)
    if signals.task_retry.is_heard:
        info = info or ExceptionInfo(retry, text=outcome.traceback)
        signals.task_retry.send(task, request=request, reason=retry, einfo=info)


def failure(task: Task[Any, Any], error: BaseException) -> Failure:
    """Return the failure of a task by an error."""
    return Failure(error, traceback_text(error), isinstance(error, classes(task.throws)))


def classes(wanted: Any) -> tuple[type[BaseException], ...]:
    """Return exceptions that were given as one class or as several."""
    return (wanted,) if isinstance(wanted, type) else tuple(wanted)
