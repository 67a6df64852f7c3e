"""The contracts, kept by the memory engine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from umbel.clock import unique_id
from umbel.engines.memory import MemoryEngine
from umbel.engines.memory.space import forget_space
from umbel.testing import conformance


@pytest.fixture
def engine_factory() -> Iterator[conformance.EngineFactory]:
    name = unique_id()
    with conformance.factory(lambda: MemoryEngine(f"memory://{name}", {})) as make:
        yield make
    forget_space(name)


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


class TestRevocations(conformance.RevocationsContract):
    pass


class TestBroadcast(conformance.BroadcastContract):
    pass
