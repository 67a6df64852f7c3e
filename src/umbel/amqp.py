"""``app.amqp``: the queues and routes of an app, as its settings are now."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from umbel import routes as task_routes
from umbel import routing, topology
from umbel.absent import tell_of_absent
from umbel.entities import Exchange, Queue
from umbel.settings import Settings

#: The settings of which queues are made. A change of another one keeps those that there are.
_OF_QUEUES = (
    "task_queues",
    "task_default_queue",
    "task_default_exchange",
    "task_default_exchange_type",
    "task_default_routing_key",
    "task_create_missing_queues",
    "task_create_missing_queue_exchange_type",
    "task_default_queue_type",
    "task_create_missing_queue_type",
    "task_queue_max_priority",
)


@tell_of_absent
class AMQP:
    """What Celery has under this name, as far as it is about queues and routes.

    Both are made when they are first needed, and again when a setting that they are made of has changed;
    queues that were added or selected by hand are then forgotten.
    """

    def __init__(
        self,
        snapshot: Callable[[], Settings],
        listeners: Callable[[str], Sequence[str]] = lambda exchange: (),
    ) -> None:
        self._snapshot = snapshot
        self._listeners = listeners
        self._of_queues: tuple[Any, ...] = ()
        self._queues: topology.Queues | None = None
        self._routes: tuple[Any, list[task_routes.Router]] | None = None
        self._router: routing.Router | None = None

    @property
    def queues(self) -> topology.Queues:
        """The queues by name: those of ``task_queues``, else the default one; others are added when named."""
        settings = self._snapshot()
        values = tuple(getattr(settings, name) for name in _OF_QUEUES)
        if self._queues is None or not _same(values, self._of_queues):
            self._queues, self._of_queues = self.Queues(settings.task_queues), values
        return self._queues

    @queues.setter
    def queues(self, queues: Any) -> None:
        settings = self._snapshot()
        self._queues = queues if isinstance(queues, topology.Queues) else self.Queues(queues)
        self._of_queues = tuple(getattr(settings, name) for name in _OF_QUEUES)
        self._router = None

    def Queues(
        self,
        queues: Any,
        create_missing: bool | None = None,
        create_missing_queue_type: str | None = None,
        create_missing_queue_exchange_type: str | None = None,
        max_priority: int | None = None,
    ) -> topology.Queues:
        """Return a mapping of queues with the defaults of the settings."""
        settings = self._snapshot()
        default = settings.task_default_queue
        exchange = self.default_exchange
        key = settings.task_default_routing_key or default
        if not queues and default:
            quorum = settings.task_default_queue_type == "quorum"
            arguments = {"x-queue-type": "quorum"} if quorum else None
            queues = (Queue(default, exchange, key, queue_arguments=arguments),)
        defaults = topology.Defaults(
            exchange=exchange,
            routing_key=key,
            create_missing=(
                settings.task_create_missing_queues if create_missing is None else create_missing
            ),
            missing_exchange_type=(
                create_missing_queue_exchange_type
                or settings.task_create_missing_queue_exchange_type
            ),
            missing_queue_type=(
                create_missing_queue_type or settings.task_create_missing_queue_type
            ),
            max_priority=settings.task_queue_max_priority if max_priority is None else max_priority,
        )
        found = topology.Queues(queues, defaults)
        found.listeners = self._listeners
        return found

    @property
    def default_exchange(self) -> Exchange:
        """The exchange of queues that name none."""
        settings = self._snapshot()
        name = settings.task_default_exchange or settings.task_default_queue
        return Exchange(name, settings.task_default_exchange_type)

    @property
    def default_queue(self) -> Queue:
        """The queue of calls that name none."""
        return self.queues[self._snapshot().task_default_queue]

    def declared(self, name: str) -> list[Queue]:
        """Return the queue of a name, in a list as signals have it, without adding it to the others."""
        queues = self.queues
        return [queues[name] if name in queues else Queue(name, Exchange(name, "direct"), name)]

    @property
    def routes(self) -> list[task_routes.Router]:
        """The routers of ``task_routes``."""
        given = self._snapshot().task_routes
        if self._routes is None or self._routes[0] is not given:
            self._routes = (given, task_routes.prepare(given))
        return self._routes[1]

    @property
    def router(self) -> routing.Router:
        """What says where calls go."""
        router = self._router
        if router is None or router.settings is not self._snapshot():
            router = self._router = self.Router()
        return router

    def Router(self, queues: topology.Queues | None = None) -> routing.Router:
        """Return a router for the present settings, over these queues."""
        return routing.Router(
            self._snapshot(), self.queues if queues is None else queues, self.routes
        )

    def flush_routes(self) -> None:
        """Read ``task_routes`` anew, after a change within its value."""
        self._routes = self._router = None


def _same(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    """Compare settings without comparing queues, which others may have made."""
    return len(one) == len(other) and all(
        a is b or (isinstance(a, str) and a == b) for a, b in zip(one, other, strict=True)
    )
