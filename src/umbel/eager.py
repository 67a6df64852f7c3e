"""Tasks that are run where they are called: `Task.apply`, and calls with ``task_always_eager``."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from umbel import current
from umbel.backend import require_storable
from umbel.clock import unique_id
from umbel.driving import drive_here
from umbel.following import after_failure, call_errbacks, send_after_success
from umbel.handlers import Mode
from umbel.links import as_list
from umbel.message import decode
from umbel.options import CallOptions, EagerOptions
from umbel.outcomes import Ended, Failure, Retried, Success, ending
from umbel.publish import Context, build
from umbel.request import Request
from umbel.result import EagerResult, denied_join_result
from umbel.retrying import Again
from umbel.routing import Route
from umbel.settings import Settings
from umbel.trace import How, trace
from umbel.tracebacks import traceback_text

if TYPE_CHECKING:
    from umbel.app import Umbel
    from umbel.task import Task


def apply(
    task: Task[Any, Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    options: EagerOptions,
) -> EagerResult[Any]:
    """Run a task here and now, its retries included, without waiting between them."""
    app = task.app
    settings = app.conf.snapshot
    throw = settings.task_eager_propagates if options.throw is None else options.throw
    request = _request(task, args, kwargs, options)
    keeper = _Keeper(app, task, request, settings)
    task.__dict__.pop("hooks", None)  # tests replace methods between calls
    while True:
        mode = Mode.RAISED if throw else Mode.EAGER
        how = How(app.clock, app.integrations.driver(drive_here), mode)
        outcome, _ = trace(task, request, how, _check(app, request, keeper.check()))
        keeper.keep(request, outcome)
        if isinstance(outcome, Failure) and request.errbacks:
            _run_errbacks(app, request, outcome)
        again = outcome.retry.sig if isinstance(outcome, Retried) else None
        if not isinstance(again, Again):
            state, value = ending(outcome)
            text = _text_of(outcome, value)
            return EagerResult(request.id or "", value, state or "", text, task.name)
        next_options = replace(
            options, task_id=request.id, retries=request.retries + 1, headers=request.headers
        )
        request = _request(task, again.args, again.kwargs, next_options)
        throw = settings.task_eager_propagates


def _request(
    task: Task[Any, Any], args: Sequence[Any], kwargs: Mapping[str, Any], options: EagerOptions
) -> Request:
    """Return the request of a call that is run here, with what Celery's has."""
    parent = current.parent_call()
    task_id = options.task_id or unique_id()
    settings = task.app.conf.snapshot
    limits = task.limits(settings)
    return Request(
        id=task_id,
        task=task.name,
        args=args,
        kwargs=kwargs,
        parent_id=parent.id if parent else None,
        root_id=(parent.root_id if parent else None) or task_id,
        retries=options.retries or 0,
        callbacks=as_list(options.link),
        errbacks=as_list(options.link_error),
        chain=options.chain,
        is_eager=True,
        called_directly=False,
        logfile=options.logfile,
        loglevel=options.loglevel or 0,
        hostname=platform.node(),
        headers=options.headers,
        timelimit=None if limits == (None, None) else list(limits),
        time_limit=limits[0],
        soft_time_limit=limits[1],
        ignore_result=task.policy(settings).ignore_result
        if options.ignore_result is None
        else options.ignore_result,
        delivery_info={
            "is_eager": True,
            "exchange": options.exchange,
            "routing_key": options.routing_key,
            "priority": options.priority,
        },
        stamped_headers=options.stamped_headers and list(options.stamped_headers),
        stamps=options.stamps or None,
    )


def _check(
    app: Umbel, request: Request, storable: Callable[[Any], None] | None
) -> Callable[[Any], None] | None:
    """Return what raises for a value that cannot be stored, and sends what follows one that can."""
    if not (request.callbacks or request.chain):
        return storable

    def check(value: Any) -> None:
        if storable is not None:
            storable(value)
        send_after_success(request, value, app, unique_id)

    return check


def _run_errbacks(app: Umbel, request: Request, outcome: Failure) -> None:
    """Run here what follows a failure."""
    token = current.enter(request)
    try:
        direct, others = after_failure(request, app, unique_id)
        call_errbacks(direct, request, outcome.error, outcome.traceback)
        for errback in others:
            errback.run()
    finally:
        current.leave(token)


def _text_of(outcome: Ended, value: Any) -> str | None:
    match outcome:
        case Success():
            return None
        case Failure(_, text) | Retried(_, _, text):
            return text
    return traceback_text(value) if isinstance(value, BaseException) else None


class _Keeper:
    """Stores outcomes where ``task_store_eager_result`` asks for it."""

    def __init__(
        self, app: Umbel, task: Task[Any, Any], request: Request, settings: Settings
    ) -> None:
        policy = task.policy(settings)
        ignored = request.ignore_result
        wanted = task.store_eager_result
        wanted = settings.task_store_eager_result if wanted is None else wanted
        self._backend, self._name, self._settings = app.backend, task.name, settings
        keeps = app.results is not None
        self._values = keeps and wanted and not ignored
        errors = policy.store_errors_even_if_ignored if ignored else wanted
        self._errors = keeps and errors

    def check(self) -> Callable[[Any], None] | None:
        """Return what raises EncodeError for a value that cannot be stored, if it is to be."""
        return partial(require_storable, self._name, self._settings) if self._values else None

    def keep(self, request: Request, outcome: Ended) -> None:
        """Store an outcome."""
        state, value = ending(outcome)
        match outcome:
            case Success() if self._values:
                text = None
            case Failure(_, text) if self._errors:
                pass
            case Retried(_, retry, text) if self._errors:
                value = retry.exc
            case _:
                return
        if request.id and state:
            self._backend.store_result(request.id, value, state, text, request)


def apply_instead(
    task: Task[Any, Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    options: CallOptions,
) -> EagerResult[Any]:
    """Run a call that would have been sent, were it not for ``task_always_eager``."""
    eager = EagerOptions(
        task_id=options.task_id,
        retries=options.retries,
        throw=options.throw,
        headers=options.headers,
        ignore_result=options.ignore_result,
        link=options.link,
        link_error=options.link_error,
        chain=options.chain,
        exchange=options.exchange or task.exchange,
        routing_key=options.routing_key or task.routing_key,
        priority=task.priority if options.priority is None else options.priority,
        stamped_headers=options.stamped_headers,
        stamps=options.stamps,
    )
    with denied_join_result():
        return apply(task, args, kwargs, eager)


def travelled(
    task: Task[Any, Any], args: Sequence[Any], kwargs: Mapping[str, Any], options: CallOptions
) -> tuple[Sequence[Any], Mapping[str, Any]]:
    """Return the arguments as a worker would read them from the message of the call.

    Raises EncodeError for what cannot travel.
    """
    settings = task.app.conf.snapshot
    route, context = Route(settings.task_default_queue), Context(settings, task.app.clock)
    message = build(task.template(settings), args, kwargs, options, route, context).message
    call = decode(message, (message.content_type,), settings)
    return call.args, call.kwargs
