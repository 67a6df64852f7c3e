"""From a call of an ``async def`` task to its outcome, as a coroutine: many of them run on one event loop.

What is called when is as in `umbel.trace`, which has all the rules; here is only what waits.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from umbel import announcing, current, signals, trace
from umbel.outcomes import Ended, Success
from umbel.request import Request
from umbel.trace import Check, Hooks, How, Mode, Traced

if TYPE_CHECKING:
    from umbel.task import Task


def is_traced_by_others() -> bool:
    """Tell whether another package has put its tracer around tasks.

    It calls them as functions that return when they end, which a coroutine does not: such calls need a
    thread each.
    """
    return trace.build_tracer is not trace.OWN_TRACER


async def trace_async(
    task: Task[Any, Any], request: Request, how: How, check: Check = None
) -> Traced:
    """Run a call of an async task in a worker to its outcome; return it with the seconds that it took.

    Nothing that the task does raises from here.
    """
    request.__dict__["running_task"] = task
    token = current.enter(request)
    outcome: Ended | None = None
    try:
        try:
            if signals.task_prerun.is_heard:
                announcing.send_prerun(task, request)
            hooks = task.hooks
            started = how.clock.monotonic()
            found = await _call(task, request, hooks, check)
            seconds = how.clock.monotonic() - started
            outcome = found if isinstance(found, Success) else None
            outcome = trace.handle(task, request, hooks, how, found, seconds)
        finally:
            if signals.task_postrun.is_heard:
                announcing.send_postrun(task, request, outcome)
            current.leave(token)
    except BaseException as error:
        announcing.send_internal_error(task, request, error)
        raise
    return outcome, seconds


async def _call(task: Task[Any, Any], request: Request, hooks: Hooks, check: Check) -> Ended:
    """Call the task, wait for it, and turn whatever it does into an outcome."""
    called = False
    try:
        if hooks.before_start is not None:
            hooks.before_start(request.id, request.args, request.kwargs)
        called = True
        value = hooks.call(*request.args or (), **request.kwargs or {})
        if inspect.iscoroutine(value):
            value = await value
        called = False
        if check is not None:
            check(value)
        return Success(value)
    except BaseException as error:  # noqa: BLE001 - tasks may raise anything, exits and cancellations too
        return trace.ended_by(task, error, called, Mode.WORKER)
