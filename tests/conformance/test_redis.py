"""The contracts, kept by the Redis engine: on the server that runs here, in keys of our own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.redis_servers import shared_space
from umbel.engines.redis import RedisEngine
from umbel.testing import conformance

pytestmark = pytest.mark.engine


@pytest.fixture
def engine_factory() -> Iterator[conformance.EngineFactory]:
    with shared_space() as (url, prefix):
        options = {"global_keyprefix": prefix}
        with conformance.factory(lambda: RedisEngine(url, options)) as make:
            yield make


class TestBroker(conformance.BrokerContract):
    pass


class TestConsumer(conformance.ConsumerContract):
    pass


class TestConsumerHighestFirst(conformance.ConsumerContract):
    """With the sense of priorities turned round."""

    @pytest.fixture
    def engine_factory(self) -> Iterator[conformance.EngineFactory]:
        with shared_space() as (url, prefix):
            options = {"global_keyprefix": prefix, "broker_highest_priority_first": True}
            with conformance.factory(lambda: RedisEngine(url, options)) as make:
                yield make


class TestSettle(conformance.SettleContract):
    pass


class TestLease(conformance.LeaseContract):
    pass


class TestFork(conformance.ForkContract):
    pass


class TestQueueAdmin(conformance.QueueAdminContract):
    pass


class TestResultStore(conformance.ResultStoreContract):
    pass


class TestResultSubscription(conformance.ResultSubscriptionContract):
    pass


class TestGroup(conformance.GroupContract):
    pass


class TestStateStore(conformance.StateStoreContract):
    pass


class TestBroadcast(conformance.BroadcastContract):
    pass
