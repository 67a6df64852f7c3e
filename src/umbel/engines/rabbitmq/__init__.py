"""RabbitMQ: the engine for who has it already, on the queues of Celery's workers and clients.

URLs: ``amqp://user:password@host:port/vhost``, ``amqps://`` (TLS), ``pyamqp://``; servers of a cluster are
joined by ``;``. RabbitMQ 3.10 or later. It keeps messages and broadcasts; results and what a fleet must
agree on are kept elsewhere. docs/rabbitmq.md has the options.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from umbel.clock import SYSTEM
from umbel.engines.rabbitmq.address import address_of
from umbel.engines.rabbitmq.broadcast import RabbitBroadcast
from umbel.engines.rabbitmq.broker import RabbitBroker, features
from umbel.engines.rabbitmq.core import Core
from umbel.engines.rabbitmq.queues import RabbitQueues
from umbel.engines.rabbitmq.replies import RabbitReplies
from umbel.engines.rabbitmq.topology import Topology, limit_warning, plain_queue, version_of
from umbel.entities import Queue
from umbel.exceptions import OperationalError
from umbel.lazy import lazy
from umbel.limits import DEFAULT
from umbel.ports import Engine, EngineOptions

#: Seconds after which what a process holds is handed over to it anew: the server takes it back after 30
#: minutes, if nobody has set its consumer_timeout.
HOLD_AFTER = 600.0


class RabbitEngine(Engine):
    """See `umbel.ports.Engine`."""

    def __init__(self, url: str, options: EngineOptions) -> None:
        self.url = url
        declared: Callable[[str], Queue] = options.get("declared_queue") or plain_queue
        self._names: Callable[[], Iterable[str]] = options.get("queue_names") or tuple
        topology = Topology(
            address_of(url, options),
            declared,
            str(options.get("queue_name_prefix") or ""),
            str(options.get("delayed_queue_type") or "classic"),
        )
        self._core = Core(
            topology.address,
            topology,
            SYSTEM,
            int(options.get("message_max_bytes") or DEFAULT.message_max_bytes),
            float(options.get("hold_after") or HOLD_AFTER),
        )
        self._replies = bool(options.get("replies"))
        self._persistent = bool(options.get("result_persistent"))
        self.features = features(1 + int(options.get("queue_max_priority") or 0))

    @lazy
    def broker(self) -> RabbitBroker:
        """The broker."""
        return RabbitBroker(self._core, self.features)

    @lazy
    def queues(self) -> RabbitQueues:
        """The queue administration."""
        return RabbitQueues(self._core, self._names)

    @lazy
    def results(self) -> RabbitReplies | None:
        """Replies, where results are to be such: RabbitMQ keeps none that can be asked for twice."""
        return RabbitReplies(self._core, self._persistent) if self._replies else None

    @property
    def state(self) -> None:
        """RabbitMQ keeps nothing but messages."""

    @lazy
    def broadcast(self) -> RabbitBroadcast:
        """The broadcast."""
        return RabbitBroadcast(self._core)

    def problem(self) -> str | None:
        """Return what of TLS cannot be: a file, or what is in it."""
        address = self._core.address
        try:
            if address.tls is not None:
                address.context()
        except OperationalError as error:
            return str(error)
        return None

    def warnings(self) -> list[str]:
        """Say what would be deleted: a quorum queue that counts deliveries, and has no place for the rest."""
        try:
            with self._core.topology.admin() as link:
                version = version_of(link)
        except OperationalError:
            return []
        declared = [self._core.topology.declared(name) for name in self._names()]
        return [text for queue in declared if (text := limit_warning(queue, version))]

    def close(self) -> None:
        """Close all connections but those of consumers, which close theirs."""
        if self._replies and self.results is not None:
            self.results.close()
        self._core.close()


ENGINE = RabbitEngine
