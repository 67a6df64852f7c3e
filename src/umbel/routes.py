"""``task_routes`` in all its forms, as a list of routers that are asked one after the other.

A router is called with the task's name, the call's arguments and options, and the task; it returns options,
the name of a queue, or None for the next router to be asked.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from fnmatch import translate
from importlib import import_module
from typing import Any

from umbel.entities import is_queue
from umbel.exceptions import ImproperlyConfigured

_ADVICE = (
    "Write {'feed.*': {'queue': 'feeds'}}, a list of pairs (pattern, target), a function (name, args, kwargs,"
    " options, task=None, **kw), its place as a text ('proj.routers.route'), or a list of these."
)


class MapRoute:
    """A router made of a mapping, or of pairs: exact names first, then patterns in their order."""

    def __init__(self, routes: Mapping[Any, Any] | Sequence[Any]) -> None:
        self.map: dict[str, Mapping[str, Any]] = {}
        self.patterns: dict[re.Pattern[str], Mapping[str, Any]] = {}
        for key, target in _pairs(routes):
            if isinstance(key, re.Pattern):
                self.patterns[key] = _target(key.pattern, target)
                continue
            if not isinstance(key, str):
                raise ImproperlyConfigured(
                    f"task_routes has {key!r} for a name, but must have texts and compiled patterns."
                )
            self.map[key] = _target(key, target)
            # As in Celery, a name without a * is no pattern; one with it has `?` and `[...]` too.
            if "*" in key:
                self.patterns[re.compile(translate(key))] = self.map.pop(key)

    def __call__(self, name: str, *args: Any, **kwargs: Any) -> dict[str, Any] | None:
        """Return the options for a task's name, or None."""
        found = self.map.get(name)
        if found is None:
            for pattern, target in self.patterns.items():
                if pattern.match(name):
                    return dict(target)
        return None if found is None else dict(found)


class Later:
    """A router that a text names; it is imported when it is first asked."""

    def __init__(self, place: str) -> None:
        self.place = place
        self._found: Any = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Import the router, and ask it."""
        if self._found is None:
            self._found = as_router(self._import())
        return self._found(*args, **kwargs)

    def _import(self) -> Any:
        module, _, name = self.place.replace(":", ".").rpartition(".")
        try:
            return getattr(import_module(module), name)
        except (ImportError, AttributeError, ValueError) as error:
            raise ImproperlyConfigured(
                f"task_routes names the router {self.place!r}, which cannot be imported: {error}. {_ADVICE}"
            ) from error


Router = Callable[..., Any]


def prepare(routes: Any) -> list[Router]:
    """Return the routers of ``task_routes``. Raises ImproperlyConfigured for what is none."""
    if routes is None:
        return []
    if not isinstance(routes, list | tuple):
        routes = (routes,)
    elif routes and all(_is_pair(one) for one in routes):
        return [MapRoute(routes)]
    return [as_router(one) for one in routes]


def as_router(route: Any) -> Router:
    """Return a router made of one entry of ``task_routes``."""
    if isinstance(route, Mapping | list | tuple):
        return MapRoute([route] if _is_pair(route) else route)
    if isinstance(route, str):
        return Later(route)
    if isinstance(route, type) and hasattr(route, "route_for_task"):
        route = route()
    if hasattr(route, "route_for_task"):
        return _of_class(route.route_for_task)
    if callable(route):
        return _checked(route)
    raise ImproperlyConfigured(f"task_routes has {route!r}, which is no router. {_ADVICE}")


def is_fixed(routers: Sequence[Router]) -> bool:
    """Tell whether what the routers answer depends on nothing but the task's name."""
    return all(isinstance(router, MapRoute) for router in routers)


def _of_class(method: Callable[..., Any]) -> Router:
    """Return a router for the method of a class from before Celery 4."""

    def router(name: str, args: Any, kwargs: Any, options: Any, task: Any = None) -> Any:
        return _answer(method, method(name, args, kwargs))

    return router


def _checked(function: Router) -> Router:
    def router(name: str, args: Any, kwargs: Any, options: Any, task: Any = None) -> Any:
        return _answer(function, function(name, args, kwargs, options, task=task))

    return router


def _answer(router: Callable[..., Any], answer: Any) -> dict[str, Any] | None:
    if answer is None:
        return None
    try:
        return _target("the call", answer)
    except ImproperlyConfigured:
        raise ImproperlyConfigured(
            f"The router {router!r} returned {answer!r}, but must return options such as"
            " {'queue': 'feeds'}, the name of a queue, or None."
        ) from None


def _pairs(routes: Mapping[Any, Any] | Sequence[Any]) -> list[tuple[Any, Any]]:
    if isinstance(routes, Mapping):
        return list(routes.items())
    for entry in routes:
        if not _is_pair(entry):
            raise ImproperlyConfigured(
                f"task_routes has {entry!r} in a list of pairs (pattern, target). {_ADVICE}"
            )
    return [(key, target) for key, target in routes]


def _is_pair(entry: Any) -> bool:
    return (
        isinstance(entry, list | tuple)
        and len(entry) == 2  # the pattern and the target
        and isinstance(entry[0], str | re.Pattern)
        and not isinstance(entry[1], list | tuple)
    )


def _target(name: str, target: Any) -> dict[str, Any]:
    """Return the options that a route gives. A text is a queue's name."""
    if target is None or target == "":
        return {}
    if isinstance(target, str) or is_queue(target):
        return {"queue": target}
    if isinstance(target, Mapping) and all(isinstance(key, str) for key in target):
        return dict(target)
    raise ImproperlyConfigured(
        f"task_routes sends {name} to {target!r}, but a target is a queue's name or a mapping, such as"
        " {'queue': 'feeds', 'priority': 3}."
    )
