"""Which queue a call goes to. Pure: names and settings in, a route out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from umbel.exceptions import ImproperlyConfigured
from umbel.options import CallOptions
from umbel.settings import Settings

_TARGET = frozenset({"queue", "priority", "routing_key"})


@dataclass(frozen=True, slots=True)
class Route:
    """Where a message goes. `priority` and `routing_key` are None when nobody asked for one."""

    queue: str
    priority: int | None = None
    routing_key: str | None = None


@dataclass(frozen=True, slots=True)
class Wish:
    """What a task, or ``task_routes``, says of where calls go."""

    queue: str | None = None
    priority: int | None = None
    routing_key: str | None = None


NOTHING = Wish()


def route(task_name: str, options: CallOptions, task: Wish, settings: Settings) -> Route:
    """Return the route of a call.

    Its own options, then the task's, then task_routes, then the default. A routing key without any
    queue names the queue; beside one it only travels.
    """
    routed = NOTHING if settings.task_routes is None else _routed(task_name, settings.task_routes)
    key = options.routing_key or task.routing_key or routed.routing_key
    queue = options.queue or task.queue or routed.queue or key or settings.task_default_queue
    for priority in (options.priority, task.priority, routed.priority):
        if priority is not None:
            return Route(queue, priority, key)
    return Route(queue, settings.task_default_priority, key)


def _routed(task_name: str, routes: Any) -> Wish:
    """Look a task up in ``task_routes``: exact names first, then patterns in their order."""
    if not isinstance(routes, Mapping):
        raise ImproperlyConfigured(
            f"task_routes is {routes!r}, but must map task names or patterns to queues, for example"
            " {'feed.*': {'queue': 'feeds'}}."
        )
    found = routes.get(task_name)
    if found is None:
        for pattern, target in routes.items():
            if fnmatchcase(task_name, pattern):
                found = target
                break
    if found is None or isinstance(found, str):
        return Wish(found)
    if not isinstance(found, Mapping) or not found.keys() <= _TARGET:
        raise ImproperlyConfigured(
            f"task_routes sends {task_name} to {found!r}, but a target is a queue's name or a mapping with"
            " 'queue' and 'priority' (and 'routing_key')."
        )
    return Wish(**found)
