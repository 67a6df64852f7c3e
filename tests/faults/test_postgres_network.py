"""What happens to the network between a PostgreSQL server and its workers and clients."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.faults.conftest import Form, Settle
from tests.faults.fleet import wait_until
from tests.faults.networks import (
    check_that_they_consume,
    flip_bits,
    harm_connections,
    have_started,
    settle_slow_work,
    until_started_by,
)
from tests.faults.outages import until_work_goes_on
from tests.faults.postgres_fleet import PostgresFleet
from tests.faults.proxy import NO_ANSWER, Proxy
from tests.postgres_servers import private_server
from umbel.clock import SYSTEM

pytestmark = [pytest.mark.faults, pytest.mark.engine, pytest.mark.forms("short", "full")]


@contextmanager
def _behind_a_proxy(
    place: Path, form: Form, patience: float = 1.0, **settings: Any
) -> Iterator[tuple[PostgresFleet, Proxy]]:
    """Make a fleet whose workers and clients reach their server through a proxy."""
    with private_server(place) as server, Proxy(server.port, form.dice) as proxy:
        url = server.url.replace(str(server.port), str(proxy.port))
        # By default shorter than the longest delays.
        options = {"timeout": patience}
        at = {"broker_transport_options": options, "result_backend_transport_options": options}
        with PostgresFleet(place, server, url, **at | settings) as fleet:
            yield fleet, proxy


def test_connections_cut_delayed_and_halved(place: Path, form: Form, settle: Settle) -> None:
    """B5: nothing is lost, nothing runs twice, and the same processes go on when it is over."""
    harms, tasks = form.pick((20, 400), (1_000, 20_000))
    with _behind_a_proxy(place, form) as (fleet, proxy):
        nodes = fleet.start("one", "two")
        before = {node.name: set(node.children()) for node in nodes}
        harm_connections(fleet, proxy, form, harms, tasks)
        check_that_they_consume(fleet, 10.0)
        assert {node.name: set(node.children()) for node in nodes} == before
        figures = settle(fleet)
        assert figures.duplicates == 0


def test_bits_are_changed(place: Path, form: Form) -> None:
    """B5: what arrives is not what was sent."""
    with _behind_a_proxy(place, form) as (fleet, proxy):
        fleet.start("one", "two")
        flip_bits(fleet, proxy, form, stay=False)


def test_worker_whose_network_passes_nothing_on(place: Path, form: Form, settle: Settle) -> None:
    """P3, B3, G1: others take over; what it says once it is heard changes nothing, and it works again."""
    lease, seconds = form.pick((1.0, 0.0), (15.0, 300.0))
    options = {"timeout": lease}
    at = {"broker_transport_options": options, "result_backend_transport_options": options}
    with (
        private_server(place) as server,
        Proxy(server.port, form.dice) as proxy,
        PostgresFleet(place, server, server.url, worker_lease_ttl=lease, **at) as fleet,
    ):
        through = server.url.replace(str(server.port), str(proxy.port))
        away = {"UMBEL_BROKER_URL": through, "UMBEL_RESULT_BACKEND": through}
        (far,) = fleet.start("far", environment=away)
        (near,) = fleet.start("near")
        both = fleet.send("work", [(form.pick(2.0, 15.0),)] * 4)
        wait_until(lambda: set(both) <= fleet.started(), 5.0, "all children to be busy")
        proxy.silence()
        fleet.ledger.fault("network away", far.members())
        long = {one.id for one in fleet.history().starts if one.pid in far.members()}
        near_by = set(near.children())
        wait_until(
            lambda: have_started(fleet, near_by, long),
            lease + 10.0,
            "the other to take over",
        )
        SYSTEM.sleep(seconds)
        proxy.heal()
        delay = until_started_by(fleet, set(far.members()))
        assert delay <= 5.0
        figures = settle(fleet, delay)
        assert figures.duplicates == len(long) == 2
        assert max(figures.recoveries) <= lease + 5.0
        assert "was taken for dead" in far.text()


def test_late_network(place: Path, form: Form, settle: Settle) -> None:
    """B4: each packet takes long."""
    _work_slowly(place, form, settle, form.pick(0.05, 0.3), 0)


def test_narrow_network(place: Path, form: Form, settle: Settle) -> None:
    """B4: only 10 kB pass in a second."""
    _work_slowly(place, form, settle, 0.0, 10_000)


def _work_slowly(place: Path, form: Form, settle: Settle, latency: float, rate: int) -> None:
    """Leases are renewed, nobody is taken for gone, and nothing runs twice."""
    tasks, lease = form.pick((10, 2.0), (500, 15.0))
    with _behind_a_proxy(place, form, 10.0, worker_lease_ttl=lease) as (fleet, proxy):
        (one,) = fleet.start("one")
        proxy.slow_down(latency, rate)
        for _ in range(tasks // 5):
            fleet.send("work", [(0.0,)] * 5)
        until_work_goes_on(fleet, 0.0)
        fleet.wait_until_quiet(form.pick(30.0, 600.0))
        settle_slow_work(fleet, proxy, settle, one)


def test_answers_to_publishes_are_lost(place: Path, form: Form, settle: Settle) -> None:
    """B6: of every tenth publish. The client repeats it, and the call runs once."""
    calls = form.pick(30, 5_000)
    with _behind_a_proxy(place, form) as (fleet, proxy):
        fleet.start("one")
        fleet.send("work", [(0.0,)])  # the first notes the queue
        proxy.lose_answers(b"correlation_id", 10)
        for _ in range(calls):
            fleet.send("work", [(0.0,)])
        proxy.lose_answers(b"", 0)
        assert proxy.done[NO_ANSWER] >= calls // 10
        fleet.wait_until_quiet(60.0)
        figures = settle(fleet)
        assert figures.duplicates == 0
