"""Where a call goes: its options, its task's, those of ``task_routes`` and the defaults, merged as in Celery.

What a call says goes before what its task says, that before what a route says, and that before what settings
say. Then the merged options name an exchange and a key, and these the queues (`Queues.targets`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from umbel.entities import EXCHANGE_TYPES, Exchange, Queue, as_exchange, as_queue, delivery_mode
from umbel.exceptions import ImproperlyConfigured, Unroutable
from umbel.message import Delivery
from umbel.nearest import meant
from umbel.options import CallOptions
from umbel.request import Request, delivery_info
from umbel.routes import Router as TaskRouter
from umbel.routes import is_fixed
from umbel.settings import Settings
from umbel.topology import Queues

#: Options of calls that say where a message goes.
DESTINATION = ("queue", "exchange", "exchange_type", "routing_key", "priority", "delivery_mode")
#: Other options of calls that a route may give.
OTHERS = ("serializer", "compression", "headers", "retry", "retry_policy")
#: The attributes of a task that are options of its calls.
_OF_TASKS = (
    "queue",
    "exchange",
    "routing_key",
    "priority",
    "delivery_mode",
    "serializer",
    "compression",
)


@dataclass(frozen=True, slots=True)
class Route:
    """Where a message goes. `priority` is None when nobody asked for one.

    `queue` is the first of the queues that get it, `more_queues` are the others. `routing_key` is None where
    it is the queue's name.
    """

    queue: str
    priority: int | None = None
    routing_key: str | None = None
    exchange: str = ""
    more_queues: tuple[str, ...] = ()
    delivery_mode: int = 2

    @property
    def key(self) -> str:
        """The routing key: the queue's name unless another was given."""
        return self.queue if self.routing_key is None else self.routing_key


class Router:
    """The routes of one app, as its settings are now."""

    def __init__(self, settings: Settings, queues: Queues, routes: Sequence[TaskRouter]) -> None:
        self.settings = settings
        self.queues = queues
        self.routes = routes
        #: False where what a route says may depend on a call's arguments.
        self.fixed = is_fixed(routes)
        self._default: Route | None = None
        self._version = -1

    # The way of a call

    def where(
        self,
        name: str,
        options: CallOptions,
        task: object = None,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> tuple[Route, CallOptions]:
        """Return the route of a call, and its options with those that a route adds.

        Raises QueueNotFound, Unroutable, and ImproperlyConfigured for wrong settings and routes.
        """
        if not self.routes and not _says(options) and not _says(task):
            return self._to_default(options, task), options
        found = self._options_of(options, task)
        name = options.route_name or name
        asked = {key for key, value in found.items() if value is not None}
        merged = self.route(found, name, args, kwargs, task)
        if merged.get("priority") is None:
            merged["priority"] = self._default_priority(options, task)
        added = {key: merged[key] for key in OTHERS if key in merged and key not in asked}
        return self.destination(merged), replace(options, **added) if added else options

    def elsewhere(self, options: CallOptions) -> Route:
        """Return the route of a retry that is told another queue or exchange than it came from."""
        found = self.expand_destination(self._options_of(options, None))
        if found.get("priority") is None:
            found["priority"] = self.settings.task_default_priority
        return self.destination(found)

    def _default_priority(self, options: CallOptions, task: object) -> int | None:
        """Return the priority of the settings, which as in Celery only tasks have that are known here."""
        if task is None or "priority" in options.cleared:
            return None
        return self.settings.task_default_priority

    def _to_default(self, options: CallOptions, task: object) -> Route:
        """Return the route of a call of which nobody says where it goes, but maybe how urgent it is."""
        default = self._default
        if default is None or self._version != self.queues.version:
            default = self.destination({"queue": self.default_queue})
            # Who listens to an exchange may change from call to call.
            self._default = None if default.exchange else default
            self._version = self.queues.version
        priority = options.priority
        if priority is None and "priority" not in options.cleared:
            priority = getattr(task, "priority", None)
        if priority is None:
            priority = self._default_priority(options, task)
        if priority is None:
            return default
        return replace(default, priority=_priority(priority))

    def _options_of(self, options: CallOptions, task: object) -> dict[str, Any]:
        """Return what a call and its task say, as routers see it."""
        found = {
            name: None if name in options.cleared else getattr(task, name, None)
            for name in _OF_TASKS
        }
        for name in (*DESTINATION, *OTHERS):
            value = getattr(options, name, None)
            if value is not None:
                found[name] = value
        return found

    # Celery's steps, on mappings of options

    def route(
        self,
        options: Mapping[str, Any],
        name: str,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        task_type: object = None,
    ) -> dict[str, Any]:
        """Return options with those of the first route that knows the task, or with the default queue.

        The given ones count more. Queues are Queue objects in the answer.
        """
        own = self.expand_destination(options)
        if self.routes:
            found = self.lookup_route(name, args, kwargs or {}, own, task_type)
            if found:
                return _filled(self.expand_destination(_checked(found, name)), own)
        if "queue" not in own:
            return _filled({"queue": self.default_queue}, own)
        return own

    def expand_destination(self, route: Mapping[str, Any] | str) -> dict[str, Any]:
        """Return options in which the queue is a Queue instead of a name."""
        given: Mapping[str, Any] = {"queue": route} if isinstance(route, str) else route
        expanded = dict(given)
        queue = expanded.pop("queue", None)
        if queue:
            named = isinstance(queue, str)
            expanded["queue"] = self.queues[queue] if named else as_queue(queue)
        return expanded

    def lookup_route(
        self,
        name: str,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        task_type: object = None,
    ) -> dict[str, Any] | None:
        """Return what the first router says that knows the task; None where none does."""
        for router in self.routes:
            # Each gets a copy: what it does to the options is its own.
            found = router(name, args, kwargs or {}, dict(options or {}), task=task_type)
            if found is not None:
                return dict(found)
        return None

    @property
    def default_queue(self) -> Queue:
        """The queue of calls that name none."""
        return self.queues[self.settings.task_default_queue]

    def destination(self, options: Mapping[str, Any]) -> Route:
        """Return where a message with these merged options goes."""
        queue, exchange = options.get("queue"), options.get("exchange")
        if queue is None and exchange is None:
            queue = self.default_queue
        name, key = self._address(queue, _name_of(exchange), options)
        targets = self.queues.targets(name, key, queue)
        priority = options.get("priority")
        return Route(
            targets[0],
            None if priority is None else _priority(priority),
            None if key == targets[0] else key,
            name,
            tuple(targets[1:]),
            self._delivery_mode(queue, options),
        )

    def _address(
        self, queue: Queue | None, exchange: str | None, options: Mapping[str, Any]
    ) -> tuple[str, str]:
        """Return the exchange and the key of a message.

        A direct exchange counts only if both are given: else the message goes straight to the queue.
        """
        key = options.get("routing_key")
        kind = options.get("exchange_type")
        if kind is None:
            kind = queue.exchange.type if queue is not None and queue.exchange else "direct"
        elif kind not in EXCHANGE_TYPES:
            raise ImproperlyConfigured(
                f"exchange_type is {kind!r}, but must be one of {', '.join(EXCHANGE_TYPES)}."
            )
        if kind == "direct" and not (exchange and key):
            if queue is None:
                raise Unroutable(
                    f"The message is for the exchange {exchange!r}, without a routing key or a queue."
                    " Give a routing_key too, or name the queue."
                )
            return "", queue.name
        if exchange is None and queue is not None:
            own = queue.exchange.name if queue.exchange else ""
            default = self.queues.defaults
            return own or default.exchange.name, key or queue.routing_key or default.routing_key
        return exchange or "", key or ""

    def _delivery_mode(self, queue: Queue | None, options: Mapping[str, Any]) -> int:
        asked = options.get("delivery_mode")
        if asked is None and queue is not None and queue.exchange is not None:
            asked = queue.exchange.delivery_mode
        if asked is None:
            asked = self.settings.task_default_delivery_mode
        try:
            return delivery_mode(asked) or 2
        except ValueError as error:
            raise ImproperlyConfigured(f"Of a route or the settings: {error}") from None


def back_to(delivery: Delivery, options: CallOptions) -> Route:
    """Return the route of a retry: to the queue that it names, else back to the one that it came from.

    Celery sends it to its exchange again, which may pass it to more queues than the one.
    """
    return _back(delivery.queue, delivery_info(delivery), delivery.message.properties, options)


def back_from(request: Request, options: CallOptions) -> Route | None:
    """Return the route of `back_to` as a task knows it while it runs; None for what came through no queue."""
    if request.came_through is None:
        return None
    info, properties = request.delivery_info or {}, request.properties or {}
    return _back(request.came_through, info, properties, options)


def _back(
    queue: str, info: Mapping[str, Any], properties: Mapping[str, Any], options: CallOptions
) -> Route:
    if options.queue is not None:
        named = options.queue if isinstance(options.queue, str) else as_queue(options.queue).name
        return Route(named, options.priority)
    mode, key = properties.get("delivery_mode"), info.get("routing_key")
    return Route(
        queue,
        options.priority,
        None if key == queue else key,
        info.get("exchange") or "",
        delivery_mode=mode if mode in (1, 2) else 2,
    )


def inherited(route: Route, settings: Settings, parent: Request | None) -> Route:
    """Return a route with the priority of the task that makes the call, where the settings want that."""
    if parent is None or route.priority is not None or not settings.task_inherit_parent_priority:
        return route
    priority = (parent.delivery_info or {}).get("priority")
    return replace(route, priority=priority) if priority else route


def _says(options: object) -> bool:
    """Tell whether a call or a task says where a message goes."""
    return not (
        getattr(options, "queue", None) is None
        and getattr(options, "exchange", None) is None
        and getattr(options, "routing_key", None) is None
        and getattr(options, "delivery_mode", None) is None
        and getattr(options, "exchange_type", None) is None
    )


def _filled(route: dict[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a route, with those of the call and the task in front: all that are not None."""
    return route | {key: value for key, value in options.items() if value is not None}


_OF_ROUTES = (*DESTINATION, *OTHERS)


def _checked(route: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return what a route gives. Raises ImproperlyConfigured for what no route can give."""
    for key in route:
        if key not in _OF_ROUTES:
            raise ImproperlyConfigured(
                f"task_routes sends {name} to {dict(route)!r}, but a route has no option {key!r}."
                f"{meant(key, _OF_ROUTES)} It has: {', '.join(_OF_ROUTES)}."
            )
    return route


def _name_of(exchange: Any) -> str | None:
    if exchange is None or isinstance(exchange, str):
        return exchange
    found = as_exchange(exchange)
    return found.name if isinstance(found, Exchange) else None


def _priority(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= 255:
        raise ImproperlyConfigured(
            f"A task, a route or task_default_priority gives the priority {value!r}, but it must be a number"
            " from 0 to 255."
        )
    return int(value)
