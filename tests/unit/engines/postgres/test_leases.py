"""What is leased: a row for each batch, as long as nothing sets some of its messages apart."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psycopg
import pytest

from tests.postgres_servers import SHARED
from umbel.engines.postgres import PostgresEngine
from umbel.engines.postgres.address import address_of
from umbel.exceptions import LeaseLost
from umbel.message import Delivery
from umbel.ports import Action, Settlement
from umbel.testing.conformance.support import (
    PATIENCE,
    QUEUE,
    Side,
    ack,
    fetch,
    ids,
    publication,
    until,
)

pytestmark = pytest.mark.engine


def run(url: str, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(SHARED, autocommit=True) as connection:
        connection.execute(f"SET search_path TO {address_of(url, {}).quoted}".encode())
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description is not None else []


@contextmanager
def locked(url: str, statement: str) -> Iterator[psycopg.Connection]:
    """A transaction that has run a statement, and so holds its locks."""
    with psycopg.connect(SHARED) as connection:
        connection.execute(f"SET search_path TO {address_of(url, {}).quoted}".encode())
        connection.execute(statement.encode())
        yield connection


def is_awaited(connection: psycopg.Connection) -> bool:
    """Whether somebody waits for a lock of this transaction."""
    found = "SELECT 1 FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid))"
    return bool(connection.execute(found.encode()).fetchall())


def leased(url: str) -> list[tuple[object, ...]]:
    """How many messages each row has, and how they were handed over."""
    found = "SELECT cardinality(seqs), state, count, crashes FROM lease ORDER BY seqs"
    return run(url, found)


CLAIM = """
SELECT seq, lease FROM owner
CROSS JOIN LATERAL claim(owner.id, ARRAY(SELECT queue.id FROM queue), 1000, NULL, false)
"""
ACKNOWLEDGE = "SELECT acknowledge(id, %s::bigint[], %s::bigint[]) FROM owner"
#: How many rows of each table this transaction has written.
WRITTEN = """
SELECT relname, n_tup_ins, n_tup_upd, n_tup_del FROM pg_stat_xact_user_tables
WHERE relid IN ('place'::regclass, 'message'::regclass, 'lease'::regclass) ORDER BY relname
"""


def test_a_batch_is_one_row_until_it_is_settled(engine: PostgresEngine, url: str) -> None:
    side = Side(engine)
    consumer = side.consumer()
    side.broker.publish([publication(str(n)) for n in range(1000)], PATIENCE)
    held = fetch(consumer, limit=1000)
    assert leased(url) == [(1000, 2, 1, 0)]
    assert run(url, "SELECT count(*) FROM place") == [(0,)]
    ack(consumer, held)
    assert leased(url) == []
    assert run(url, "SELECT count(*) FROM message") == [(0,)]
    side.leave()


def test_what_is_settled_in_parts_leaves_the_rest(engine: PostgresEngine, url: str) -> None:
    side = Side(engine)
    consumer = side.consumer()
    side.publish(*(str(number) for number in range(8)))
    held = fetch(consumer)
    ack(consumer, held[2:5])
    assert leased(url) == [(5, 2, 1, 0)]
    ack(consumer, [held[7], held[0]])
    consumer.mark_early([held[5]])
    assert leased(url) == [(2, 2, 1, 0), (1, 3, 1, 0)]
    assert consumer.release([held[1].key]) == 1
    ack(consumer, [held[5], held[6]])
    assert leased(url) == []
    assert ids(fetch(consumer)) == ["1"]
    side.leave()


def test_messages_that_do_not_follow_each_other_are_settled_as_well(
    engine: PostgresEngine, url: str
) -> None:
    """As where several queues are published to at once."""
    side = Side(engine)
    side.publish(*"abc")
    side.publish("x", queue="other")
    side.publish(*"def")
    consumer = side.consumer()
    held = fetch(consumer)
    assert ids(held) == list("abcdef")
    assert leased(url) == [(6, 2, 1, 0)]
    # Two of one lease, which are not all that lies between them.
    ack(consumer, [held[2], held[3]])
    assert run(url, "SELECT task_id FROM message ORDER BY seq") == [(one,) for one in "abxef"]
    ack(consumer, [held[0], held[1], held[4], held[5]])
    assert run(url, "SELECT task_id FROM message") == [("x",)]
    side.leave()


def test_what_was_handed_over_before_comes_in_its_order_with_its_counts(
    engine: PostgresEngine, url: str
) -> None:
    side = Side(engine)
    side.publish(*"abcde")
    consumer = side.consumer()
    held = fetch(consumer)
    requeued = [Settlement(held[n], Action.REQUEUE, crashed=n == 1) for n in (1, 3)]
    consumer.settle(requeued)
    consumer.release([held[n].key for n in (0, 2, 4)])
    again = fetch(consumer)
    assert [(one.message.task_id, one.count, one.crashes) for one in again] == [
        ("a", 1, 0),
        ("b", 2, 1),
        ("c", 1, 0),
        ("d", 2, 0),
        ("e", 1, 0),
    ]
    assert leased(url) == [(3, 2, 1, 0), (1, 2, 2, 1), (1, 2, 2, 0)]
    ack(consumer, again)
    assert leased(url) == []
    side.leave()


def test_parts_of_a_batch_are_settled_at_once_by_several_threads(
    engine: PostgresEngine, url: str
) -> None:
    side = Side(engine)
    consumer = side.consumer()
    side.publish(*(str(number) for number in range(200)))
    held = fetch(consumer, limit=200)
    parts: list[list[Delivery]] = [held[first::8] for first in range(8)]
    with ThreadPoolExecutor(4) as executor:
        for _ in executor.map(lambda part: ack(consumer, part), parts):
            pass
    assert leased(url) == []
    assert run(url, "SELECT count(*) FROM message") == [(0,)]
    side.leave()


def test_nothing_is_written_anew_for_a_message(engine: PostgresEngine, url: str) -> None:
    side = Side(engine)
    side.broker.publish([publication(str(n)) for n in range(100)], PATIENCE)
    side.consumer()
    with psycopg.connect(SHARED) as connection:
        connection.execute(f"SET search_path TO {address_of(url, {}).quoted}".encode())
        [(_, lease), (first, _), *_, (last, _)] = connection.execute(CLAIM.encode())
        connection.execute(ACKNOWLEDGE.encode(), ([first, last], [lease]))
        found = connection.execute(WRITTEN.encode()).fetchall()
    assert found == [("lease", 1, 0, 1), ("message", 0, 0, 100), ("place", 0, 0, 100)]
    side.leave()


def test_who_was_reclaimed_settles_nothing(engine: PostgresEngine, url: str) -> None:
    side = Side(engine)
    gone, other = side.consumer(), side.consumer()
    side.publish(*"ab")
    held = fetch(gone)
    handed = other.reclaim(gone.owner.id, [held[0].key])
    assert ids(handed) == ["b"]
    with pytest.raises(LeaseLost):
        ack(gone, held)
    assert leased(url) == [(1, 2, 1, 0)]
    ack(other, handed)
    assert ids(fetch(other)) == ["a"]
    assert QUEUE in engine.queues.depths()
    side.leave()


@pytest.mark.parametrize("action", [Action.REQUEUE, Action.PARK, Action.DEAD_LETTER])
def test_two_handings_over_of_a_message_that_are_settled_together_do_not_double_it(
    engine: PostgresEngine, action: Action
) -> None:
    side = Side(engine)
    side.publish("a")
    consumer = side.consumer()
    [old] = fetch(consumer)
    consumer.release([old.key])
    [new] = fetch(consumer)
    both = [Settlement(one, action, due=1.0, reason="any") for one in (old, new)]
    assert [one.key for one in consumer.settle(both).refused] == [old.key]
    depth = engine.queues.depths()[QUEUE]
    assert (depth.ready, depth.scheduled, depth.dead) == (
        action is Action.REQUEUE,
        action is Action.PARK,
        action is Action.DEAD_LETTER,
    )
    side.leave()


def test_who_claims_or_parks_does_not_wait_for_a_lane(engine: PostgresEngine, url: str) -> None:
    """As who settles has one: two who wait for each other's would be a deadlock."""
    side = Side(engine)
    side.publish("due", "later")
    side.publish("x", queue="other")
    consumer = side.consumer()
    due, later = fetch(consumer)
    consumer.settle([Settlement(due, Action.PARK, due=1.0)])
    with locked(url, "SELECT 1 FROM lane, queue WHERE id = queue AND name = 'queue' FOR UPDATE"):
        consumer.settle([Settlement(later, Action.PARK, due=2e9)])
        assert ids(fetch(consumer, queues=["other"])) == ["x"]
        assert ids(fetch(consumer)) == []
    assert ids(fetch(consumer)) == ["due"]
    side.leave()


def test_who_settles_several_batches_locks_them_in_one_order(
    engine: PostgresEngine, url: str
) -> None:
    side = Side(engine)
    consumer = side.consumer()
    side.publish("a", "b")
    [first] = fetch(consumer, limit=1)
    [second] = fetch(consumer, limit=1)
    settlements = [Settlement(second), Settlement(first, Action.REQUEUE)]
    with ThreadPoolExecutor(1) as executor:
        # Another thread that settles the first one, and then the second.
        with locked(url, "SELECT 1 FROM lease ORDER BY number LIMIT 1 FOR UPDATE") as other:
            settled = executor.submit(consumer.settle, settlements)
            until(lambda: is_awaited(other))
            free = b"SELECT count(*) FROM (SELECT 1 FROM lease FOR UPDATE SKIP LOCKED) AS found"
            assert other.execute(free).fetchall() == [(2,)]
        assert settled.result(PATIENCE).refused == ()
    side.leave()
