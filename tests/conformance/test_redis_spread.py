"""The contracts, kept where each queue has a slot of its own in a Redis Cluster.

Those whose code is the same as in one slot, in the home or in that of results, are among the slow tests.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.redis_clusters import PrivateCluster, private_cluster
from umbel.clock import unique_id
from umbel.engines.redis import open_redis
from umbel.testing import conformance

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateCluster]:
    with private_cluster(tmp_path_factory.mktemp("cluster")) as made:
        yield made


@pytest.fixture
def engine_factory(cluster: PrivateCluster) -> Iterator[conformance.EngineFactory]:
    options = {"global_keyprefix": f"{unique_id()}:{{queue}}:"}
    with conformance.factory(lambda: open_redis(cluster.url, options)) as make:
        yield make


class TestBroker(conformance.BrokerContract):
    pass


class TestConsumer(conformance.ConsumerContract):
    pass


class TestSettle(conformance.SettleContract):
    pass


class TestLease(conformance.LeaseContract):
    pass


class TestQueueAdmin(conformance.QueueAdminContract):
    pass


@pytest.mark.slow
class TestFork(conformance.ForkContract):
    pass


@pytest.mark.slow
class TestResultStore(conformance.ResultStoreContract):
    pass


@pytest.mark.slow
class TestResultSubscription(conformance.ResultSubscriptionContract):
    pass


@pytest.mark.slow
class TestGroup(conformance.GroupContract):
    pass


@pytest.mark.slow
class TestStateStore(conformance.StateStoreContract):
    pass


@pytest.mark.slow
class TestRevocations(conformance.RevocationsContract):
    pass


@pytest.mark.slow
class TestBroadcast(conformance.BroadcastContract):
    pass
