from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.postgres_servers import empty, shared_space
from umbel.engines.postgres import PostgresEngine


@pytest.fixture(scope="module")
def _space() -> Iterator[tuple[str, str]]:
    with shared_space() as (url, schema):
        with closing(PostgresEngine(url, {})) as engine:
            engine.state.version("any")  # makes the tables
        yield url, schema


@pytest.fixture
def url(_space: tuple[str, str]) -> Iterator[str]:
    """A database with empty tables."""
    url, schema = _space
    yield url
    empty(schema)


@pytest.fixture
def engine(url: str) -> Iterator[PostgresEngine]:
    with closing(PostgresEngine(url, {})) as engine:
        yield engine
