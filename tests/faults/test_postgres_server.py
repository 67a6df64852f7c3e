"""What happens to a PostgreSQL server under load: workers and clients go on by themselves, and never hang."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.faults.conftest import Form, Settle
from tests.faults.fleet import wait_until
from tests.faults.oracles import percentile
from tests.faults.outages import (
    away,
    check_refusals,
    check_words,
    freeze_for_two_leases,
    has_more,
    load_of,
    outlive,
    restart,
    until_work_goes_on,
)
from tests.faults.postgres_fleet import PostgresFleet
from tests.faults.test_disks import fill, small_disk
from tests.postgres_servers import PrivateServer, pgbouncer, private_server
from umbel.clock import SYSTEM, unique_id
from umbel.engines.postgres import PostgresEngine
from umbel.exceptions import BrokerFull
from umbel.ports import Action, Settlement
from umbel.testing.conformance.support import PATIENCE, Side, ack, fetch, publication, record

pytestmark = [pytest.mark.faults, pytest.mark.engine]


@contextmanager
def running(
    place: Path, form: Form, lease: float = 60.0, through: bool = False, **more: Any
) -> Iterator[tuple[PrivateServer, PostgresFleet]]:
    """Start a server and a fleet on it, whose clients are less patient in the quick form."""
    patience = form.pick(2.5, 5.0)
    options = {"timeout": patience}
    with private_server(place) as server:
        settings = {
            "worker_lease_ttl": lease,
            "broker_publish_timeout": patience,
            "broker_transport_options": options,
            "result_backend_transport_options": options,
            **more,
        }
        if not through:
            with PostgresFleet(place, server, server.url, **settings) as fleet:
                yield server, fleet
            return
        with (
            pgbouncer(place, server.url) as url,
            PostgresFleet(place, server, url, **settings) as fleet,
        ):
            yield server, fleet


def test_server_crashes(place: Path, form: Form, settle: Settle) -> None:
    """G1: it is restarted as after a crash (``pg_ctl restart -m immediate``)."""
    dice, rounds, delays = form.dice, form.pick(1, 20), []
    with running(place, form) as (server, fleet):
        nodes = fleet.start("one", "two")
        with load_of(fleet, form) as load:
            for _ in range(rounds):
                restart(fleet, server, dice.uniform(0.1, form.pick(1.0, 10.0)))
                delays.append(until_work_goes_on(fleet))
                load.await_more()
        check_refusals(fleet, load)
        delays.append(_pickup(fleet, form))
        figures = settle(fleet, *delays)
        check_words(nodes, rounds)
        assert figures.duplicates == 0


@pytest.mark.parametrize(("pool", "name"), [("threads", "work"), ("asyncio", "wait")])
def test_long_task_outlives_its_server(
    place: Path, form: Form, settle: Settle, pool: str, name: str
) -> None:
    """G1: what is new runs beside a task that ran before the server was restarted."""
    with running(place, form, worker_pool=pool) as (server, fleet):
        fleet.concurrency = 4
        (one,) = fleet.start("one")

        def crash() -> list[str]:
            restart(fleet, server, form.pick(1.0, 10.0))
            return []

        outlive(fleet, one, form, settle, name, crash)


def test_sessions_are_ended(place: Path, form: Form, settle: Settle) -> None:
    """G1: ``pg_terminate_backend`` on every session, again and again; then all listen again."""
    with running(place, form) as (server, fleet):
        fleet.start("one", "two")
        with load_of(fleet, form) as load:
            for _ in range(form.pick(5, 100)):
                fleet.ledger.fault("sessions ended", [])
                server.end_sessions()
                SYSTEM.sleep(form.dice.uniform(0.0, 0.3))
            load.await_more()
        assert load.refusals == []
        figures = settle(fleet, _pickup(fleet, form))
        assert figures.duplicates == 0


def _pickup(fleet: PostgresFleet, form: Form) -> float:
    """Return how soon a call starts when nothing else is to be done: within 100 ms."""
    fleet.wait_until_quiet()
    delays = []
    for _ in range(5):
        begun = SYSTEM.monotonic()
        fleet.send("work", [(0.0,)])
        delays.append(until_work_goes_on(fleet, begun))
        fleet.wait_until_quiet()
    # Other tests run beside the short form. The look of who is not notified comes after a second.
    assert percentile(delays, 0.5) < form.pick(0.5, 0.1)
    return max(delays)


def test_server_frozen(place: Path, form: Form, settle: Settle) -> None:
    """B2: it is stopped for longer than leases last; whoever lives keeps its tasks."""
    lease, seconds = form.pick((1.0, 3.0), (15.0, 30.0))
    with running(place, form, lease) as (server, fleet):
        freeze_for_two_leases(fleet, server, form, settle, seconds)


def test_server_away(place: Path, form: Form, settle: Settle) -> None:
    """Calls fail in time with a clear error, waiting ends in time, and others go on when it is back."""
    with running(place, form, 1.0) as (server, fleet):
        with away(fleet, server, "PostgreSQL at", 2.0):
            pass
        settle(fleet)


@pytest.mark.forms("short", "full")
def test_failover_to_a_standby(place: Path, form: Form, settle: Settle) -> None:
    """The primary dies, and a standby that had all of it takes its place: its URL names both."""
    for name in ("primary", "standby"):
        (place / name).mkdir()
    waits = ("-c", "synchronous_standby_names=*")
    with (
        private_server(place / "primary", *waits) as primary,
        private_server(place / "standby", primary=primary) as standby,
    ):
        url = (
            f"postgresql://umbel@127.0.0.1:{primary.port},127.0.0.1:{standby.port}/postgres"
            "?target_session_attrs=read-write"
        )
        with PostgresFleet(place, primary, url) as fleet:
            nodes = fleet.start("one", "two")
            with load_of(fleet, form) as load:
                fleet.ledger.fault("failover", [])
                primary.stop()
                SYSTEM.sleep(form.dice.uniform(0.0, form.pick(1.0, 10.0)))
                standby.ask("SELECT pg_promote()")
                fleet.server = standby
                delay = until_work_goes_on(fleet)
                load.await_more()
            for one in load.refusals:
                assert one.seconds <= fleet.app.conf.broker_publish_timeout + 0.5
            figures = settle(fleet, delay)
            check_words(nodes, 1)
            assert delay <= 5.0
            assert figures.duplicates == 0


@pytest.mark.forms("short", "full")
def test_disk_fills_up_and_is_freed(place: Path, form: Form, settle: Settle) -> None:
    """S2, on a server: calls are refused, with the reason; nothing is lost, and all goes on with the room."""
    with (
        small_disk(place, 64) as disk,
        private_server(disk, log_at=place / "log") as server,
        PostgresFleet(place, server, server.url) as fleet,
    ):
        (node,) = fleet.start("one")
        delays = []
        with load_of(fleet, form) as load:
            for _ in range(form.pick(2, 10)):
                refused = len(load.refusals)
                ballast = fill(disk)
                fleet.ledger.fault("disk full", [])
                wait_until(lambda: has_more(load, refused), 60.0, "a call to be refused")  # noqa: B023
                SYSTEM.sleep(form.pick(form.dice.uniform(0.2, 1.0), 10.0))
                ballast.unlink()
                delays.append(until_work_goes_on(fleet))
                load.await_more()
        assert all(isinstance(one.error, BrokerFull) for one in load.refusals)
        figures = settle(fleet, *delays)
        assert figures.duplicates == 0
        assert max(delays) <= 5.0
        assert "Traceback" not in node.text()


def test_through_a_pooler(place: Path, form: Form, settle: Settle) -> None:
    """G3: nothing is lost behind pgbouncer in transaction mode, though children are killed."""
    with running(place, form, through=True) as (_, fleet):
        nodes = fleet.start("one", "two")
        with load_of(fleet, form) as load:
            for _ in range(form.pick(3, 100)):
                node = form.dice.choice(nodes)
                # Not one that attaches just now: what it asked for would be done after its death.
                working = {start.pid for start in fleet.history().starts}
                children = sorted(working.intersection(node.children()))
                if children:
                    node.kill_child(form.dice.choice(children))
                SYSTEM.sleep(form.dice.uniform(0.2, 0.6))
            load.await_more()
        assert load.refusals == []
        settle(fleet)
        assert "nobody can be notified" in nodes[0].text()


def test_claims_beside_an_open_transaction(place: Path, form: Form) -> None:
    """G4: much was done while somebody's snapshot keeps all of it from being cleaned up."""
    tasks = form.pick(20_000, 1_000_000)
    with (
        private_server(place, "-c", "fsync=off") as server,
        closing(PostgresEngine(server.url, {})) as engine,
        psycopg.connect(server.url) as other,
    ):
        side = Side(engine)
        consumer = side.consumer()
        side.publish("first")
        ack(consumer, fetch(consumer))
        other.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        other.execute("SELECT count(*) FROM umbel.place")
        for start in range(0, tasks, 1000):
            engine.broker.publish(
                [publication(str(n)) for n in range(start, start + 1000)], PATIENCE
            )
            ack(consumer, fetch(consumer, limit=1000))
        server.ask("UPDATE umbel.lane SET noted = noted - interval '11 s'")
        fetch(consumer)
        server.ask("UPDATE umbel.lane SET noted = noted - interval '11 s'")
        fetch(consumer)
        taken = []
        for number in range(form.pick(50, 1000)):
            side.publish(f"last {number}")
            begun = SYSTEM.monotonic()
            deliveries = fetch(consumer)
            taken.append(SYSTEM.monotonic() - begun)
            assert len(deliveries) == 1
            ack(consumer, deliveries)
        server.ask("VACUUM umbel.place")
        [(dead,)] = server.ask("SELECT n_dead_tup FROM pg_stat_user_tables WHERE relname = 'place'")
        print(
            f"{dead} dead rows; claims: median {percentile(taken, 0.5) * 1000:.1f} ms, p99"
            f" {percentile(taken, 0.99) * 1000:.1f} ms"
        )
        assert percentile(taken, form.pick(0.5, 0.99)) < 0.05
        side.leave()


@pytest.mark.forms("short", "full")
def test_tables_stay_small(place: Path, form: Form) -> None:
    """Tables stay under 1.5 times the size of what is in them, while much more passes through.

    In the short form what passes through in the seconds between two cleanings is as much as all that stays.
    """
    tasks, waiting, passing = form.pick((100_000, 20_000, 20e6), (2_000_000, 100_000, 0.0))
    with (
        private_server(place, "-c", "fsync=off") as server,
        closing(PostgresEngine(server.url, {})) as engine,
    ):
        side = Side(engine)
        side.join()
        consumer, renewed = side.consumer(), SYSTEM.monotonic()
        _publish(engine, waiting)
        for _ in range(tasks // 1000):
            _publish(engine, 1000)
            held = fetch(consumer, limit=1000)
            done = [
                Settlement(one, Action.ACK, result=record(one.message.task_id or "", "SUCCESS"))
                for one in held
            ]
            assert consumer.settle(done).refused == ()
            if SYSTEM.monotonic() - renewed > 5.0:  # as nodes do
                engine.broker.renew("node", 60.0)
                renewed = SYSTEM.monotonic()
        side.leave()
        sizes = _sizes(server)
        server.ask("VACUUM FULL")
        small = _sizes(server)
        parts = {name: (sizes[name], small[name]) for name in sizes if sizes[name] > 1e6}
        total, least = sum(sizes.values()), sum(small.values())
        print(
            f"{tasks} tasks: {total / 1e6:.1f} MB, {total / least:.2f} times what is needed: {parts}"
        )
        assert total < 1.5 * least + passing


def _publish(engine: PostgresEngine, count: int) -> None:
    """Publish with ids as umbel's clients make them, each greater than those before."""
    for start in range(0, count, 1000):
        some = range(start, min(start + 1000, count))
        engine.broker.publish([publication(unique_id()) for _ in some], PATIENCE)


def _sizes(server: PrivateServer) -> dict[str, int]:
    """Return the bytes of each of umbel's tables with its indexes."""
    found = server.ask(
        "SELECT relname, pg_total_relation_size(oid) FROM pg_class"
        " WHERE relnamespace = 'umbel'::regnamespace AND relkind = 'r'"
    )
    return {name: int(size) for name, size in found}
