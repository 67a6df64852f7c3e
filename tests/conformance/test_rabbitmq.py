"""The contracts, kept by the RabbitMQ engine on the server that runs here, in queues of our own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.rabbitmq_servers import PREFIX, delete_all, shared_space
from umbel.engines.rabbitmq import RabbitEngine
from umbel.entities import Queue
from umbel.testing import conformance

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module", autouse=True)
def _leave_nothing() -> Iterator[None]:
    with shared_space():
        yield
    for name in ("", "quorum.", "priorities."):
        delete_all(PREFIX + name)


@pytest.fixture
def engine_factory() -> Iterator[conformance.EngineFactory]:
    with (
        shared_space() as (url, prefix),
        conformance.factory(lambda: RabbitEngine(url, {"queue_name_prefix": prefix})) as make,
    ):
        yield make


def declared(**options: Any) -> Callable[[str], Queue]:
    """Return how queues are declared that have these options."""
    return lambda name: Queue(name, **options)


@contextmanager
def others(name: str, **options: Any) -> Iterator[conformance.EngineFactory]:
    """Make engines with other queues, under names of their own."""
    with shared_space(name) as (url, prefix):
        given = {"queue_name_prefix": prefix, **options}
        with conformance.factory(lambda: RabbitEngine(url, given)) as make:
            yield make


class Quorum:
    """With quorum queues."""

    @pytest.fixture
    def engine_factory(self) -> Iterator[conformance.EngineFactory]:
        arguments = {"x-queue-type": "quorum", "x-delivery-limit": 5}
        with others("quorum.", declared_queue=declared(queue_arguments=arguments)) as make:
            yield make


class Priorities:
    """With queues that keep priorities apart."""

    @pytest.fixture
    def engine_factory(self) -> Iterator[conformance.EngineFactory]:
        options = {"declared_queue": declared(max_priority=9), "queue_max_priority": 9}
        with others("priorities.", **options) as make:
            yield make


class TestBroker(conformance.BrokerContract):
    pass


class TestConsumer(conformance.ConsumerContract):
    pass


class TestConsumerQuorum(Quorum, conformance.ConsumerContract):
    pass


class TestConsumerPriorities(Priorities, conformance.ConsumerContract):
    pass


class TestSettleQuorum(Quorum, conformance.SettleContract):
    pass


class TestSettle(conformance.SettleContract):
    pass


class TestLease(conformance.LeaseContract):
    pass


class TestFork(conformance.ForkContract):
    pass


class TestQueueAdmin(conformance.QueueAdminContract):
    pass


class TestBroadcast(conformance.BroadcastContract):
    pass
