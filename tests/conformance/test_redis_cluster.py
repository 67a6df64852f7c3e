"""The contracts, kept by the Redis engine on a cluster: all keys of a test are in one slot, by a hash tag."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.redis_clusters import PrivateCluster, private_cluster
from umbel.clock import unique_id
from umbel.engines.redis import RedisEngine
from umbel.testing import conformance

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateCluster]:
    with private_cluster(tmp_path_factory.mktemp("cluster")) as made:
        yield made


@pytest.fixture
def engine_factory(cluster: PrivateCluster) -> Iterator[conformance.EngineFactory]:
    options = {"global_keyprefix": f"{{{unique_id()}}}:"}
    with conformance.factory(lambda: RedisEngine(cluster.url, options)) as make:
        yield make


class TestBroker(conformance.BrokerContract):
    pass


class TestConsumer(conformance.ConsumerContract):
    pass


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
