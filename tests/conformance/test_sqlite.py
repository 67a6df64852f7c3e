"""The contracts, kept by the SQLite engine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from umbel.engines.sqlite import SqliteEngine
from umbel.testing import conformance


@pytest.fixture
def engine_factory(tmp_path: Path) -> Iterator[conformance.EngineFactory]:
    url = f"sqlite:///{tmp_path}/umbel.db"
    with conformance.factory(lambda: SqliteEngine(url, {})) as make:
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


class TestRevocations(conformance.RevocationsContract):
    pass


class TestBroadcast(conformance.BroadcastContract):
    pass
