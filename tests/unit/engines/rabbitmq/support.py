"""What tests of RabbitMQ do again and again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from umbel.clock import unique_id
from umbel.engines.rabbitmq import RabbitEngine
from umbel.engines.rabbitmq.consumer import RabbitConsumer
from umbel.exceptions import OperationalError
from umbel.message import Delivery
from umbel.ports import Owner
from umbel.testing.conformance.support import PATIENCE, fetch, publication, until


def attach(engine: RabbitEngine, adopts: bool = False) -> RabbitConsumer:
    """Return a new consumer; with `adopts` as a child that runs many tasks at a time has one."""
    consumer = engine.broker.consumer(Owner(unique_id(), "node", "host", 1), 10)
    consumer.adopts = adopts
    return consumer


def publish(engine: RabbitEngine, *names: str) -> None:
    """Publish messages whose ids are these."""
    engine.broker.publish([publication(name) for name in names], PATIENCE)


def dies(consumer: RabbitConsumer) -> None:
    """End its connection as the death of its process does, when the server has heard what it said."""
    link, channel = consumer._link, consumer._channel
    assert link is not None
    if channel is not None and link.broken is None:
        channel.confirm_settled(range(1, link.channels + 1))
    link.drop()


def waited_for(consumer: RabbitConsumer) -> Delivery:
    """Return the delivery that comes next, alone."""
    [delivery] = until(lambda: fetch(consumer, 1))
    return delivery


def unheard(publish: Callable[..., None]) -> Callable[..., None]:
    """Return what publishes, and does not hear that it has."""

    def published(*arguments: Any) -> None:
        publish(*arguments)
        raise OperationalError("The confirmation was lost.")

    return published
