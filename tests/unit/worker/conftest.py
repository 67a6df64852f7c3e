"""What tests of the worker have that are made on each engine with results."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import postgres_servers
from tests.redis_servers import private_server
from umbel.clock import unique_id

SERVERS = [pytest.param(name, marks=pytest.mark.engine) for name in ("redis", "postgres")]


@pytest.fixture(params=["memory", "sqlite", *SERVERS])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty broker of each engine that keeps results, too."""
    match request.param:
        case "redis":
            with private_server(tmp_path) as server:
                yield server.url
        case "postgres":
            with postgres_servers.shared_space() as (url, _):
                yield url
        case "sqlite":
            yield f"sqlite:///{tmp_path}/umbel.db"
        case _:
            yield f"memory://{unique_id()}"
