"""The next try of a call: its arguments, and the options that make it the same call."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from umbel.options import CALL_NAMES, CallOptions, RepeatOptions, call_options
from umbel.request import Request
from umbel.routing import Route


@dataclass(frozen=True, slots=True)
class Again:
    """What `Task.retry` asks for: the same call once more, with these arguments and options.

    `route` is where it goes; None is where it came from. `sent` when that has been done already.
    """

    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    options: CallOptions
    route: Route | None = None
    sent: bool = False


def same_call(
    request: Request,
    retries: int,
    countdown: float | None,
    eta: datetime | None,
    options: Mapping[str, Any],
) -> RepeatOptions:
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
        "countdown": countdown,
        "eta": eta,
        "callbacks": request.callbacks,
        "errbacks": request.errbacks,
        "chain": request.chain,
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
    # What the call has none of, because it took it back, it does not get from its task again.
    none = {name for name in ("expires", "time_limit", "soft_time_limit") if kept[name] is None}
    return RepeatOptions(**kept, cleared=given.cleared | none)


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
