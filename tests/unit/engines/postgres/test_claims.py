"""How claims find messages, and what the server undoes because others do the same."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import chain
from typing import Any

import psycopg
import pytest

from tests.postgres_servers import SHARED
from umbel.clock import SYSTEM
from umbel.engines.postgres import PostgresEngine
from umbel.engines.postgres.address import address_of
from umbel.exceptions import OperationalError
from umbel.ports import Action, Settlement
from umbel.testing.conformance.support import (
    PATIENCE,
    QUEUE,
    Side,
    ack,
    fetch,
    ids,
    publication,
    record,
)

pytestmark = pytest.mark.engine


def run(url: str, statement: str) -> list[tuple[object, ...]]:
    schema = address_of(url, {}).quoted
    with psycopg.connect(SHARED, autocommit=True) as connection:
        connection.execute(f"SET search_path TO {schema}".encode())
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description is not None else []


#: Lets ten seconds pass for the lanes.
LATER = "UPDATE lane SET noted = noted - interval '11 s'"


def first_of(url: str) -> object:
    return run(url, "SELECT first FROM lane")[0][0]


def test_a_lane_begins_where_something_waits(engine: PostgresEngine, url: str) -> None:
    side = Side(engine)
    side.publish(*(str(number) for number in range(10)))
    consumer = side.consumer()
    ack(consumer, fetch(consumer, limit=6))
    assert first_of(url) == 0
    for _ in range(2):  # what it finds counts ten seconds later
        run(url, LATER)
        consumer.release([item.key for item in fetch(consumer, limit=1)])
    assert first_of(url) == 7
    assert ids(fetch(consumer)) == ["6", "7", "8", "9"]
    side.leave()


def test_an_owner_whose_attaching_was_not_answered_is_forgotten(
    engine: PostgresEngine, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker, side = engine.broker, Side(engine)
    real = broker._server.transaction

    def lost(*arguments: Any, **options: Any) -> None:
        real(*arguments, **options)
        raise OperationalError("The answer was lost.")

    for _ in range(2):
        with monkeypatch.context() as patch:
            patch.setattr(broker._server, "transaction", lost)
            with pytest.raises(OperationalError):
                side.consumer()
    assert len(run(url, "SELECT name FROM owner")) == 1  # the second call has forgotten the first
    consumer = side.consumer()
    side.publish("1")
    assert ids(fetch(consumer)) == ["1"]
    assert run(url, "SELECT name FROM owner") == [(consumer.owner.id,)]
    side.leave()


def test_one_that_comes_later_is_forgotten_by_whoever_leaves(
    engine: PostgresEngine, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a connection is lost and the server still reads what was sent on it."""
    broker, side = engine.broker, Side(engine)
    late: list[tuple[Any, ...]] = []

    def hold_back(*arguments: Any, **_: Any) -> None:
        late.append(arguments)
        raise OperationalError("The connection was lost.")

    with monkeypatch.context() as patch:
        patch.setattr(broker._server, "transaction", hold_back)
        with pytest.raises(OperationalError):
            side.consumer()
    consumer = side.consumer()
    [arguments] = late
    broker._server.transaction(*arguments)
    assert len(run(url, "SELECT name FROM owner")) == 2
    consumer.close()
    assert run(url, "SELECT name FROM owner") == []


def test_what_comes_back_is_found_again(engine: PostgresEngine, url: str) -> None:
    side = Side(engine)
    side.publish(*(str(number) for number in range(6)))
    holder, other = side.consumer(), side.consumer()
    held = fetch(holder, limit=3)
    ack(other, fetch(other))
    for _ in range(3):
        run(url, LATER)
        assert fetch(other) == []
    assert first_of(url) == 6
    holder.release([item.key for item in held])
    assert ids(fetch(other)) == ["0", "1", "2"]
    side.leave()


def test_what_a_lane_left_behind_is_found_in_the_end(engine: PostgresEngine, url: str) -> None:
    """As when a publish takes more than ten seconds to commit."""
    side = Side(engine)
    side.publish("1")
    run(url, "UPDATE lane SET first = 100")
    consumer = side.consumer()
    assert fetch(consumer) == []
    side.broker.renew("any", 60.0)
    assert ids(fetch(consumer)) == ["1"]
    side.leave()


def test_scheduled_messages_begin_where_one_is_due(engine: PostgresEngine, url: str) -> None:
    """So that those which were due before, and cannot be cleaned up yet, are not looked at."""
    side = Side(engine)
    consumer = side.consumer()
    later = SYSTEM.time() + 3600.0
    side.broker.publish([publication("later", due=later)], PATIENCE)
    for _ in range(2):
        run(url, "UPDATE agenda SET noted = noted - interval '11 s'")
        assert fetch(consumer) == []
    [(before, after)] = run(
        url, f"SELECT first > now() - interval '1 min', first > to_timestamp({later}) FROM agenda"
    )
    assert (before, after) == (True, False)
    # A worker whose clock is slow parks something that is due already.
    side.publish("parked")
    (one,) = fetch(consumer)
    consumer.settle([Settlement(one, Action.PARK, due=SYSTEM.time() - 7200.0)])
    assert ids(fetch(consumer)) == ["parked"]
    side.leave()


def test_what_was_scheduled_too_early_is_found_in_the_end(engine: PostgresEngine, url: str) -> None:
    """As when a publish takes more than ten seconds to commit."""
    side = Side(engine)
    consumer = side.consumer()
    side.broker.publish([publication("1", due=SYSTEM.time() + 3600.0)], PATIENCE)
    run(url, "UPDATE place SET due = now() - interval '1 min'")
    run(url, "UPDATE agenda SET first = now(), noted = now()")
    assert fetch(consumer) == []
    side.broker.renew("any", 60.0)
    assert ids(fetch(consumer)) == ["1"]
    side.leave()


def test_a_claim_is_planned_by_index_whatever_the_statistics_say(
    engine: PostgresEngine, url: str
) -> None:
    """A plan that was made for empty tables must not read all of a full one."""
    side = Side(engine)
    consumer = side.consumer()
    for _ in range(10):  # by now the plans are kept
        assert fetch(consumer) == []
    side.publish(*(str(number) for number in range(5000)), queue="other")
    side.publish("1")
    before = run(
        url, "SELECT seq_tup_read FROM pg_stat_user_tables WHERE relid = 'place'::regclass"
    )
    assert ids(fetch(consumer)) == ["1"]
    with closing(PostgresEngine(url, {})) as another:
        fresh = Side(another)
        assert fetch(fresh.consumer()) == []
        fresh.leave()
    run(url, "SELECT pg_stat_force_next_flush()")
    after = run(url, "SELECT seq_tup_read FROM pg_stat_user_tables WHERE relid = 'place'::regclass")
    assert before == after
    side.leave()


@pytest.mark.parametrize("isolation", ["serializable", "repeatable read"])
def test_the_default_isolation_of_a_database_changes_nothing(url: str, isolation: str) -> None:
    level = isolation.replace(" ", "%5C%20")
    option = f"{url}&options=-c%20default_transaction_isolation%3D{level}"

    def drain(_: int) -> list[str | None]:
        with closing(PostgresEngine(option, {})) as engine:
            side = Side(engine)
            side.join()
            consumer = side.consumer()
            taken: list[str | None] = []
            while deliveries := fetch(consumer, limit=5):
                taken += ids(deliveries)
                ack(consumer, deliveries)
                engine.results.put([record("the same", "STARTED")])
            side.leave()
            return taken

    with closing(PostgresEngine(option, {})) as engine:
        Side(engine).publish(*(str(number) for number in range(300)))
    with ThreadPoolExecutor(8) as executor:
        taken = list(chain.from_iterable(executor.map(drain, range(8))))
    assert sorted(taken, key=str) == sorted(str(number) for number in range(300))


def test_what_the_server_undoes_is_done_again(engine: PostgresEngine, url: str) -> None:
    """Transactions that wait for each other: one is undone, and nobody hears of it."""
    schema = address_of(url, {}).quoted
    engine.results.put([record("a", "STARTED"), record("b", "STARTED")])
    with psycopg.connect(SHARED) as rival, ThreadPoolExecutor(1) as executor:
        rival.execute("SET deadlock_timeout = '1 min'")  # so that it is ours that is undone
        rival.execute(f"UPDATE {schema}.result SET state = 'RIVAL' WHERE task_id = 'b'".encode())
        storing = executor.submit(
            engine.results.put, [record("a", "PROGRESS"), record("b", "PROGRESS")]
        )
        # It has locked a, and waits for b.
        while not run(
            url, "SELECT 1 FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'"
        ):
            pass
        rival.execute(f"UPDATE {schema}.result SET state = 'RIVAL' WHERE task_id = 'a'".encode())
        rival.commit()
        storing.result(20)
    found = engine.results.get(["a", "b"])
    assert {item.state for item in found.values()} == {"PROGRESS"}


def test_messages_of_other_sessions_do_not_hold_up_a_claim(
    engine: PostgresEngine, url: str
) -> None:
    side = Side(engine)
    side.publish("1", "2")
    with psycopg.connect(SHARED) as other:
        schema = address_of(url, {}).quoted
        other.execute(f"SELECT 1 FROM {schema}.place WHERE seq = 1 FOR UPDATE".encode())
        assert ids(fetch(side.consumer())) == ["2"]
    assert engine.queues.depths()[QUEUE].ready == 1
    side.leave()


def test_who_is_woken_for_two_queues_at_once_holds_nobody_up(
    engine: PostgresEngine, url: str
) -> None:
    """Each who publishes has locked the row of its queue, and deletes both."""
    engine.broker.publish([publication("1", queue="a"), publication("2", queue="b")], PATIENCE)
    schema = address_of(url, {}).quoted
    run(
        url,
        "INSERT INTO waiter SELECT id, 'channel', 1, now() FROM queue WHERE name IN ('a', 'b')",
    )
    with psycopg.connect(SHARED) as other:
        other.execute(
            f"SELECT 1 FROM {schema}.waiter JOIN {schema}.queue ON id = queue WHERE name = 'b'"
            " FOR UPDATE".encode()
        )
        engine.broker.publish([publication("3", queue="a")], 2.0)
    assert run(url, "SELECT name FROM waiter JOIN queue ON id = queue") == [("b",)]


def test_leases_are_renewed_while_something_else_is_held_up(
    engine: PostgresEngine, url: str
) -> None:
    side = Side(engine)
    consumer = side.consumer()
    schema = address_of(url, {}).quoted
    run(url, "INSERT INTO tag VALUES ('old', now() - interval '1 hour')")
    with closing(PostgresEngine(f"{url}&timeout=1", {})) as hasty, psycopg.connect(SHARED) as other:
        other.execute(f"SELECT 1 FROM {schema}.tag FOR UPDATE".encode())
        assert hasty.broker.renew(consumer.owner.node, 60.0) == {consumer.owner.id}
    side.leave()
