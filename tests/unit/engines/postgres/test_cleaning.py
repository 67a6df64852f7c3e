"""Tables are vacuumed when that is worth it, by one node at a time, and nobody waits for it."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from tests.postgres_servers import SHARED, pgbouncer
from umbel.engines.postgres import PostgresEngine
from umbel.engines.postgres.address import address_of
from umbel.testing.conformance.support import PATIENCE, Side, ack, fetch, publication, until

pytestmark = pytest.mark.engine


def run(url: str, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(SHARED, autocommit=True) as connection:
        connection.execute(f"SET search_path TO {address_of(url, {}).quoted}".encode())
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description is not None else []


def dead(url: str) -> int:
    [(count,)] = run(url, "SELECT pg_stat_get_dead_tuples('place'::regclass)")
    assert isinstance(count, int)
    return count


def wear(engine: PostgresEngine, url: str) -> None:
    """Leave some thousand dead rows behind, which the server knows of."""
    run(url, "VACUUM place, message")
    side = Side(engine)
    consumer = side.consumer()
    for _ in range(4):
        side.broker.publish([publication(str(n)) for n in range(1000)], PATIENCE)
        ack(consumer, fetch(consumer, limit=1000))
    side.leave()
    engine.close()  # a session that ends tells the server what it has counted
    until(lambda: dead(url) >= 4000)
    run(url, "UPDATE chore SET done = 'epoch'")


def renew(engine: PostgresEngine) -> None:
    engine.broker.renew("any", 60.0)
    engine.broker._cleaner.wait()


def cleans(engine: PostgresEngine, url: str) -> bool:
    """Tell whether a renewal has nothing dead left.

    What a transaction of another test may see, anywhere in the database, cannot be removed before that ends.
    """
    run(url, "UPDATE chore SET done = 'epoch' WHERE name = 'vacuum'")
    renew(engine)
    return dead(url) == 0


def test_tables_are_cleaned_with_a_renewal(engine: PostgresEngine, url: str) -> None:
    wear(engine, url)
    until(lambda: cleans(engine, url))
    [(rests,)] = run(url, "SELECT done > now() - interval '4 s' FROM chore WHERE name = 'vacuum'")
    assert rests is True


def test_nobody_cleans_while_another_does(engine: PostgresEngine, url: str) -> None:
    wear(engine, url)
    run(url, "UPDATE chore SET done = now() WHERE name = 'vacuum'")
    renew(engine)
    assert dead(url) >= 4000


def test_tables_of_others_are_left_to_their_owner(engine: PostgresEngine, url: str) -> None:
    wear(engine, url)
    [(before,)] = run(url, "SELECT count(*) FROM worn()")
    run(url, "UPDATE chore SET done = 'epoch'")
    with psycopg.connect(SHARED) as connection:  # undone at the end
        schema = address_of(url, {}).quoted
        for statement in (
            "CREATE ROLE umbel_guest",
            f"GRANT USAGE ON SCHEMA {schema} TO umbel_guest",
            f"GRANT ALL ON ALL TABLES IN SCHEMA {schema} TO umbel_guest",
            "SET ROLE umbel_guest",
        ):
            connection.execute(statement.encode())
        found = connection.execute(f"SELECT * FROM {schema}.worn()".encode()).fetchall()
        connection.rollback()
    assert before  # for who they belong to
    assert found == []


def test_tables_are_cleaned_through_a_pooler_and_in_any_isolation(
    url: str, engine: PostgresEngine, tmp_path: Path
) -> None:
    wear(engine, url)
    query = url.partition("?")[2]
    serializable = "options=-c%20default_transaction_isolation%3Dserializable"
    with closing(PostgresEngine(f"{url}&{serializable}", {})) as strict:
        until(lambda: cleans(strict, url))
    wear(engine, url)
    with (
        pgbouncer(tmp_path, SHARED) as through,
        closing(PostgresEngine(f"{through}?{query}", {})) as pooled,
    ):
        until(lambda: cleans(pooled, url))
