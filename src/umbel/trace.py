"""From a call to an outcome: the only place that runs the code of tasks, their handlers included.

Workers and `Task.apply` both use it. No broker, no store. What is called when, and with what, is as
in Celery 5.7 (celery/app/trace.py).
"""

from __future__ import annotations

import inspect
import logging
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import wraps
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, Protocol

from umbel import announcing, current, signals, states
from umbel.clock import Clock
from umbel.driving import Drive, drive_here
from umbel.exceptions import Ignore, Reject, Retry
from umbel.outcomes import Ended, Failure, Ignored, Rejected, Retried, Success, ending
from umbel.request import Request
from umbel.tracebacks import ExceptionInfo, traceback_text

if TYPE_CHECKING:
    from umbel.task import Task

logger = logging.getLogger("umbel.trace")

Handler = Callable[..., Any]
Check = Callable[[Any], None] | None
Traced = tuple[Ended, float]


class Mode(Enum):
    """Who runs a task: a worker, or its caller, to whom errors may be `RAISED` as they are."""

    WORKER = "worker"
    EAGER = "eager"
    RAISED = "raised"


class Guard(Protocol):
    """What is around a task's own code where that may be interrupted."""

    def call(self, function: Handler, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Call the task."""

    def watched(self, coroutine: Coroutine[Any, Any, Any]) -> Coroutine[Any, Any, Any]:
        """Return what runs the task's coroutine."""


@dataclass(frozen=True, slots=True)
class How:
    """How tasks are run. `drive` runs a coroutine to its end; None: it is awaited."""

    clock: Clock
    drive: Drive | None
    mode: Mode = Mode.WORKER
    guard: Guard | None = None


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


def trace(
    task: Task[Any, Any],
    request: Request,
    how: How,
    check: Check = None,
) -> Traced:
    """Run a call of a task to its outcome; return it with the seconds that it took.

    `check` raises when the returned value cannot be kept, which is then the task's failure. For a
    worker nothing that the task does raises from here; an eager caller gets the errors of handlers
    and, in the mode `RAISED`, the task's.
    """
    if build_tracer is not OWN_TRACER and "way" not in request.__dict__:
        return _traced_by_others(task, request, how, check)
    running = trace_async(task, request, how, check)
    try:
        running.send(None)
    except StopIteration as end:
        traced: Traced = end.value
        return traced
    raise RuntimeError(f"{task.name} was to be driven, and waits instead.")


async def trace_async(
    task: Task[Any, Any], request: Request, how: How, check: Check = None
) -> Traced:
    """Do the same on the event loop that awaits this or, where coroutines are driven, without waiting."""
    request.__dict__["running_task"] = task
    token = current.enter(request)
    outcome: Ended | None = None
    try:
        try:
            if signals.task_prerun.is_heard:
                announcing.send_prerun(task, request)
            hooks = task.hooks
            started, called = how.clock.monotonic(), False
            found: Ended
            try:
                if hooks.before_start is not None:
                    hooks.before_start(request.id, request.args, request.kwargs)
                called = True
                value = (
                    hooks.call(*request.args or (), **request.kwargs or {})
                    if how.guard is None
                    else _guarded(hooks, request, how.guard)
                )
                if inspect.iscoroutine(value):
                    value = await value if how.drive is None else how.drive(value)
                called = False
                if check is not None:
                    check(value)
                found = Success(value)
            except BaseException as error:  # noqa: BLE001 - tasks may raise exits and cancellations, too
                found = ended_by(task, request, error, called, how.mode)
            seconds = how.clock.monotonic() - started
            outcome = found if isinstance(found, Success) else None
            outcome = handle(task, request, hooks, how, found, seconds)
        finally:
            if signals.task_postrun.is_heard:
                announcing.send_postrun(task, request, outcome)
            current.leave(token)
    except BaseException as error:
        announcing.send_internal_error(task, request, error)
        raise
    return outcome, seconds


def _guarded(hooks: Hooks, request: Request, guard: Guard) -> Any:
    """Call the task under a guard; return its value, or the coroutine that has it."""
    value = guard.call(hooks.call, request.args or (), request.kwargs or {})
    return guard.watched(value) if inspect.iscoroutine(value) else value


def is_traced_by_others() -> bool:
    """Tell whether another package's tracer is around tasks: it calls functions, which need threads."""
    return build_tracer is not OWN_TRACER


def ended_by(
    task: Task[Any, Any], request: Request, error: BaseException, called: bool, mode: Mode
) -> Ended:
    """Return the outcome of a call that raised: in its function if it was `called`, else in a handler.

    For an eager caller it raises what is for the caller.
    """
    if isinstance(error, Ignore) or request.given_back:
        return Ignored(error)
    if isinstance(error, Reject):
        return Rejected(str(error.reason), bool(error.requeue), error)
    if mode is not Mode.WORKER and not isinstance(error, Exception):
        raise error  # Ctrl-C is meant for who called
    outcome = _ended_by(task, error, called)
    if mode is Mode.RAISED:
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


def handle(
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
            announcing.send_failure(task, request, error, None)
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
        announcing.send_internal_error(task, request, error)
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
        info = ExceptionInfo(outcome.error, text=outcome.traceback)
        hooks.on_failure(outcome.error, request.id, request.args, request.kwargs, info)
    announcing.send_failure(task, request, outcome.error, info)


def _retried(
    task: Task[Any, Any], request: Request, hooks: Hooks, how: How, outcome: Retried
) -> None:
    retry = outcome.retry
    info = ExceptionInfo(retry, text=outcome.traceback) if hooks.on_retry is not None else None
    if hooks.on_retry is not None:
        try:
            hooks.on_retry(retry.exc, request.id, request.args, request.kwargs, info)
        except BaseException as error:
            if how.mode is not Mode.WORKER:
                raise
            # In Celery the retry is on its way by then, whatever the handler does.
            announcing.send_internal_error(task, request, error)
            logger.exception("Task %s[%s] on_retry handler raised", task.name, request.id)
    if signals.task_retry.is_heard:
        info = info or ExceptionInfo(retry, text=outcome.traceback)
        signals.task_retry.send(task, request=request, reason=retry, einfo=info)


# Where other packages come in; see hooks.py


@dataclass(slots=True)
class _Way:
    """How a call is run that goes through the tracers of others, and what became of it."""

    how: How
    check: Check = None
    traced: Traced | None = None


class trace_ok_t(NamedTuple):
    """What Celery's tracers return: value or error, the outcome if it is no success, seconds, a text."""

    retval: Any
    info: Any
    runtime: float
    retstr: str


Tracer = Callable[..., Any]


def build_tracer(  # noqa: PLR0913, PLR0917 - Celery's signature
    name: str,
    task: Task[Any, Any],
    loader: Any = None,
    hostname: str | None = None,
    store_errors: bool = True,
    Info: Any = None,
    eager: bool = False,
    propagate: bool = False,
    app: Any = None,
    **more: Any,
) -> Tracer:
    """Return what runs calls of a task: ``tracer(id, args, kwargs, request)``.

    Packages that watch tasks put a function of theirs in the place of this one, which wraps the task, and
    what this returns. It is then called once for each task in each process, before the task first runs.
    """
    mode = Mode.RAISED if eager and propagate else Mode.EAGER if eager else Mode.WORKER

    def tracer(
        uuid: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        request: Request | Mapping[str, Any] | None = None,
    ) -> trace_ok_t:
        call = request if isinstance(request, Request) else _request_of(uuid, task, request)
        call.__dict__.update(args=args, kwargs=kwargs)
        way: _Way = call.__dict__.setdefault("way", _Way(How(task.app.clock, drive_here, mode)))
        outcome, seconds = way.traced = trace(task, call, way.how, way.check)
        info = None if isinstance(outcome, Success) else outcome
        return trace_ok_t(ending(outcome)[1], info, seconds, "")

    return tracer


#: What there is as long as nobody has put something else in its place.
OWN_TRACER = build_tracer


def _request_of(uuid: str, task: Task[Any, Any], fields: Mapping[str, Any] | None) -> Request:
    """Return the request of a call that is traced by hand."""
    request = Request()
    request.update(fields or {}, id=uuid, task=task.name, called_directly=False)
    return request


def _traced_by_others(task: Task[Any, Any], request: Request, how: How, check: Check) -> Traced:
    """Run a call through what another package has put in the place of `build_tracer`.

    What it does beside running the task may go wrong: then the outcome counts if there is one, and
    else it is the task's failure.
    """
    way = request.__dict__["way"] = _Way(how, check)
    try:
        tracer = _tracer(task, request, how.mode)
        tracer(request.id, request.args, request.kwargs, request)
    except Exception as error:
        if how.mode is not Mode.WORKER:
            raise
        logger.exception("Task %s[%s]: what traces it raised", task.name, request.id)
        announcing.send_internal_error(task, request, error)
        return way.traced or (failure(task, error), 0.0)
    finally:
        request.__dict__.pop("way", None)
    if way.traced is None:
        text = f"{tracer!r}, which is to trace {task.name}, did not run it."
        return failure(task, RuntimeError(text)), 0.0
    return way.traced


_building = threading.RLock()


def _tracer(task: Task[Any, Any], request: Request, mode: Mode) -> Tracer:
    """Return a task's tracer, built when it is first needed, or when another one builds them now."""
    key = (build_tracer, mode)
    with _building:
        found: tuple[Any, Tracer] | None = task.__dict__.get("tracer")
        if found is not None and found[0] == key:
            return found[1]
        drivable = _drivable(task)
        built = build_tracer(
            task.name,
            task,
            getattr(task.app, "loader", None),
            hostname=request.hostname,
            eager=mode is not Mode.WORKER,
            propagate=mode is Mode.RAISED,
            app=task.app,
        )
        if drivable is not None and task.__dict__.get("run") is drivable:
            del task.__dict__["run"]
        task.forget_derived()
        task.__dict__["tracer"] = key, built
    return built


def _drivable(task: Task[Any, Any]) -> Callable[..., Any] | None:
    """Give an async task a `run` that ends when its coroutine does, for those who wrap it; return that.

    Wrappers see then what the task raises, and how long it takes. Where it is not traced it gives a
    coroutine, as ever.
    """
    if not task.is_async or "run" in task.__dict__:
        return None
    run = task.run

    @wraps(run)
    def run_to_end(*args: Any, **kwargs: Any) -> Any:
        value, request = run(*args, **kwargs), current.running.get()
        way = None if request is None else request.__dict__.get("way")
        if way is None or way.how.drive is None or not inspect.iscoroutine(value):
            return value
        return way.how.drive(value)

    task.__dict__["run"] = run_to_end
    return run_to_end
