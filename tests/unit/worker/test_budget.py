"""What a worker says where its servers have no connections left for all of its children."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.postgres_servers import pgbouncer
from tests.postgres_servers import private_server as postgres_server
from tests.redis_servers import PrivateServer, private_server
from umbel import Umbel
from umbel.engines.postgres import PostgresEngine
from umbel.engines.redis import RedisEngine
from umbel.ports import Engine, Spare
from umbel.testing.conformance.support import until
from umbel.worker.bootstrap import Orders, Source
from umbel.worker.budget import needed, too_few_connections


def orders(children: int, **more: Any) -> Orders:
    return Orders(Source("tasks", "", {}), ("celery",), "here", "1", children, "WARNING", **more)


def test_a_node_needs_two_connections_and_one_or_two_for_each_child() -> None:
    assert needed(orders(4)) == 6
    assert needed(orders(1, executor="solo")) == 3
    assert needed(orders(4, most=10)) == 12
    assert needed(orders(100, executor="asyncio", processes=3)) == 8
    assert needed(orders(8, executor="threads", processes=1, most=2)) == 6


@pytest.mark.parametrize("url", ["memory://", "sqlite://"])
def test_a_place_without_a_limit_is_not_spoken_of(url: str, tmp_path: Path) -> None:
    app = Umbel("tasks", broker=url if url == "memory://" else f"{url}/{tmp_path}/umbel.db")
    with closing(app):
        assert list(too_few_connections(app, orders(1000))) == []


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[PrivateServer]:
    with private_server(tmp_path) as server:
        server.admin.ping()  # one connection, which stays
        yield server


def left_when_it_is(engine: Engine, number: int) -> Callable[[], bool]:
    def found() -> bool:
        spare = engine.spare_connections()
        return spare is not None and spare.connections == number

    return found


@pytest.mark.engine
def test_redis_tells_how_many_connections_it_takes(redis: PrivateServer) -> None:
    redis.admin.config_set("maxclients", 20)
    place = redis.url.removeprefix("redis://").removesuffix("/0")
    with closing(RedisEngine(redis.url, {})) as engine, ExitStack() as others:
        assert engine.spare_connections() == Spare(f"Redis at {place}", 19, "maxclients is 20")
        for _ in range(5):
            others.enter_context(closing(RedisEngine(redis.url, {}))).warnings()
        assert left_when_it_is(engine, 14)()
        others.close()
        until(left_when_it_is(engine, 19))
        redis.stop()
        assert engine.spare_connections() is None


@pytest.mark.engine
def test_a_node_that_may_need_more_than_are_left_says_so(redis: PrivateServer) -> None:
    redis.admin.config_set("maxclients", 20)
    app = Umbel("tasks", broker=redis.url, backend=redis.url.replace("/0", "/1"))
    with closing(app):
        app.engine(app.result_url or "").warnings()  # its connection stays, too
        left = app.engine(app.broker_url).spare_connections()
        assert left is not None
        children = left.connections - 3
        assert list(too_few_connections(app, orders(children - 1))) == []
        (text,) = too_few_connections(app, orders(children + 3))  # of one server: said once
        assert f"may need {children + 5} connections to {left.place}, which has" in text
        assert "(maxclients is 20)" in text


@pytest.mark.engine
def test_postgresql_tells_which_of_its_limits_is_the_nearest(tmp_path: Path) -> None:
    with postgres_server(tmp_path, "-c", "fsync=off") as server, ExitStack() as others:
        server.ask("CREATE ROLE shop LOGIN")
        server.ask("CREATE DATABASE shop OWNER shop")
        base = server.url.rpartition("/")[0]
        address = base.partition("@")[2] or base.partition("//")[2]
        url = f"postgresql://shop@{address}/shop"
        engine: Engine = others.enter_context(closing(PostgresEngine(url, {})))
        until(left_when_it_is(engine, 197))  # 200, of which 3 are for superusers
        spare = engine.spare_connections()
        assert spare is not None
        assert spare.limit == "max_connections lets it take 197"
        assert "PostgreSQL at " in spare.place
        server.ask("ALTER DATABASE shop CONNECTION LIMIT 10")
        assert left_when_it_is(engine, 10)()
        server.ask("ALTER ROLE shop CONNECTION LIMIT 5")
        for _ in range(2):
            others.enter_context(psycopg.connect(url))
        until(left_when_it_is(engine, 3))
        spare = engine.spare_connections()
        assert spare is not None
        assert spare.limit == "the user may have 5"
        with closing(
            PostgresEngine(server.url, {})
        ) as unlimited:  # a superuser's: 200, and two are open
            until(left_when_it_is(unlimited, 198))


@pytest.mark.engine
def test_behind_a_pooler_nobody_knows(tmp_path: Path) -> None:
    with (
        postgres_server(tmp_path, "-c", "fsync=off") as server,
        pgbouncer(tmp_path, server.url) as through,
        closing(PostgresEngine(through, {})) as engine,
    ):
        assert engine.spare_connections() is None
