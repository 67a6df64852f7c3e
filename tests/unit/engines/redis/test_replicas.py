"""Calls that count as accepted when replicas have them (``wait_replicas``)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from tests.redis_servers import PrivateServer, private_server
from umbel.engines.redis import RedisEngine
from umbel.exceptions import OperationalError
from umbel.testing.conformance.support import PATIENCE, QUEUE, at_most, now, publication, until

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def servers(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[PrivateServer, PrivateServer]]:
    """A server and its replica."""
    with ExitStack() as stack:
        first, second = (
            stack.enter_context(
                private_server(tmp_path_factory.mktemp("redis"), "--repl-diskless-sync-delay", "0")
            )
            for _ in range(2)
        )
        second.admin.replicaof("127.0.0.1", first.port)
        until(lambda: first.admin.info("replication")["connected_slaves"] == 1)
        until(lambda: first.admin.wait(1, 1000) == 1)
        yield first, second


@pytest.fixture
def engine(servers: tuple[PrivateServer, PrivateServer]) -> Iterator[RedisEngine]:
    with closing(RedisEngine(servers[0].url, {"wait_replicas": 1})) as made:
        made.queues.purge(QUEUE)
        yield made


def test_what_was_accepted_is_there(
    servers: tuple[PrivateServer, PrivateServer], engine: RedisEngine
) -> None:
    for number in range(100):
        engine.broker.publish([publication(f"{number} {part}") for part in "ab"], PATIENCE)
        assert servers[1].admin.llen(QUEUE) == 2 * (number + 1)
    engine.broker.publish([publication("later", due=now() + 60)], PATIENCE)
    assert servers[1].admin.llen(QUEUE) == 201  # no worker of umbel's has been here yet
    engine.queues.purge(QUEUE)


def test_what_no_replica_takes_is_refused_and_not_sent_twice(
    servers: tuple[PrivateServer, PrivateServer], engine: RedisEngine
) -> None:
    message = publication("1")
    servers[1].freeze()
    try:
        with (
            at_most(2.0),
            pytest.raises(OperationalError, match=r"but 0 of the 1 replicas .* may lose"),
        ):
            engine.broker.publish([message], 0.5)
        assert engine.queues.depths()[QUEUE].ready == 1
    finally:
        servers[1].thaw()
    engine.broker.publish([message], PATIENCE)
    assert engine.queues.depths()[QUEUE].ready == 1
    assert servers[1].admin.llen(QUEUE) == 1


def test_a_worker_says_that_there_are_too_few(
    servers: tuple[PrivateServer, PrivateServer], engine: RedisEngine
) -> None:
    assert engine.warnings() == []
    with closing(RedisEngine(f"{servers[0].url}?wait_replicas=2", {})) as other:
        [said] = other.warnings()
    assert (
        "has 1 of the 2 replicas that wait_replicas asks for: calls wait for them, and fail" in said
    )


def test_a_server_alone_waits_for_nobody(tmp_path: Path) -> None:
    with private_server(tmp_path) as server, closing(RedisEngine(server.url, {})) as engine:
        engine.broker.publish([publication("1")], PATIENCE)
        assert engine.warnings() == []
