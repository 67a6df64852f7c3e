"""Which queue a call goes to. Pure: names and settings in, a route out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from umbel.exceptions import ImproperlyConfigured
from umbel.options import CallOptions
from umbel.settings import Settings


@dataclass(frozen=True, slots=True)
class Route:
    """Where a message goes. `priority` is None when nobody asked for one."""

    queue: str
    priority: int | None = None


def route(
    task_name: str,
    options: CallOptions,
    task_queue: str | None,
    task_priority: int | None,
    settings: Settings,
) -> Route:
    """Return the route of a call.

    Its own options, then the task's, then task_routes, then the default.
    """
    if settings.task_routes is None:
        routed_queue, routed_priority = None, None
    else:
        routed_queue, routed_priority = _routed(task_name, settings.task_routes)
    queue = options.queue or task_queue or routed_queue or settings.task_default_queue
    for priority in (options.priority, task_priority, routed_priority):
        if priority is not None:
            return Route(queue, priority)
    return Route(queue, settings.task_default_priority)


def _routed(task_name: str, routes: Any) -> tuple[str | None, int | None]:
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
        return found, None
    if not isinstance(found, Mapping) or not found.keys() <= {"queue", "priority"}:
        raise ImproperlyConfigured(
            f"task_routes sends {task_name} to {found!r}, but a target is a queue's name or a mapping with"
            " 'queue' and 'priority'."
        )
    return found.get("queue"), found.get("priority")
