"""The contracts, kept by the Redis engine: on the server that runs here, in keys of our own; on a cluster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.redis_clusters import PrivateCluster, private_cluster
from tests.redis_servers import shared_space
from umbel.clock import unique_id
from umbel.engines.redis import RedisEngine
from umbel.testing import conformance

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateCluster]:
    with private_cluster(tmp_path_factory.mktemp("cluster")) as made:
        yield made


@contextmanager
def engines(url: str, **options: Any) -> Iterator[conformance.EngineFactory]:
    """Make engines with these options."""
    with conformance.factory(lambda: RedisEngine(url, options)) as make:
        yield make


@pytest.fixture(params=["server", "cluster"])
def engine_factory(request: pytest.FixtureRequest) -> Iterator[conformance.EngineFactory]:
    if request.param == "cluster":
        url = request.getfixturevalue("cluster").url
        # All keys of a test are in one slot, by the hash tag.
        with engines(url, global_keyprefix=f"{{{unique_id()}}}:") as make:
            yield make
        return
    with shared_space() as (url, prefix), engines(url, global_keyprefix=prefix) as make:
        yield make


class TestBroker(conformance.BrokerContract):
    pass


class TestConsumer(conformance.ConsumerContract):
    pass


class TestConsumerHighestFirst(conformance.ConsumerContract):
    """With the sense of priorities turned round."""

    @pytest.fixture
    def engine_factory(self) -> Iterator[conformance.EngineFactory]:
        turned = {"broker_highest_priority_first": True}
        with (
            shared_space() as (url, prefix),
            engines(url, global_keyprefix=prefix, **turned) as make,
        ):
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


class TestRevocations(conformance.RevocationsContract):
    pass


class TestBroadcast(conformance.BroadcastContract):
    pass
