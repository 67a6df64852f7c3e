"""The tables: made by whoever comes first, checked by all, brought up to date by a command."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager

import psycopg
import pytest

from tests.postgres_servers import SHARED, shared_space
from umbel import Umbel
from umbel.engines.postgres import PostgresEngine
from umbel.exceptions import ImproperlyConfigured

pytestmark = pytest.mark.engine


@contextmanager
def opened(url: str) -> Iterator[PostgresEngine]:
    with closing(PostgresEngine(url, {})) as engine:
        yield engine


@pytest.fixture
def space() -> Iterator[tuple[str, str]]:
    """A schema that is not there yet."""
    with shared_space() as space:
        yield space


def run(statement: str) -> None:
    with psycopg.connect(SHARED, autocommit=True) as connection:
        connection.execute(statement.encode())


def test_the_first_to_come_makes_the_tables(space: tuple[str, str]) -> None:
    url, _ = space
    with opened(url) as engine:
        assert engine.problem() is None
        assert engine.queues.depths() == {}
        assert engine.migrate() == []


def test_many_may_make_them_at_once(space: tuple[str, str]) -> None:
    url, _ = space

    def migrate(_: int) -> int:
        with opened(url) as engine:
            return len(engine.migrate())

    with ThreadPoolExecutor(6) as executor:
        assert sum(executor.map(migrate, range(6))) == 1


def test_nothing_is_made_where_that_is_not_wanted(space: tuple[str, str]) -> None:
    url, schema = space
    with opened(f"{url}&create_tables=no") as engine:
        text = f"not in the schema '{schema}' .*Run: umbel -A APP migrate"
        assert engine.problem() is not None
        with pytest.raises(ImproperlyConfigured, match=text):
            engine.queues.depths()
        assert engine.migrate() == [
            f"Made version 1 of the tables in the schema {schema!r} of {engine.url}."
        ]
        assert engine.problem() is None
        assert engine.queues.depths() == {}


def test_tables_of_another_version_are_refused_and_left_alone(space: tuple[str, str]) -> None:
    url, schema = space
    with opened(url) as engine:
        engine.migrate()
    run(f'UPDATE "{schema}".migration SET version = 0')
    with opened(url) as engine:
        assert "have version 0, and this umbel needs 1. Run: umbel" in str(engine.problem())
        with pytest.raises(ImproperlyConfigured, match="Run: umbel"):
            engine.queues.depths()
    run(f'UPDATE "{schema}".migration SET version = 9, oldest = 2')
    with opened(url) as engine:
        assert "needs a newer umbel: this one knows 1" in str(engine.problem())
        with pytest.raises(ImproperlyConfigured, match="Upgrade umbel here"):
            engine.migrate()
    # One that works with what we know.
    run(f'UPDATE "{schema}".migration SET version = 9, oldest = 1')
    with opened(url) as engine:
        assert engine.problem() is None
        assert engine.queues.depths() == {}


def test_who_may_not_make_them_is_told_so(space: tuple[str, str]) -> None:
    url, schema = space
    run(f'CREATE ROLE "{schema}" LOGIN')
    try:
        with (
            opened(url.replace("postgres@", f"{schema}@")) as engine,
            pytest.raises(ImproperlyConfigured, match=r"may not make them.*permission denied"),
        ):
            engine.queues.depths()
    finally:
        run(f'DROP ROLE "{schema}"')


def test_a_user_with_rights_on_the_tables_needs_no_others(space: tuple[str, str]) -> None:
    url, schema = space
    with opened(url) as engine:
        engine.migrate()
    run(f'CREATE ROLE "{schema}" LOGIN')
    try:
        run(f'GRANT USAGE ON SCHEMA "{schema}" TO "{schema}"')
        run(f'GRANT ALL ON ALL TABLES IN SCHEMA "{schema}" TO "{schema}"')
        run(f'GRANT ALL ON ALL SEQUENCES IN SCHEMA "{schema}" TO "{schema}"')
        app = Umbel(broker=url.replace("postgres@", f"{schema}@"), set_as_current=False)
        app.send_task("any")
        assert app.queues.depths()["celery"].ready == 1
        app.close()
    finally:
        run(f'DROP OWNED BY "{schema}"')
        run(f'DROP ROLE "{schema}"')
