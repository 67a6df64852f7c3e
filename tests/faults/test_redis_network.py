"""What happens to the network between a Redis server and its workers and clients."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

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
from tests.faults.proxy import CUT, HALF_A_CALL, HALF_AN_ANSWER, NO_ANSWER, Proxy
from tests.faults.redis_fleet import RedisFleet
from tests.redis_servers import private_server
from umbel.clock import SYSTEM, unique_id
from umbel.engines.redis import RedisEngine
from umbel.engines.redis.consumer import RedisConsumer
from umbel.exceptions import OperationalError
from umbel.message import Delivery
from umbel.ports import FetchRequest, Owner, Settlement
from umbel.testing.conformance.support import QUEUE, at_most, publication, record

T = TypeVar("T")

pytestmark = [pytest.mark.faults, pytest.mark.engine]


@contextmanager
def _behind_a_proxy(
    place: Path, form: Form, patience: float = 1.0, **settings: Any
) -> Iterator[tuple[RedisFleet, Proxy]]:
    """Make a fleet whose workers and clients reach their server through a proxy."""
    with (
        private_server(place) as server,
        Proxy(server.port, form.dice) as proxy,
        RedisFleet(
            place,
            server,
            broker_url=proxy.url,
            result_backend=proxy.url,
            # By default shorter than the longest delays.
            broker_transport_options={"socket_timeout": patience},
            result_backend_transport_options={"socket_timeout": patience},
            **settings,
        ) as fleet,
    ):
        yield fleet, proxy


def test_connections_cut_delayed_and_halved(place: Path, form: Form, settle: Settle) -> None:
    """B5: nothing is lost, nothing runs twice, and the same processes go on when it is over."""
    harms, tasks = form.pick((20, 1_000), (1_000, 20_000))
    with _behind_a_proxy(place, form) as (fleet, proxy):
        nodes = fleet.start("one", "two")
        before = {node.name: set(node.children()) for node in nodes}
        harm_connections(fleet, proxy, form, harms, tasks)
        check_that_they_consume(fleet, 10.0)
        assert {node.name: set(node.children()) for node in nodes} == before
        figures = settle(fleet)
        assert figures.duplicates == 0


@pytest.mark.forms("short", "full")
def test_bits_are_changed(place: Path, form: Form) -> None:
    """B5: what arrives is not what was sent."""
    with _behind_a_proxy(place, form) as (fleet, proxy):
        fleet.start("one", "two")
        flip_bits(fleet, proxy, form)


@pytest.mark.parametrize("half", [HALF_A_CALL, HALF_AN_ANSWER])
def test_dialogue_cut_after_each_byte(place: Path, form: Form, half: str) -> None:
    """B5: wherever a connection ends, each message is settled, and comes once unless it says so."""
    step = form.pick(29, 1)
    with private_server(place) as server, Proxy(server.port, form.dice) as proxy:
        witness = RedisEngine(server.url, {})
        for count in range(form.dice.randrange(step), 2048, step):
            proxy.cut_after(count, half)
            with at_most(10.0):
                runs = _dialogue(proxy.url, f"task {count}")
            assert len(runs) == 1 or all(one.count > 1 for one in runs[1:]), (count, runs)
            assert set(witness.results.get([f"task {count}"])) == {f"task {count}"}
            depth = witness.queues.depths()[QUEUE]
            assert (depth.ready, depth.leased, depth.dead) == (0, 0, 0), (count, depth)
        witness.close()
        assert proxy.done[CUT] >= 400 // step


def _dialogue(url: str, id: str) -> list[Delivery]:
    """Publish, fetch, settle, and leave, as clients and children do; return what there was to be run."""
    engine = RedisEngine(url, {"socket_timeout": 1.0})
    engine.broker.join(engine.results)
    sent, runs = [publication(id)], list[Delivery]()
    _insist(lambda: engine.broker.publish(sent, 2.0))
    consumer = _insist(lambda: _attach(engine))
    settled = False
    while not settled:
        try:
            found = consumer.fetch(FetchRequest((QUEUE,), 1), 0.2)
        except OperationalError:  # what it does not know of goes back
            _insist(consumer.close)
            consumer = _insist(lambda: _attach(engine))
            continue
        for one in found:
            runs.append(one)
            done = [Settlement(one, result=record(id, "SUCCESS"))]
            _insist(partial(consumer.settle, done))
            settled = True
    _insist(consumer.close)
    engine.close()
    return runs


def _attach(engine: RedisEngine) -> RedisConsumer:
    return engine.broker.consumer(Owner(unique_id(), "node", "host", os.getpid()), 60.0)


def _insist(act: Callable[[], T]) -> T:
    """Do something until it is answered."""
    while True:
        try:
            return act()
        except OperationalError:
            SYSTEM.sleep(0.01)


@pytest.mark.forms("short", "full")
def test_worker_whose_network_passes_nothing_on(place: Path, form: Form, settle: Settle) -> None:
    """P3, B3: others take over; what it says once it is heard changes nothing, and it works again."""
    lease, seconds = form.pick((1.0, 0.0), (15.0, 300.0))
    with (
        private_server(place) as server,
        Proxy(server.port, form.dice) as proxy,
        RedisFleet(
            place,
            server,
            worker_lease_ttl=lease,
            broker_transport_options={"client_name": "faults", "socket_timeout": lease},
            result_backend_transport_options={"socket_timeout": lease},
        ) as fleet,
    ):
        away = {"UMBEL_BROKER_URL": proxy.url, "UMBEL_RESULT_BACKEND": proxy.url}
        (far,) = fleet.start("far", environment=away)
        (near,) = fleet.start("near")
        both = fleet.send("work", [(form.pick(2.0, 15.0),)] * 4)
        wait_until(lambda: set(both) <= fleet.started(), 5.0, "all children to be busy")
        proxy.silence()
        fleet.ledger.fault("network away", far.members())
        long = [one.id for one in fleet.history().starts if one.pid in far.members()]
        near_by = set(near.children())
        wait_until(
            lambda: have_started(fleet, near_by, long), lease + 10.0, "the other to take over"
        )
        SYSTEM.sleep(seconds)
        wait_until(fleet.is_quiet, 20.0, "the other to be done")
        proxy.heal()
        delay = until_started_by(fleet, set(far.members()))
        assert {fleet.app.AsyncResult(id).get(timeout=1.0) for id in long} <= near_by
        assert delay <= 5.0
        figures = settle(fleet, delay)
        assert figures.duplicates == len(long) == 2
        assert max(figures.recoveries) <= lease + 5.0
        assert "was taken for dead" in far.text()


def test_network_passes_nothing_on(place: Path, form: Form, settle: Settle) -> None:
    """B3: for all at once. Calls fail in time, waits end in time, and all go on by themselves."""
    patience, seconds = form.pick((0.5, 1.0), (5.0, 300.0))
    with _behind_a_proxy(place, form, patience, broker_publish_timeout=patience) as (fleet, proxy):
        fleet.start("one")
        fleet.send("work", [(0.0,)])
        fleet.wait_until_quiet()
        fleet.ledger.fault("network away", [])
        proxy.silence()
        with at_most(patience + 0.5):
            assert not is_sent(fleet)
        with at_most(1.0), pytest.raises((OperationalError, TimeoutError)):
            fleet.app.AsyncResult("unknown").get(timeout=0.5)
        SYSTEM.sleep(seconds)
        proxy.heal()
        begun = SYSTEM.monotonic()
        wait_until(lambda: is_sent(fleet), 10.0, "a call to be accepted")
        fleet.wait_until_quiet()
        figures = settle(fleet, SYSTEM.monotonic() - begun)
        assert figures.duplicates == 0


@pytest.mark.parametrize(("pool", "name"), [("threads", "work"), ("asyncio", "wait")])
def test_long_task_outlives_its_connections(
    place: Path, form: Form, settle: Settle, pool: str, name: str
) -> None:
    """B3: a message is leased with an answer that never comes; it and others run beside the long task."""
    with (
        private_server(place) as server,
        Proxy(server.port, form.dice) as proxy,
        RedisFleet(
            place,
            server,
            worker_pool=pool,
            broker_transport_options={"socket_timeout": 1.0},
            result_backend_transport_options={"socket_timeout": 1.0},
        ) as fleet,
    ):
        fleet.concurrency = 4
        away = {"UMBEL_BROKER_URL": proxy.url, "UMBEL_RESULT_BACKEND": proxy.url}
        (one,) = fleet.start("one", environment=away)

        def cut() -> list[str]:
            is_waited = server.admin.info
            wait_until(lambda: is_waited("clients")["blocked_clients"], 5.0, "a child to wait")
            proxy.silence()
            sent = fleet.send(name, [(0.0,)] * 2)
            wait_until(lambda: server.admin.keys("umbel:inbox:*"), 5.0, "a message to be leased")
            proxy.cut_all()
            SYSTEM.sleep(form.pick(1.5, 30.0))
            proxy.heal()
            return sent

        outlive(fleet, one, form, settle, name, cut)


def test_port_that_nobody_accepts_at(place: Path, form: Form) -> None:
    """P3: calls and waits end in time, and a worker that finds nobody there can be stopped."""
    with deaf_port() as port:
        url, patience = f"redis://127.0.0.1:{port}/0", form.pick(0.5, 5.0)
        options = {"socket_timeout": patience}
        with Fleet(
            place,
            broker_url=url,
            result_backend=url,
            broker_publish_timeout=patience,
            broker_transport_options=options,
            result_backend_transport_options=options,
        ) as fleet:
            _ = fleet.app.broker  # importing the client library is no part of what is timed
            with at_most(patience + 0.5), pytest.raises(OperationalError):
                fleet.app.tasks["work"].delay(0.0)
            with at_most(1.0), pytest.raises((OperationalError, TimeoutError)):
                fleet.app.AsyncResult("unknown").get(timeout=0.5)
            if form.name == "quick":
                return
            node = fleet.launch("one", {})
            check_that_it_stops(node, 15.0)


@pytest.mark.forms("short", "full")
def test_late_network(place: Path, form: Form, settle: Settle) -> None:
    """B4: each packet takes long."""
    _work_slowly(place, form, settle, form.pick(0.05, 0.3), 0)


@pytest.mark.forms("short", "full")
def test_narrow_network(place: Path, form: Form, settle: Settle) -> None:
    """B4: only 10 kB pass in a second."""
    _work_slowly(place, form, settle, 0.0, 10_000)


def _work_slowly(place: Path, form: Form, settle: Settle, latency: float, rate: int) -> None:
    """Leases are renewed, nobody takes the server for gone, and nothing runs twice."""
    tasks, lease = form.pick((10, 2.0), (500, 15.0))
    # A worker's first packet is a script's text, which has to come through.
    with _behind_a_proxy(place, form, 10.0, worker_lease_ttl=lease) as (fleet, proxy):
        (one,) = fleet.start("one")
        proxy.slow_down(latency, rate)
        begun = SYSTEM.monotonic()
        for _ in range(tasks // 5):
            fleet.send("work", [(0.0,)] * 5)
        fleet.wait_until_quiet(form.pick(30.0, 600.0))
        # Each call waits for one answer: 80 % of the pace that this allows, beside a start of some answers.
        limit = 2 * latency * tasks / 5 / 0.8 + 10.0 if latency else form.pick(20.0, 300.0)
        assert SYSTEM.monotonic() - begun < limit
        settle_slow_work(fleet, proxy, settle, one)


def test_answers_to_publishes_are_lost(place: Path, form: Form, settle: Settle) -> None:
    """B6: of every tenth publish. The client repeats it, and the call runs once."""
    calls = form.pick(30, 5_000)
    with _behind_a_proxy(place, form) as (fleet, proxy):
        fleet.start("one")
        for _ in range(2):  # the first notes the queue, the second gives the connection its record
            fleet.send("work", [(0.0,)])
        proxy.lose_answers(b"LPUSH", 10)
        for _ in range(calls):
            fleet.send("work", [(0.0,)])
        proxy.lose_answers(b"", 0)
        assert proxy.done[NO_ANSWER] >= calls // 10
        fleet.wait_until_quiet(60.0)
        figures = settle(fleet)
        assert figures.duplicates == 0
