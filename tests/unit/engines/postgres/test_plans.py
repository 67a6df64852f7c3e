"""How much is read: what is kept for later, and what was there before, costs nobody anything."""

from __future__ import annotations

import psycopg
import pytest

from tests.postgres_servers import SHARED
from umbel.engines.postgres import PostgresEngine
from umbel.engines.postgres.address import address_of
from umbel.testing.conformance.support import QUEUE, Side, fetch, ids

pytestmark = pytest.mark.engine

#: Rows that nothing is to be done with.
MANY = 2000
#: Rows that may be read all the same.
FEW = 50

SCHEDULED = f"""
INSERT INTO place (seq, queue, urgency, state, due)
SELECT nextval('message_seq'), (SELECT id FROM queue), 0, 1, now() + interval '1 day'
FROM generate_series(1, {MANY})
"""
KEPT = f"""
INSERT INTO result (task_id, state, document, expires)
SELECT 'kept ' || n, 'SUCCESS', 'null', now() + interval '1 day' FROM generate_series(1, {MANY}) AS n
"""
HEARD = f"""
INSERT INTO broadcast (topic, payload, sent) SELECT 'any', '', now() FROM generate_series(1, {MANY})
"""


#: Many that are due, more than are returned at a time.
DUE = f"""
INSERT INTO place (seq, queue, urgency, state, due)
SELECT nextval('message_seq'), (SELECT id FROM queue), 0, 1, now() - n * interval '1 ms'
FROM generate_series(1, {MANY * 10}) AS n
"""


#: How `claim` has its plans made.
AS_CLAIMED = (
    "SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; SET LOCAL jit = off"
)


def read_by(url: str, table: str, statement: str) -> int:
    """Run a statement, and return how many rows of a table it reads."""
    with psycopg.connect(SHARED) as connection:
        connection.execute(f"SET LOCAL search_path TO {address_of(url, {}).quoted}".encode())
        connection.execute(statement.encode())
        [(read,)] = connection.execute(
            "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_xact_user_tables"
            " WHERE relid = %s::regclass",
            (table,),
        )
    return int(read)


def run(url: str, *statements: str) -> None:
    with psycopg.connect(SHARED, autocommit=True) as connection:
        connection.execute(f"SET search_path TO {address_of(url, {}).quoted}".encode())
        for statement in statements:
            connection.execute(statement.encode())


def test_what_is_due_later_is_not_read(engine: PostgresEngine, url: str) -> None:
    side = Side(engine)
    consumer = side.consumer()
    side.publish("1")
    assert ids(fetch(consumer)) == ["1"]
    run(url, SCHEDULED, "ANALYZE place")
    assert (
        read_by(url, "place", f"SELECT look(ARRAY(SELECT id FROM queue WHERE name = '{QUEUE}'))")
        < FEW
    )
    run(url, "UPDATE place SET due = now() WHERE seq = (SELECT max(seq) FROM place)")
    assert read_by(url, "place", "SELECT return_due()") < FEW
    side.leave()


def test_of_what_is_due_only_what_is_returned_is_read(engine: PostgresEngine, url: str) -> None:
    """Once to see where it goes, once to lock it, once to change it."""
    side = Side(engine)
    side.publish("1")
    run(url, DUE, "ANALYZE place")
    assert read_by(url, "place", f"{AS_CLAIMED}; SELECT return_due()") < 5000
    run(url, "DELETE FROM place")
    side.leave()


def test_results_that_are_kept_are_not_read_to_find_those_that_expired(
    engine: PostgresEngine, url: str
) -> None:
    run(url, KEPT, "ANALYZE result")
    statement = engine.results._sql["cleanup"]
    assert read_by(url, "result", statement) < FEW


def test_a_broadcast_does_not_read_those_of_the_last_minute(
    engine: PostgresEngine, url: str
) -> None:
    listening = engine.broadcast.listen(["any"])
    run(url, HEARD, "ANALYZE broadcast")
    assert read_by(url, "broadcast", "SELECT send('any', 'any', ARRAY['\\x00'::bytea])") < FEW
    listening.close()
