"""What a running task knows about its call: ``self.request``."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from umbel.message import Call, Delivery


@dataclass(slots=True, kw_only=True, weakref_slot=True)
class Request:
    """The fields of Celery's ``Context``. Times are ISO 8601 texts, limits are seconds."""

    id: str | None = None
    task: str | None = None
    args: Sequence[Any] | None = None
    kwargs: Mapping[str, Any] | None = None
    retries: int = 0
    eta: str | None = None
    expires: str | None = None
    root_id: str | None = None
    parent_id: str | None = None
    group: str | None = None
    group_index: int | None = None
    chain: Any = None
    chord: Any = None
    callbacks: Any = None
    errbacks: Any = None
    correlation_id: str | None = None
    reply_to: str | None = None
    origin: str | None = None
    shadow: str | None = None
    ignore_result: bool | None = None
    time_limit: float | None = None
    soft_time_limit: float | None = None
    timelimit: tuple[float | None, float | None] | None = None
    replaced_task_nesting: int = 0
    stamped_headers: Any = None
    stamps: Mapping[str, Any] | None = None
    headers: Mapping[str, Any] | None = None
    properties: Mapping[str, Any] | None = None
    hostname: str | None = None
    delivery_info: Mapping[str, Any] | None = None
    logfile: str | None = None
    loglevel: int | None = None
    utc: bool | None = None
    called_directly: bool = True
    is_eager: bool = False
    children: list[Any] = field(default_factory=list)
    sent_at: float | None = None
    crashes: int = 0


def request_of(call: Call, delivery: Delivery, hostname: str) -> Request:
    """Return the request of a task that a worker runs."""
    return Request(
        id=call.id,
        task=call.task,
        args=call.args,
        kwargs=call.kwargs,
        retries=call.retries,
        eta=call.eta,
        expires=call.expires,
        root_id=call.root_id,
        parent_id=call.parent_id,
        group=call.group_id,
        group_index=call.group_index,
        chain=call.chain,
        chord=call.chord,
        callbacks=call.callbacks,
        errbacks=call.errbacks,
        correlation_id=call.correlation_id,
        reply_to=call.reply_to,
        origin=call.origin,
        shadow=call.shadow,
        ignore_result=call.ignore_result,
        time_limit=call.time_limit,
        soft_time_limit=call.soft_time_limit,
        timelimit=(call.time_limit, call.soft_time_limit),
        replaced_task_nesting=call.replaced_task_nesting,
        stamped_headers=call.stamped_headers,
        stamps=call.stamps,
        headers=call.headers,
        properties=delivery.message.properties,
        hostname=hostname,
        delivery_info=delivery_info(delivery),
        called_directly=False,
        sent_at=call.sent_at,
        crashes=delivery.crashes,
    )


def delivery_info(delivery: Delivery) -> dict[str, Any]:
    """Return how a message came here; by itself it says so only if it was sent to an exchange."""
    sent = delivery.message.properties.get("delivery_info")
    sent = sent if isinstance(sent, dict) else {}
    exchange, key = sent.get("exchange"), sent.get("routing_key")
    return {
        "exchange": exchange if isinstance(exchange, str) else "",
        "routing_key": key if isinstance(key, str) else delivery.queue,
        "priority": delivery.priority,
        "redelivered": delivery.redelivered,
    }


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
