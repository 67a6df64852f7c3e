"""The contracts, kept by the PostgreSQL engine, in a schema of its own on the server that runs here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.postgres_servers import empty, shared_space
from umbel.engines.postgres import PostgresEngine
from umbel.testing import conformance

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def space() -> Iterator[tuple[str, str]]:
    with shared_space() as space:
        with closing(PostgresEngine(space[0], {})) as engine:
            engine.state.version("any")  # makes the tables
        yield space


@pytest.fixture
def engine_factory(space: tuple[str, str]) -> Iterator[conformance.EngineFactory]:
    url, schema = space
    with conformance.factory(lambda: PostgresEngine(url, {})) as make:
        yield make
    empty(schema)


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
