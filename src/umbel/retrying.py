"""The next try of a call: whether there is one, its arguments, and what makes it the same call."""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, NoReturn

from umbel import current, signals
from umbel.exceptions import Retry
from umbel.hooks import PUBLISH
from umbel.message import Publication
from umbel.options import CALL_NAMES, CallOptions, as_keywords, call_options
from umbel.policies import RetryPolicy
from umbel.publish import Context, build
from umbel.request import Request
from umbel.routing import Route, back_from

if TYPE_CHECKING:
    from umbel.task import Task

_rng = random.Random()
_OF_PUBLISHES = (signals.before_task_publish, signals.after_task_publish, signals.task_sent)
#: What the call has none of, because it took it back, its retry does not get from its task again.
_TAKEN_BACK = ("expires", "time_limit", "soft_time_limit")


@dataclass(frozen=True, slots=True)
class Again:
    """What `Task.retry` asks for: the same call once more, with these arguments and options.

    `route` is where it goes; None is where it came from. `sent` when that has been done already. `messages`
    are those that `apply_async` made of it, where others are around that.
    """

    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    options: CallOptions
    route: Route | None = None
    sent: bool = False
    messages: tuple[Publication, ...] | None = None


@dataclass(frozen=True, slots=True)
class When:
    """When the next try is due: at a time, or in some seconds; neither: as the task says."""

    eta: datetime | None = None
    countdown: float | None = None


@dataclass(frozen=True, slots=True)
class Given:
    """What `Task.retry` was given. None: as the call has it, or as the task says."""

    args: Sequence[Any] | None = None
    kwargs: Mapping[str, Any] | None = None
    error: BaseException | None = None
    max_retries: int | None = None
    when: When = When()
    options: Mapping[str, Any] = field(default_factory=dict)


def next_try(task: Task[Any, Any], given: Given) -> Retry:
    """Return the next try of the call of a task that runs here.

    Raises the given error when there were enough retries, or MaxRetriesExceededError without one; outside of
    a worker the error or Retry.
    """
    request = task.request
    if request.called_directly:
        _raise(given.error or Retry("Task can be retried", None))
    args, kwargs = arguments_of_retry(request, given.args, given.kwargs, task.call_signature)
    args = tuple(args)
    allowed = task.max_retries if given.max_retries is None else given.max_retries
    retries = request.retries + 1
    if allowed is not None and retries > allowed:
        if given.error is not None:
            _raise(given.error)
        raise task.MaxRetriesExceededError(
            f"Can't retry {task.name}[{request.id}] args:{args} kwargs:{kwargs}",
            task_args=args,
            task_kwargs=kwargs,
        )
    when = given.when
    if when.countdown is None and when.eta is None:
        when = When(countdown=task.default_retry_delay)
    same = same_call(request, retries, when, given.options)
    # None: back to where it came from, unless it is told another queue or exchange.
    told = same.queue is not None or same.exchange is not None
    route = task.app.amqp.router.elsewhere(same) if told else None
    again = Again(args, kwargs, same, route)
    due = when.eta or when.countdown
    return Retry(exc=given.error, when=due, is_eager=request.is_eager, sig=again)


def next_try_after(task: Task[Any, Any], error: BaseException, policy: RetryPolicy) -> Retry | None:
    """Return the next try that ``autoretry_for`` asks for after an error, or None."""
    if not policy.wants(error):
        return None
    keywords = dict(policy.keywords)
    delay = policy.delay(task.request.retries, _rng)
    if delay is not None:
        keywords["countdown"] = delay
    names = ("args", "kwargs", "max_retries", "eta", "countdown")
    args, kwargs, most, eta, countdown = (keywords.pop(name, None) for name in names)
    asked = Given(args, kwargs, error, most, When(eta, countdown), keywords)
    return as_sent(task, next_try(task, asked))


def send_now(task: Task[Any, Any], retry: Retry) -> Retry:
    """Send a retry that is not raised, so that the task may go on; return it."""
    again: Again = retry.sig
    if _is_watched(task):
        _call_again(task, again)
    else:
        _publish(task, again)
    retry.sig = replace(again, sent=True)
    return retry


def _publish(task: Task[Any, Any], again: Again) -> None:
    app = task.app
    settings, options = app.conf.snapshot, again.options
    route = again.route or back_from(task.request, options)
    if route is None:
        route, _ = app.amqp.router.where(task.name, options, task)
    template, context = task.template(settings), Context(settings, app.clock)
    app.publish([build(template, again.args, again.kwargs, options, route, context)])


# What others are around


def as_sent(task: Task[Any, Any], retry: Retry) -> Retry:
    """Return a retry with the messages that `apply_async` makes of it, where somebody is around that.

    In Celery a retry is a call like others: tracers give it a span, a class may have an `apply_async` of its
    own, signals are sent. All that happens here while the task runs, within what is around the task. The
    messages are published in the step that settles the call.

    One that sends nothing, since it takes the retry for a second call, say, does not make it vanish: then it
    is sent as if nobody was around. Whoever means to refuse it raises.
    """
    if retry.is_eager or not _is_watched(task):
        return retry
    kept = _Kept()
    token = current.outbox.set(kept)
    try:
        _call_again(task, retry.sig)
    finally:
        current.outbox.reset(token)
    if kept.publications:
        retry.sig = replace(retry.sig, messages=tuple(kept.publications))
    return retry


class _Kept:
    """Takes the place of the broker, and keeps what is published."""

    def __init__(self) -> None:
        self.publications: list[Publication] = []

    def publish(self, publications: Sequence[Publication], timeout: float) -> None:
        """Keep publications."""
        self.publications += publications


def _is_watched(task: Task[Any, Any]) -> bool:
    """Tell whether anybody hears of calls of a task that are sent, or is around that."""
    app = task.app
    return (
        type(task).apply_async is not task.originals["apply_async"]
        or type(app).send_task is not type(app).own_send_task
        or PUBLISH.replaced_by() is not None
        or any(signal.is_heard for signal in _OF_PUBLISHES)
    )


def _call_again(task: Task[Any, Any], again: Again) -> None:
    """Send a retry as Celery does, through the `apply_async` of its task."""
    keywords = {**as_keywords(again.options), "add_to_parent": False}
    # Some of those who are around change the headers that they are given.
    keywords["headers"] = dict(again.options.headers or {})
    if again.route is None:
        keywords |= _place(task.request)
    task.apply_async(again.args, again.kwargs, **keywords)


def _place(request: Request) -> dict[str, Any]:
    """Return as options where a call came from; none for what came through no queue."""
    info = request.delivery_info or {}
    mode = (request.properties or {}).get("delivery_mode")
    found = {} if mode in (2, None) else {"delivery_mode": mode}
    if info.get("exchange"):
        return {**found, "exchange": info["exchange"], "routing_key": info.get("routing_key")}
    return found if request.came_through is None else {**found, "queue": request.came_through}


def _raise(error: BaseException) -> NoReturn:
    raise error


def same_call(
    request: Request,
    retries: int,
    when: When,
    options: Mapping[str, Any],
) -> CallOptions:
    """Return the options that make a retry the same call: its ids, limits, headers, what follows it."""
    info = request.delivery_info or {}
    given = call_options(options, "retry")  # refuses what is not the caller's to write
    kept: dict[str, Any] = {
        "task_id": request.id,
        "root_id": request.root_id,
        # The retry is sent from within the task, which is its parent unless it has one already.
        "parent_id": request.parent_id or request.id,
        "group_id": request.group,
        "group_index": request.group_index,
        "expires": request.expires,
        "time_limit": request.time_limit,
        "soft_time_limit": request.soft_time_limit,
        "shadow": request.shadow,
        "headers": request.headers,
        "reply_to": request.reply_to,
        "ignore_result": request.ignore_result,
        "priority": info.get("priority") or None,
        "retries": retries,
        "countdown": when.countdown,
        "eta": when.eta,
        "link": request.callbacks,
        "link_error": request.errbacks,
        "chain": request.raw_chain,
        "chord": request.chord,
        "origin": request.origin,
        "replaced_task_nesting": request.replaced_task_nesting,
        "stamped_headers": request.stamped_headers,
        "stamps": request.stamps or {},
        "properties": given.properties,
    }
    kept |= {name: getattr(given, name) for name in options if name in CALL_NAMES}
    if "stamped_headers" in options:
        kept["stamps"] = given.stamps
    none = {name for name in _TAKEN_BACK if kept[name] is None}
    return CallOptions(**kept, cleared=given.cleared | none)


Arguments = tuple[Sequence[Any], Mapping[str, Any]]
"""Positional and keyword arguments."""


def arguments_of_retry(
    request: Request,
    args: Sequence[Any] | None,
    kwargs: Mapping[str, Any] | None,
    signature: Callable[[], inspect.Signature],
) -> Arguments:
    """Return the arguments of the next try: the given ones, and of the call's own what agrees with them.

    As in Celery's ``Task.retry``: new positional arguments drop the keywords of the parameters that
    they fill, and a new keyword takes the place of a positional argument of that name.
    """
    own_args, own_kwargs = request.args or (), request.kwargs or {}
    if args is not None and kwargs is None and own_kwargs:
        return args, _without_filled(signature(), args, own_kwargs)
    if kwargs is not None and args is None and own_args:
        return _with_replaced(signature(), own_args, kwargs)
    return own_args if args is None else args, own_kwargs if kwargs is None else kwargs


def _without_filled(
    signature: inspect.Signature, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Mapping[str, Any]:
    positional = [
        parameter
        for parameter in signature.parameters.values()
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]
    # A positional-only parameter does not take the keyword of its name, which may be one of **kwargs.
    filled = {
        parameter.name
        for parameter in positional[: len(args)]
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD
    }
    return {name: value for name, value in kwargs.items() if name not in filled}


def _with_replaced(
    signature: inspect.Signature, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Arguments:
    try:
        bound = signature.bind_partial(*args)
    except TypeError:
        return args, kwargs  # more than the task takes, which the check of arguments says better
    left = dict(kwargs)
    for name in kwargs:
        if (
            name in bound.arguments
            and signature.parameters[name].kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
        ):
            bound.arguments[name] = left.pop(name)
    return bound.args, {**bound.kwargs, **left}
