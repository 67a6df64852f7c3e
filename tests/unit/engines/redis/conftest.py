"""Servers of their own for the tests of the Redis engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.redis_servers import PrivateServer, private_server
from tests.unit.engines.redis.support import attached
from umbel.engines.redis import RedisEngine

StartServer = Callable[..., PrivateServer]


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[StartServer]:
    """Start servers that a test may hurt, with options of redis-server's command line."""
    with ExitStack() as stack:
        yield lambda *options: stack.enter_context(private_server(tmp_path, *options))


@pytest.fixture
def private(start_server: StartServer) -> PrivateServer:
    """One server that a test may hurt."""
    return start_server()


@pytest.fixture
def engine(private: PrivateServer) -> Iterator[RedisEngine]:
    """An engine on that server; what was attached to any is closed at the end."""
    made = RedisEngine(private.url, {})
    attached.clear()
    yield made
    for consumer in attached:
        consumer.close()
    made.close()


@pytest.fixture
def admin(private: PrivateServer) -> Any:
    """Who looks into that server."""
    return private.admin
