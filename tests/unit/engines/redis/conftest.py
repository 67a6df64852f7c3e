"""Servers of their own for the tests of the Redis engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.redis_servers import PrivateServer, private_server

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
