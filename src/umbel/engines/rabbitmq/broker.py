"""The broker on RabbitMQ: publishing, and consumers whose connections are their claims."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from time import monotonic

from umbel.engines.rabbitmq.consumer import BATCH, RabbitConsumer
from umbel.engines.rabbitmq.core import Core
from umbel.engines.rabbitmq.publisher import Outgoing
from umbel.message import Publication
from umbel.ports import Broker, Features, Owner, ResultStore


def features(priorities: int) -> Features:
    """Return what the engine offers, with so many priorities."""
    return Features(
        shared=True,
        joint_results=False,
        atomic_settle=False,
        scheduling=True,
        fencing=False,
        leases=False,
        dedupes=False,
        remembers=0.0,
        counts=False,
        batch=BATCH,
        priorities=priorities,
        queues_in_order=False,
        peek=False,
        find=False,
        accounts=False,
    )


class RabbitBroker(Broker):
    """See `umbel.ports.Broker`."""

    def __init__(self, core: Core, offered: Features) -> None:
        self.features = offered
        self._core = core

    def publish(self, publications: Sequence[Publication], timeout: float) -> None:
        """Write all, then send them in one go; they are confirmed one by one, so some may arrive alone.

        Where some were refused until the time was over, what was taken is left out when all is repeated.
        """
        core, now = self._core, monotonic()
        left = [one for one in publications if not core.taken.has(one.tag, now)]
        if left:
            core.send([core.outgoing(one) for one in left], timeout, self._taken)

    def _taken(self, messages: Sequence[Outgoing]) -> None:
        tags = [one.written.publication.tag for one in messages]
        self._core.taken.add(tags, monotonic())

    def consumer(self, owner: Owner, ttl: float) -> RabbitConsumer:
        """Return a consumer; the server learns of it with its first fetch."""
        return RabbitConsumer(self._core, owner)

    def shares(self, results: ResultStore) -> bool:
        """Results are somewhere else, if anywhere."""
        return False

    def join(self, results: ResultStore) -> None:
        """Refuse: there is no step that does both."""
        raise ValueError("RabbitMQ stores no results while it settles.")

    def renew(self, node: str, ttl: float) -> frozenset[str]:
        """Return nobody: connections are kept alive by their processes."""
        return frozenset()

    def expired(self) -> list[Owner]:
        """Return nobody: the server gives back by itself what a lost connection held."""
        return []

    def take_back(self, owner: str, keys: Collection[str]) -> int:
        """Take nothing: nobody can, but the connection that has it."""
        return 0

    def ever_consumed(self) -> bool:
        """Nobody knows."""
        return True

    def close(self) -> None:
        """Nothing: connections are the engine's to close."""
