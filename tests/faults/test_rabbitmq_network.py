"""What happens to the network between a RabbitMQ server and its workers and clients.

The connection is the claim: what a lost one held comes back, marked, and may run once more. Nothing else may.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.faults.conftest import Form, Settle
from tests.faults.fleet import Fleet, wait_until
from tests.faults.networks import (
    check_that_it_stops,
    check_that_they_consume,
    deaf_port,
    flip_bits,
    harm_connections,
    have_started,
    is_sent,
    settle_slow_work,
    until_started_by,
)
from tests.faults.outages import outlive
from tests.faults.proxy import NO_ANSWER, Proxy
from tests.faults.rabbit_fleet import RabbitFleet
from tests.rabbitmq_servers import own_vhost
from umbel.clock import SYSTEM
from umbel.engines.rabbitmq import wire
from umbel.exceptions import OperationalError
from umbel.testing.conformance.support import at_most

pytestmark = [pytest.mark.faults, pytest.mark.engine, pytest.mark.forms("short", "full")]

#: What a packet that publishes has in it.
PUBLISHES = wire.publishing("", "celery", True)[7:20]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with own_vhost() as found:
        yield found


@contextmanager
def behind_a_proxy(
    place: Path, form: Form, url: str, heartbeat: int = 2, **settings: Any
) -> Iterator[tuple[RabbitFleet, Proxy, dict[str, str]]]:
    """Make a fleet and a proxy before its server, with the environment of workers that are behind it."""
    host, _, rest = url.rpartition("@")
    port, _, vhost = rest.partition(":")[2].partition("/")
    with (
        Proxy(int(port), form.dice) as proxy,
        RabbitFleet(place, url, broker_heartbeat=heartbeat, **settings) as fleet,
    ):
        there = f"{host}@127.0.0.1:{proxy.port}/{vhost}"
        yield fleet, proxy, {"UMBEL_BROKER_URL": there}
        fleet.empty()


def test_connections_cut_delayed_and_halved(
    place: Path, form: Form, settle: Settle, url: str
) -> None:
    """B5: nothing is lost, only what was held runs twice, and the same processes go on when it is over."""
    harms, tasks = form.pick((20, 1_000), (1_000, 20_000))
    with behind_a_proxy(place, form, url) as (fleet, proxy, away):
        nodes = fleet.start("one", "two", environment=away)
        fleet.send("work", [(0.2,)] * 8)
        wait_until(lambda: len({one.pid for one in fleet.history().starts}) == 4, 30.0, "children")
        before = {node.name: set(node.members()) for node in nodes}
        children = [pid for node in nodes for pid in node.members()]
        harm_connections(fleet, proxy, form, harms, tasks, children)
        fleet.ledger.fault("connection harmed", children)
        check_that_they_consume(fleet, 20.0)
        assert {node.name: set(node.members()) for node in nodes} == before
        figures = settle(fleet)
        # No more than one batch for each connection that was lost.
        assert figures.duplicates <= tasks


def test_bits_are_changed(place: Path, form: Form, url: str) -> None:
    """B5: what arrives is not what was sent."""
    with behind_a_proxy(place, form, url) as (fleet, proxy, away):
        fleet.start("one", "two", environment=away)
        flip_bits(fleet, proxy, form)


@pytest.mark.parametrize(("pool", "name"), [("threads", "work"), ("asyncio", "wait")])
def test_long_task_outlives_its_connections(
    place: Path, form: Form, settle: Settle, url: str, pool: str, name: str
) -> None:
    """B3: what comes back to the child that still runs it goes on there, and others run beside it."""
    with behind_a_proxy(place, form, url, worker_pool=pool) as (fleet, proxy, away):
        fleet.concurrency = 4
        (one,) = fleet.start("one", environment=away)

        def cut() -> list[str]:
            proxy.silence()
            proxy.cut_all()
            SYSTEM.sleep(form.pick(1.5, 30.0))
            proxy.heal()
            return []

        outlive(fleet, one, form, settle, name, cut)


def test_worker_whose_network_passes_nothing_on(
    place: Path, form: Form, settle: Settle, url: str
) -> None:
    """P3, B3: others take over after two to three heartbeats, and it works again when it is heard.

    The other has nothing to do by then, so that what is measured is how soon the server gives back.
    """
    heartbeat, seconds = form.pick((1, 0.0), (6, 300.0))
    with behind_a_proxy(place, form, url, heartbeat) as (fleet, proxy, away):
        (far,) = fleet.start("far", environment=away)
        long = form.pick(10.0, 60.0)
        both = fleet.send("work", [(long,)] * 2)
        wait_until(lambda: set(both) <= fleet.started(), 10.0, "both children to be busy")
        (near,) = fleet.start("near")
        proxy.silence()
        begun = SYSTEM.monotonic()
        fleet.ledger.fault("network away", far.members(), begun)
        theirs = {one.id for one in fleet.history().starts if one.pid in far.members()}
        near_by = set(near.children())
        wait_until(
            lambda: have_started(fleet, near_by, theirs),
            3 * heartbeat + 10.0,
            "the other to take over",
        )
        first = min(
            one.t for one in fleet.history().starts if one.id in theirs and one.pid in near_by
        )
        assert first - begun <= 3.0 * heartbeat + 2.0
        SYSTEM.sleep(seconds)
        proxy.heal()
        delay = until_started_by(fleet, set(far.members()), 60.0)
        assert delay <= 5.0 + long
        figures = settle(fleet, delay)
        assert figures.duplicates == len(theirs) == 2


def test_network_passes_nothing_on(place: Path, form: Form, settle: Settle, url: str) -> None:
    """B3: for all at once. Calls fail in time, and all go on by themselves."""
    patience, seconds = form.pick((0.5, 1.0), (5.0, 300.0))
    with behind_a_proxy(place, form, url) as (fleet, proxy, away):
        fleet.start("one", environment=away)
        fleet.send("work", [(0.0,)])
        fleet.wait_until_quiet()
        there = fleet.tasks.app.__class__(
            broker=away["UMBEL_BROKER_URL"], broker_publish_timeout=patience
        )
        try:
            wait_until(
                lambda: is_sent(fleet, there, retry=False), 10.0, "a first call to be accepted"
            )
            fleet.ledger.fault("network away", [])
            proxy.silence()
            with at_most(patience + 0.5):
                assert not is_sent(fleet, there, retry=False)
            SYSTEM.sleep(seconds)
            proxy.heal()
            begun = SYSTEM.monotonic()
            wait_until(lambda: is_sent(fleet, there, retry=False), 10.0, "a call to be accepted")
        finally:
            there.close()
        fleet.wait_until_quiet()
        figures = settle(fleet, SYSTEM.monotonic() - begun)
        assert figures.duplicates == 0


def test_port_that_nobody_accepts_at(place: Path, form: Form) -> None:
    """P3: calls end in time, and a worker that finds nobody there can be stopped."""
    with deaf_port() as port:
        patience = form.pick(0.5, 5.0)
        with Fleet(
            place,
            broker_url=f"amqp://guest:guest@127.0.0.1:{port}//",
            broker_publish_timeout=patience,
        ) as fleet:
            with at_most(patience + 0.5), pytest.raises(OperationalError):
                fleet.app.tasks["work"].delay(0.0)
            if form.name == "quick":
                return
            node = fleet.launch("one", {})
            check_that_it_stops(node, 20.0)


def test_late_network(place: Path, form: Form, settle: Settle, url: str) -> None:
    """B4: each packet takes long."""
    _work_slowly(place, form, settle, url, form.pick(0.05, 0.3), 0)


def test_narrow_network(place: Path, form: Form, settle: Settle, url: str) -> None:
    """B4: only 10 kB pass in a second."""
    _work_slowly(place, form, settle, url, 0.0, 10_000)


def _work_slowly(
    place: Path, form: Form, settle: Settle, url: str, latency: float, rate: int
) -> None:
    """The connection is kept alive, nobody takes the server for gone, and nothing runs twice."""
    tasks = form.pick(20, 500)
    with behind_a_proxy(place, form, url) as (fleet, proxy, away):
        (one,) = fleet.start("one", environment=away)
        proxy.slow_down(latency, rate)
        begun = SYSTEM.monotonic()
        fleet.send("work", [(form.pick(5.0, 30.0),)])  # longer than two heartbeats
        for _ in range(tasks // 5):
            fleet.send("work", [(0.0,)] * 5)
        fleet.wait_until_quiet(form.pick(60.0, 600.0))
        assert SYSTEM.monotonic() - begun < form.pick(40.0, 300.0)
        settle_slow_work(fleet, proxy, settle, one)


def test_confirmations_are_lost(place: Path, form: Form, url: str) -> None:
    """B6: of every tenth publish. The client repeats it; only what is repeated may run twice."""
    calls = form.pick(30, 2_000)
    with behind_a_proxy(place, form, url) as (fleet, proxy, away):
        fleet.start("one")
        there = fleet.tasks.app.__class__(broker=away["UMBEL_BROKER_URL"])
        try:
            assert is_sent(fleet, there, retry=False)
            proxy.lose_answers(PUBLISHES, 10)
            for _ in range(calls):
                assert is_sent(fleet, there, retry=True)
            proxy.lose_answers(b"", 0)
        finally:
            there.close()
        lost = proxy.done[NO_ANSWER]
        assert lost >= calls // 10
        fleet.wait_until_quiet(60.0)
        fleet.stop()
        history = fleet.history()
        starts = Counter(start.id for start in history.starts)
        assert set(starts) == {id for id, sent in history.sent.items() if sent.outcome == "ok"}
        assert starts.total() - len(starts) <= lost
