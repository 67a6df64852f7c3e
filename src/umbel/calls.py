"""Calls that are sent: what `Task.apply_async` and `Umbel.send_task` share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from umbel import current
from umbel.message import Publication
from umbel.options import CallOptions
from umbel.publish import Context, Template, build
from umbel.request import Request
from umbel.result import AsyncResult
from umbel.routing import NOTHING, Wish, route

if TYPE_CHECKING:
    from umbel.app import Umbel

Maker = Callable[[Sequence[Any], Mapping[str, Any]], Publication]


class Target(NamedTuple):
    """What is called: its messages' template and its wishes where they go.

    `check` raises TypeError for arguments that it does not take; `shadow` returns another name for
    logs; `prepare` returns the arguments as they are sent.
    """

    template: Template
    own: Wish = NOTHING
    check: Callable[..., None] | None = None
    shadow: Callable[[Sequence[Any], Mapping[str, Any]], str | None] | None = None
    prepare: Callable[[Sequence[Any], Mapping[str, Any]], Any] | None = None


def maker(app: Umbel, target: Target, options: CallOptions) -> Maker:
    """Return what makes a publication of arguments; what all calls share is settled here."""
    settings = app.conf.snapshot
    parent = current.parent_call()
    if parent is not None and settings.task_inherit_parent_priority:
        options = _inherited(options, target.own, parent)
    where = route(target.template.name, options, target.own, settings)
    context = Context(settings, app.clock, parent=parent)
    check, prepare, shadow = target.check, target.prepare, target.shadow

    def publication(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Publication:
        require_arguments(args, kwargs)
        if check is not None:
            check(*args, **kwargs)
        chosen = options
        if shadow is not None and not options.shadow:
            chosen = replace(options, shadow=shadow(args, kwargs))
        if prepare is not None:
            args, kwargs = prepare(args, kwargs)
        return build(target.template, args, kwargs, chosen, where, context)

    return publication


def _inherited(options: CallOptions, own: Wish, parent: Request) -> CallOptions:
    """Return the options with the priority of the task that makes the call, unless there is one."""
    if options.priority is not None or own.priority is not None:
        return options
    return replace(options, priority=(parent.delivery_info or {}).get("priority"))


def require_arguments(args: object, kwargs: object) -> None:
    """Raise TypeError for what are no arguments of a call."""
    if not isinstance(args, list | tuple):
        raise TypeError("task args must be a list or tuple")
    if not isinstance(kwargs, Mapping):
        raise TypeError("task keyword arguments must be a mapping")


def publish(app: Umbel, publications: Sequence[Publication], options: CallOptions) -> None:
    """Send publications, with a policy of their own where the options have one."""
    if options.retry is None and options.retry_policy is None:
        app.publish(publications)
    else:
        app.publish(publications, options)


def result_of(app: Umbel, publication: Publication, options: CallOptions) -> AsyncResult[Any]:
    """Return the result to be of what was sent, and note it as a child of the task that sent it."""
    result: AsyncResult[Any] = AsyncResult(publication.message.headers["id"], app)
    if options.add_to_parent and current.running.get() is not None:
        add_to_parent(result)
    return result


def add_to_parent(result: AsyncResult[Any]) -> None:
    """Note a result as a child of the task that runs, unless that keeps no trail."""
    parent = current.parent_call()
    if parent is not None and (parent.running_task is None or parent.running_task.trail):
        parent.children.append(result)
