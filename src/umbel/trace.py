"""From a call to an outcome: the only place that runs the code of tasks, their handlers included.

Workers and `Task.apply` both use it. No broker, no store. What is called when, and with what, is as
in Celery 5.7 (celery/app/trace.py).
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, NoReturn

from umbel import current, signals, states
from umbel.clock import Clock
from umbel.exceptions import Ignore, Reject, Retry
from umbel.outcomes import Ended, Failure, Ignored, Rejected, Retried, Success
from umbel.request import Request
from umbel.tracebacks import ExceptionInfo, traceback_text

if TYPE_CHECKING:
    from umbel.task import Task

logger = logging.getLogger("umbel.trace")

Handler = Callable[..., Any]
Drive = Callable[[Coroutine[Any, Any, Any]], Any]


class Mode(Enum):
    """Who runs a task: a worker, or its caller, to whom errors may be `RAISED` as they are."""

    WORKER = "worker"
    EAGER = "eager"
    RAISED = "raised"


@dataclass(frozen=True, slots=True)
class How:
    """How tasks are run. `drive` runs a coroutine to its end."""

    clock: Clock
    drive: Drive
    mode: Mode = Mode.WORKER


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


def find_hooks(task: Task[Any, Any], base: type) -> Hooks:
    """Return what a task's class has beyond its `base`, whose own handlers do nothing."""
    handlers = {name: getattr(task, name) for name in _HANDLERS}
    own = {
        name: None if getattr(found, "__func__", None) is getattr(base, name) else found
        for name, found in handlers.items()
    }
    custom = type(task).__call__ is not base.__call__
    return Hooks(call=task if custom else task.run, **own)


def trace(
    task: Task[Any, Any],
    request: Request,
    how: How,
    check: Callable[[Any], None] | None = None,
) -> tuple[Ended, float]:
    """Run a call of a task to its outcome; return it with the seconds that it took.

    `check` raises when the returned value cannot be kept, which is then the task's failure. For a
    worker nothing that the task does raises from here; an eager caller gets the errors of handlers
    and, in the mode `RAISED`, the task's.
    """
    fields = request.__dict__
    fields["running_task"] = task
    token = current.enter(request)
    outcome: Ended | None = None
    try:
        try:
            if signals.task_prerun.is_heard:
                _send_prerun(task, request)
            hooks = task.hooks
            started = how.clock.monotonic()
            found = _call(task, request, hooks, how, check)
            seconds = how.clock.monotonic() - started
            outcome = found if isinstance(found, Success) else None
            outcome = _handle(task, request, hooks, how, found, seconds)
        finally:
            if signals.task_postrun.is_heard:
                _send_postrun(task, request, outcome)
            current.leave(token)
    except BaseException as error:
        _send_internal_error(task, request, error)
        raise
    return outcome, seconds


def _call(
    task: Task[Any, Any],
    request: Request,
    hooks: Hooks,
    how: How,
    check: Callable[[Any], None] | None,
) -> Ended:
    """Call the task and turn whatever it does into an outcome."""
    called = False
    try:
        if hooks.before_start is not None:
            hooks.before_start(request.id, request.args, request.kwargs)
        called = True
        value = hooks.call(*request.args or (), **request.kwargs or {})
        if inspect.iscoroutine(value):
            value = how.drive(value)
        called = False
        if check is not None:
            check(value)
        return Success(value)
    except Ignore as error:
        return Ignored(error)
    except Reject as error:
        return Rejected(str(error.reason), bool(error.requeue), error)
    except BaseException as error:  # tasks may raise anything, exits and cancellations too
        if how.mode is not Mode.WORKER and not isinstance(error, Exception):
            raise  # Ctrl-C is meant for who called
        outcome = _ended_by(task, error, called)
        if how.mode is Mode.RAISED:
            _raise(outcome.retry if isinstance(outcome, Retried) else outcome.error)
        return outcome


def _ended_by(task: Task[Any, Any], error: BaseException, called: bool) -> Retried | Failure:
    """Return the retry that the task asks for, also by itself, or the failure.

    Only what its function raises makes a task retry by itself, not its handlers.
    """
    if isinstance(error, Retry):
        return Retried(task, error, traceback_text(error))
    retry = None
    if called:
        try:
            retry = task.autoretry(error)
        except BaseException as final:  # noqa: BLE001 - the error itself, or MaxRetriesExceededError
            error = final
    if retry is not None:
        return Retried(task, retry, traceback_text(error))
    return failure(task, error)


def failure(task: Task[Any, Any], error: BaseException) -> Failure:
    """Return the failure of a task by an error."""
    return Failure(error, traceback_text(error), isinstance(error, classes(task.throws)))


def _raise(error: BaseException) -> NoReturn:
    raise error


def classes(wanted: Any) -> tuple[type[BaseException], ...]:
    """Return exceptions that were given as one class or as several."""
    return (wanted,) if isinstance(wanted, type) else tuple(wanted)


def _handle(
    task: Task[Any, Any],
    request: Request,
    hooks: Hooks,
    how: How,
    outcome: Ended,
    seconds: float,
) -> Ended:
    """Call the handlers of an outcome and send its signal; a handler may turn it into another."""
    match outcome:
        case Success(value):
            rejected = _after(hooks.on_success, how, task, request, value)
            if rejected is not None:
                return rejected
            if signals.task_success.is_heard:
                signals.task_success.send(task, result=value, runtime=seconds)
            return _returned(task, request, hooks, how, outcome, states.SUCCESS, value)
        case Failure():
            return _failed(task, request, hooks, how, outcome)
        case Retried():
            _retried(task, request, hooks, how, outcome)
        case Rejected(_, False, error) if how.mode is Mode.WORKER and error is not None:
            _send_failure(task, request, error, None)
    return outcome


def _after(
    handler: Handler | None, how: How, task: Task[Any, Any], request: Request, *values: Any
) -> Rejected | None:
    """Call a handler of what has ended. In a worker it cannot change that, but by raising Reject."""
    if handler is None:
        return None
    try:
        handler(*values, request.id, request.args, request.kwargs)
    except Reject as error:
        if how.mode is not Mode.WORKER:
            raise
        return Rejected(str(error.reason), bool(error.requeue), error)
    except BaseException:
        if how.mode is not Mode.WORKER:
            raise
        name = getattr(handler, "__name__", handler)
        logger.exception("Task %s[%s] %s handler raised", task.name, request.id, name)
    return None


def _returned(
    task: Task[Any, Any],
    request: Request,
    hooks: Hooks,
    how: How,
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

    return _after(after_return, how, task, request) or outcome


def _failed(
    task: Task[Any, Any], request: Request, hooks: Hooks, how: How, outcome: Failure
) -> Ended:
    try:
        _tell_failure(task, request, hooks, outcome)
    except BaseException as error:
        if how.mode is not Mode.WORKER:
            raise
        # As in Celery: the handler's error is the task's now, and the handler hears of it.
        _send_internal_error(task, request, error)
        _remember(outcome.error, error)
        outcome = failure(task, error)
        try:
            _tell_failure(task, request, hooks, outcome)
        except BaseException:
            logger.exception("Task %s[%s] on_failure handler raised", task.name, request.id)
        return outcome
    return _returned(task, request, hooks, how, outcome, states.FAILURE, outcome.error)


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
        info = ExceptionInfo(outcome.error, outcome.traceback)
        hooks.on_failure(outcome.error, request.id, request.args, request.kwargs, info)
    _send_failure(task, request, outcome.error, info)


def _retried(
    task: Task[Any, Any], request: Request, hooks: Hooks, how: How, outcome: Retried
) -> None:
    retry = outcome.retry
    info = ExceptionInfo(retry, outcome.traceback) if hooks.on_retry is not None else None
    if hooks.on_retry is not None:
        try:
            hooks.on_retry(retry.exc, request.id, request.args, request.kwargs, info)
        except BaseException as error:
            if how.mode is not Mode.WORKER:
                raise
            # In Celery the retry is on its way by then, whatever the handler does.
            _send_internal_error(task, request, error)
            logger.exception("Task %s[%s] on_retry handler raised", task.name, request.id)
    if signals.task_retry.is_heard:
        info = info or ExceptionInfo(retry, outcome.traceback)
        signals.task_retry.send(task, request=request, reason=retry, einfo=info)


def _send_prerun(task: Task[Any, Any], request: Request) -> None:
    signals.task_prerun.send(
        task, task_id=request.id, task=task, args=request.args, kwargs=request.kwargs
    )


def _send_postrun(task: Task[Any, Any], request: Request, outcome: Ended | None) -> None:
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


def _send_failure(
    task: Task[Any, Any], request: Request, error: BaseException, info: ExceptionInfo | None
) -> None:
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


def _send_internal_error(task: Task[Any, Any], request: Request, error: BaseException) -> None:
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


def ending(outcome: Ended | None) -> tuple[str | None, Any]:
    """Return the state that an outcome is, and what the task returned or raised."""
    match outcome:
        case Success(value):
            return states.SUCCESS, value
        case Failure(error):
            return states.FAILURE, error
        case Retried(_, retry):
            return states.RETRY, retry
        case Rejected(_, _, error):
            return states.REJECTED, error
        case Ignored(error):
            return states.IGNORED, error
    return None, None


class Loop:
    """An event loop for one task after the other, made when first needed."""

    def __init__(self) -> None:
        self._runner: asyncio.Runner | None = None

    def drive(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine to its end."""
        if self._runner is None:
            self._runner = asyncio.Runner()
        return self._runner.run(coroutine, context=contextvars.copy_context())

    def close(self) -> None:
        """End the event loop."""
        if self._runner is not None:
            self._runner.close()
            self._runner = None


def drive_here(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine to its end, on a loop of its own; within a coroutine, on a thread of its own."""
    context = contextvars.copy_context()
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        with asyncio.Runner() as runner:
            return runner.run(coroutine, context=context)
    outcome: Future[Any] = Future()

    def run() -> None:
        try:
            with asyncio.Runner() as runner:
                outcome.set_result(runner.run(coroutine, context=context))
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is for who waits
            outcome.set_exception(error)

    threading.Thread(target=run, name="umbel-eager", daemon=True).start()
    return outcome.result()
