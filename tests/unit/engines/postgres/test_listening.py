"""Being notified, and what is done where that does not work."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.postgres_servers import SHARED, PrivateServer, pgbouncer, private_server
from umbel.clock import SystemClock
from umbel.engines.postgres import PostgresEngine
from umbel.engines.postgres.consumer import PostgresConsumer
from umbel.engines.postgres.ear import Ear
from umbel.exceptions import OperationalError
from umbel.testing.conformance.support import (
    LONG,
    PATIENCE,
    Side,
    ack,
    at_most,
    fetch,
    ids,
    in_thread,
    record,
    until,
)

pytestmark = pytest.mark.engine


def waiters(url: str, table: str) -> int:
    schema = url.partition("schema=")[2]
    with psycopg.connect(SHARED, autocommit=True) as connection:
        cursor = connection.execute(f'SELECT count(*) FROM "{schema}".{table}'.encode())
        return int(cursor.fetchall()[0][0])


def test_nobody_is_notified_while_nobody_waits(engine: PostgresEngine, url: str) -> None:
    side = Side(engine)
    consumer = side.consumer()
    with in_thread(lambda: fetch(consumer, wait=LONG)) as found:
        until(lambda: waiters(url, "waiter") == 1)
        side.publish("1")
        assert ids(found.result(PATIENCE)) == ["1"]
    assert waiters(url, "waiter") == 0
    assert fetch(consumer, wait=0.01) == []
    assert waiters(url, "waiter") == 0
    side.leave()


def test_who_waits_with_nothing_scheduled_claims_once(
    engine: PostgresEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    side = Side(engine)
    consumer = side.consumer()
    assert isinstance(consumer, PostgresConsumer)
    server, claim = engine._server, consumer._waiter._sql["claim"]
    run, claims = server.run_again, list[str]()

    def counted(link: Any, statement: str, *rest: Any) -> Any:
        claims.extend([statement] if statement == claim else [])
        return run(link, statement, *rest)

    monkeypatch.setattr(server, "run_again", counted)
    assert fetch(consumer, wait=0.1) == []
    assert len(claims) == 1
    side.leave()


def test_rows_of_those_who_wait_for_results_go(engine: PostgresEngine, url: str) -> None:
    with closing(engine.results.subscribe()) as heard:
        heard.add(["1", "2", "3"])
        assert waiters(url, "result_waiter") == 3
        engine.results.put([record("1", "SUCCESS")])
        assert set(heard.receive(PATIENCE)) == {"1"}
        assert waiters(url, "result_waiter") == 2
    assert waiters(url, "result_waiter") == 0


class _Ahead(SystemClock):
    """A clock that a test puts forward."""

    seconds = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.seconds


def test_one_look_that_is_held_up_puts_off_no_other(
    engine: PostgresEngine, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, schema = _Ahead(), url.partition("schema=")[2]
    monkeypatch.setattr(engine._server, "clock", clock)
    with (
        closing(engine.results.subscribe()) as heard,
        psycopg.connect(SHARED) as other,
    ):
        heard.add(["1"])
        # Who stores the result has looked before that, and tells nobody.
        other.execute(f'DELETE FROM "{schema}".result_waiter'.encode())
        other.execute(f'LOCK TABLE "{schema}".result'.encode())
        with in_thread(lambda: heard.receive(PATIENCE)) as found:
            until(lambda: _waits_for(other, f'"{schema}".result'))
            clock.seconds = 3.0
            other.commit()
            engine.results.put([record("1", "SUCCESS")])
            assert set(found.result(LONG)) == {"1"}


def _waits_for(connection: psycopg.Connection[Any], table: str) -> bool:
    statement = "SELECT 1 FROM pg_locks WHERE relation = %s::regclass AND NOT granted"
    return connection.execute(statement, (table,)).fetchone() is not None


def test_a_connection_that_is_deaf_is_noticed(
    engine: PostgresEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    ear = Ear(engine._server, "umbel_test")
    link, _ = ear.link()
    assert ear.prove() == []  # it is not time yet
    monkeypatch.setattr(ear, "_next_proof", 0.0)
    assert ear.prove() == []
    link.execute("UNLISTEN *", (), 5.0)
    monkeypatch.setattr(ear, "_next_proof", 0.0)
    with pytest.raises(OperationalError, match="does not notify"):
        ear.prove()
    assert not ear.is_open


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateServer]:
    with private_server(tmp_path_factory.mktemp("server"), "-c", "fsync=off") as server:
        yield server


def test_a_subscription_outlives_a_crash_of_the_server(
    server: PrivateServer, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        closing(PostgresEngine(server.url, {})) as engine,
        closing(PostgresEngine(server.url, {})) as other,
        closing(engine.results.subscribe()) as heard,
    ):
        heard.add(["1", "2"])
        server.restart()
        until(lambda: not _fails(lambda: other.results.put([record("1", "SUCCESS")])))
        with at_most(PATIENCE), caplog.at_level(logging.WARNING, "umbel.postgres"):
            assert set(until(lambda: heard.receive(0.2))) == {"1"}
        other.results.put([record("2", "SUCCESS")])
        assert set(heard.receive(PATIENCE)) == {"2"}
    assert len(caplog.messages) <= 1  # none where it was noticed when the server was back already


def _fails(call: object) -> bool:
    try:
        call()  # type: ignore[operator]
    except OperationalError:
        return True
    return False


def test_a_waiting_fetch_says_that_its_connection_was_lost(server: PrivateServer) -> None:
    with closing(PostgresEngine(server.url, {})) as engine:
        side = Side(engine)
        consumer = side.consumer()
        with in_thread(lambda: fetch(consumer, wait=LONG)) as found:
            until(lambda: server.end_sessions("query LIKE '%look%'"))
            with pytest.raises(OperationalError, match="connection"):
                found.result(PATIENCE)
        side.publish("1")
        deliveries = fetch(consumer, wait=LONG)
        assert ids(deliveries) == ["1"]
        ack(consumer, deliveries)
        side.leave()


def test_idle_connections_of_a_server_that_was_restarted_are_not_used(
    server: PrivateServer,
) -> None:
    with closing(PostgresEngine(server.url, {})) as engine:
        engine.state.put("kind", "key", "1")
        server.restart()
        assert engine.state.take("bucket", 1.0, 1.0, 5.0) == 0.0  # which is never made twice


def test_a_server_that_is_silent_is_not_waited_for(server: PrivateServer) -> None:
    with closing(PostgresEngine(f"{server.url}?timeout=0.3", {})) as engine:
        side = Side(engine)
        side.publish("1")
        server.freeze()
        try:
            with at_most(5.0), pytest.raises(OperationalError, match="did not answer within"):
                engine.state.get("kind", "key")
        finally:
            server.thaw()
        consumer = side.consumer()
        deliveries = fetch(consumer)
        assert ids(deliveries) == ["1"]
        ack(consumer, deliveries)
        side.leave()


def test_through_a_pooler_all_works_without_a_session(
    server: PrivateServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "umbel.postgres")
    with (
        pgbouncer(server.directory, server.url, size=2) as through,
        closing(PostgresEngine(through, {})) as here,
        closing(PostgresEngine(through, {})) as there,
    ):
        side, other = Side(here), Side(there)
        consumers = [side.consumer(), other.consumer()]
        with at_most(PATIENCE):
            for number in range(30):  # more than after which statements would be prepared
                consumer = consumers[number % 2]
                with in_thread(lambda consumer=consumer: fetch(consumer, wait=LONG)) as found:  # type: ignore[misc]
                    other.publish(str(number))
                    deliveries = found.result(PATIENCE)
                assert ids(deliveries) == [str(number)]
                ack(consumer, deliveries)
        with closing(here.results.subscribe()) as heard:
            heard.add(["1"])
            there.results.put([record("1", "SUCCESS")])
            assert set(heard.receive(PATIENCE)) == {"1"}
        with closing(here.broadcast.listen(["a"])) as listening:
            there.broadcast.send("a", [b"1"])
            assert until(lambda: listening.receive(0.1)) == [("a", b"1")]
        side.leave()
        other.leave()
    assert sum("nobody can be notified" in one for one in caplog.messages) == 2
    [(count,)] = server.ask("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'")
    assert count == 0
