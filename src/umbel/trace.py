"""From a call to an outcome: the only place that runs the code of tasks, their handlers included.

Workers and `Task.apply` both use it. No broker, no store. What is called when, and with what, is as
in Celery 5.7 (celery/app/trace.py).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from types import CoroutineType
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, Protocol

from umbel import announcing, current, signals
from umbel.clock import Clock
from umbel.driving import Drive, drive_here
from umbel.exceptions import Ignore, Reject, Retry
from umbel.forked import end_if_copied
from umbel.handlers import Handler, Hooks, Mode, failure, handle, task_has_custom
from umbel.outcomes import Ended, Failure, Ignored, Rejected, Retried, Success, ending
from umbel.request import Request
from umbel.tracebacks import traceback_text

if TYPE_CHECKING:
    from umbel.task import Task

__all__ = [
    "Check",
    "Guard",
    "How",
    "Traced",
    "build_tracer",
    "is_traced_by_others",
    "task_has_custom",
    "trace",
    "trace_async",
    "trace_ok_t",
]

logger = logging.getLogger("umbel.trace")

Check = Callable[[Any], None] | None
Traced = tuple[Ended, float]


class Guard(Protocol):
    """What is around a task's own code where that may be interrupted."""

    def call(self, function: Handler, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Call the task."""

    def watched(self, coroutine: Coroutine[Any, Any, Any]) -> Coroutine[Any, Any, Any]:
        """Return what runs the task's coroutine."""


@dataclass(frozen=True, slots=True)
class How:
    """How tasks are run. `drive` runs a coroutine to its end; None: it is awaited.

    `process` is the pid of the only process in which anything goes on after a task's code; None: in any.
    """

    clock: Clock
    drive: Drive | None
    mode: Mode = Mode.WORKER
    guard: Guard | None = None
    process: int | None = None


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
    fields = request.__dict__  # asked for once: an attribute of a request takes as long as a call
    fields["running_task"] = task
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
                    hooks.call(*fields["args"] or (), **fields["kwargs"] or {})
                    if how.guard is None
                    else _guarded(hooks, request, how.guard)
                )
                if isinstance(value, CoroutineType):
                    value = await value if how.drive is None else how.drive(value)
                called = False
                if how.process is not None:
                    end_if_copied(how.process, task.name)
                if check is not None:
                    check(value)
                found = Success(value)
            except BaseException as error:  # noqa: BLE001 - tasks may raise exits and cancellations, too
                if how.process is not None:
                    end_if_copied(how.process, task.name, error)
                found = ended_by(task, request, error, called, how.mode)
            seconds = how.clock.monotonic() - started
            outcome = found if isinstance(found, Success) else None
            outcome = handle(task, request, hooks, how.mode, found, seconds)
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
    return guard.watched(value) if isinstance(value, CoroutineType) else value


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


def _raise(error: BaseException) -> NoReturn:
    raise error


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
        if way is None or way.how.drive is None or not isinstance(value, CoroutineType):
            return value
        return way.how.drive(value)

    task.__dict__["run"] = run_to_end
    return run_to_end
