"""Calls that are sent: what `Task.apply_async` and `Umbel.send_task` share."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from umbel import current
from umbel.blanks import blank
from umbel.message import Publication
from umbel.options import CALL_NAMES, NO_OPTIONS, CallOptions, StepOptions
from umbel.publish import Context, Template, build
from umbel.result import AsyncResult, ResultBase
from umbel.result.making import is_ignored
from umbel.routing import Router, inherited
from umbel.series import Series, series

if TYPE_CHECKING:
    from umbel.app import Umbel
    from umbel.task import Task

Maker = Callable[[Sequence[Any], Mapping[str, Any]], Publication]


class Target(NamedTuple):
    """What is called: its messages' template, and the task where it is known, which says where they go.

    `check` raises TypeError for arguments that it does not take; `shadow` returns another name for
    logs; `prepare` returns the arguments as they are sent.
    """

    template: Template
    task: Task[Any, Any] | None = None
    check: Callable[..., None] | None = None
    shadow: Callable[[Sequence[Any], Mapping[str, Any]], str | None] | None = None
    prepare: Callable[[Sequence[Any], Mapping[str, Any]], Any] | None = None


#: Attributes of a task on which its plain calls depend.
_ATTRIBUTES = attrgetter(
    *("name", "queue", "exchange", "routing_key", "delivery_mode", "priority", "serializer"),
    *("compression", "expires", "time_limit", "soft_time_limit", "ignore_result", "typing"),
)


class Kept(NamedTuple):
    """What makes a task's plain calls, for as long as what it was made of is the same."""

    app: Umbel
    router: Router
    queues: int
    strict: bool
    pid: int
    attributes: tuple[Any, ...]
    maker: Callable[..., Publication] | None

    def holds(self, app: Umbel, router: Router, attributes: tuple[Any, ...]) -> bool:
        """Tell whether it still is."""
        return (
            self.router is router
            and self.attributes == attributes
            and self.queues == router.queues.version
            and self.app is app
            and self.strict is app.strict_typing
            and self.pid == os.getpid()
        )


def task_maker(app: Umbel, task: Task[Any, Any], options: CallOptions) -> Maker:
    """Return what makes a publication of arguments for a task; of a plain call it is kept."""
    if options is NO_OPTIONS or not options.says_more:
        router, attributes = app.amqp.router, _ATTRIBUTES(task)
        kept: Kept | None = task.__dict__.get("_kept")
        if kept is None or not kept.holds(app, router, attributes):
            made = _plain_maker(app, task, router)
            kept = task.__dict__["_kept"] = Kept(
                app,
                router,
                router.queues.version,
                app.strict_typing,
                os.getpid(),
                attributes,
                made,
            )
        if kept.maker is not None:
            return kept.maker if options is NO_OPTIONS else partial(kept.maker, options=options)
    return maker(app, task.target(app, options), options)


def step_maker(app: Umbel, task: Task[Any, Any]) -> Callable[..., Publication] | None:
    """Return what makes publications of a task with the options of a step (`StepOptions`).

    None where `apply_async` has to send it: others have replaced it, or it has more to say, or it would send
    by another app, which the task is bound to.
    """
    if not app.finalized or app.conf.snapshot.task_always_eager or task.app is not app:
        return None
    if getattr(task.apply_async, "__func__", None) is not task.originals["apply_async"]:
        return None  # also that of one task, which some tools replace
    if type(app).send_task is not type(app).own_send_task:
        return None
    task_maker(app, task, NO_OPTIONS)
    kept: Kept = task.__dict__["_kept"]
    return kept.maker


def _plain_maker(
    app: Umbel, task: Task[Any, Any], router: Router
) -> Callable[..., Publication] | None:
    """Return what makes the plain calls of a task; None where they differ in more than their arguments."""
    settings, target = app.conf.snapshot, task.target(app, NO_OPTIONS)
    if not router.fixed or target.shadow is not None or settings.task_inherit_parent_priority:
        return None
    if app.engines.reply_to is not None:  # a child of a fork is another one to answer
        return None
    route, options = router.where(task.name, NO_OPTIONS, task)
    # Who listens to an exchange may change from call to call.
    form = None if route.exchange else blank(target.template, route, settings, app.clock)
    if form is None or options != NO_OPTIONS:  # a route may add some
        return None
    filled, check, prepare = form.filled, target.check, target.prepare

    def publication(
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        options: CallOptions | StepOptions = NO_OPTIONS,
    ) -> Publication:
        if type(args) is not tuple or type(kwargs) is not dict:
            require_arguments(args, kwargs)
        if check is not None:
            check(*args, **kwargs)
        if prepare is not None:
            args, kwargs = prepare(args, kwargs)
        return filled(args, kwargs, current.parent_call(), options)

    return publication


def maker(app: Umbel, target: Target, options: CallOptions) -> Maker:
    """Return what makes a publication of arguments; what all calls share is settled here."""
    settings, parent = app.conf.snapshot, current.parent_call()
    router, name = app.amqp.router, target.template.name
    context = Context(settings, app.clock, parent=parent, reply_to=app.engines.reply_to)
    check, prepare, shadow = target.check, target.prepare, target.shadow
    fixed = None
    if router.fixed:
        where, options = router.where(name, options, target.task)
        fixed = inherited(where, settings, parent)

    def publication(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Publication:
        require_arguments(args, kwargs)
        if check is not None:
            check(*args, **kwargs)
        chosen, where = options, fixed
        if where is None:
            where, chosen = router.where(name, options, target.task, args, kwargs)
            where = inherited(where, settings, parent)
        if shadow is not None and not options.shadow:
            chosen = replace(chosen, shadow=shadow(args, kwargs))
        if prepare is not None:
            args, kwargs = prepare(args, kwargs)
        return build(target.template, args, kwargs, chosen, where, context)

    return publication


def series_maker(app: Umbel, target: Target, options: CallOptions) -> Series | None:
    """Return what makes the calls of a group, which share options; None where not all of them are alike."""
    router, settings, parent = app.amqp.router, app.conf.snapshot, current.parent_call()
    if not router.fixed or target.shadow is not None:
        return None
    where, chosen = router.where(target.template.name, options, target.task)
    if where.exchange:  # who listens to it may change from call to call
        return None
    context = Context(settings, app.clock, parent=parent, reply_to=app.engines.reply_to)
    place = inherited(where, settings, parent)
    return series(target.template, chosen, place, context, target.check, target.prepare)


def send(
    app: Umbel, name: str, args: Sequence[Any], kwargs: Mapping[str, Any], options: CallOptions
) -> AsyncResult[Any]:
    """Send a call of a task by its name. Where it is known, its own options count, but not its signature."""
    task = app.tasks.get(name)
    if task is None:
        target = Target(Template(name, ignore_result=None))
    else:
        template = task.target(app, options).template
        target = Target(replace(template, ignore_result=None), task)
    publication = maker(app, target, options)(args, kwargs)
    publish(app, [publication], options)
    return result_of(app, publication, options, task)


def send_by_app(
    app: Umbel,
    target: Target,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    options: CallOptions,
    keywords: Mapping[str, Any],
) -> AsyncResult[Any]:
    """Send a call of a task through a `send_task` that is not ours, as Celery does with all calls."""
    require_arguments(args, kwargs)
    if target.check is not None:
        target.check(*args, **kwargs)
    more = dict(keywords)
    if target.shadow is not None and not options.shadow:
        more["shadow"] = target.shadow(args, kwargs)
    if target.prepare is not None:
        args, kwargs = target.prepare(args, kwargs)
    more.setdefault("ignore_result", target.template.ignore_result)
    return app.send_task(target.template.name, args, kwargs, **more)


def require_arguments(args: object, kwargs: object) -> None:
    """Raise TypeError for what are no arguments of a call."""
    if not isinstance(args, list | tuple):
        raise TypeError(
            f"The arguments of a call must be a list or a tuple, such as (1,), and not of the type"
            f" {type(args).__name__}."
        )
    if not isinstance(kwargs, dict | Mapping):
        raise TypeError(
            "The keyword arguments of a call must be a mapping, such as {'x': 1}, and not of the type"
            f" {type(kwargs).__name__}."
        )


def note_options(error: TypeError, kwargs: Mapping[str, Any]) -> None:
    """Add to the error about arguments of `delay` that one of them is an option of `apply_async`."""
    for name in kwargs:
        if name in CALL_NAMES and f"unexpected keyword argument {name!r}" in str(error):
            error.add_note(
                f"{name} is an option of a call: apply_async(args, kwargs, {name}=...) takes it;"
                " delay takes the task's own arguments."
            )


def publish(app: Umbel, publications: Sequence[Publication], options: CallOptions) -> None:
    """Send publications, with a policy of their own where the options have one."""
    if options.retry is None and options.retry_policy is None and options.timeout is None:
        app.publish(publications)
    else:
        app.publish(publications, options)


def result_of(
    app: Umbel,
    publication: Publication,
    options: CallOptions,
    task: Task[Any, Any] | None = None,
) -> AsyncResult[Any]:
    """Return the result to be of what was sent, and note it as a child of the task that sent it."""
    result: AsyncResult[Any] = AsyncResult(publication.task_id, app=app)
    note_result(app, result, options, task)
    return result


def results_of(
    app: Umbel,
    publications: Sequence[Publication],
    options: CallOptions,
    task: Task[Any, Any],
) -> list[AsyncResult[Any]]:
    """Do so for many calls of one task, of which all is alike but the ids."""
    if not publications:
        return []
    first = result_of(app, publications[0], options, task)
    ignored = first.ignored
    results = [first]
    for publication in publications[1:]:
        result: AsyncResult[Any] = AsyncResult(publication.task_id, app=app)
        result.just_sent = True
        result.ignored = ignored
        results.append(result)
    if options.add_to_parent and current.running.get() is not None:
        for result in results[1:]:
            add_to_parent(result)
    return results


def note_result(
    app: Umbel,
    result: AsyncResult[Any],
    options: CallOptions,
    task: Task[Any, Any] | None = None,
) -> None:
    """Note in a result what was sent for it, and that it is a child of the task that sent it."""
    result.just_sent = True
    result.ignored = is_ignored(options.ignore_result, task, app.conf.snapshot)
    if options.add_to_parent and current.running.get() is not None:
        add_to_parent(result)


def add_to_parent(result: ResultBase) -> None:
    """Note a result as a child of the task that runs, unless that keeps no trail."""
    parent = current.parent_call()
    if parent is not None and (parent.running_task is None or parent.running_task.trail):
        parent.children.append(result)
