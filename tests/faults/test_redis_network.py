"""What happens to the network between a Redis server and its workers and clients."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.faults.conftest import Form, Settle
from tests.faults.fleet import Fleet, lasts, wait_until
from tests.faults.proxy import HARMS, NO_ANSWER, Proxy
from tests.faults.redis_fleet import RedisFleet
from tests.redis_servers import private_server
from umbel.clock import SYSTEM, unique_id
from umbel.engines.redis.scripts import load
from umbel.exceptions import OperationalError
from umbel.testing.conformance.support import at_most

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
    dice = form.dice
    with _behind_a_proxy(place, form) as (fleet, proxy):
        nodes = fleet.start("one", "two")
        before = {node.name: set(node.children()) for node in nodes}
        for _ in range(harms):
            calls = [(dice.uniform(0.001, 0.01),) for _ in range(tasks // harms)]
            fleet.send("work", calls)
            fleet.ledger.fault("connection harmed", [])
            proxy.harm()
            SYSTEM.sleep(dice.uniform(0.0, 0.04))
        for _ in lasts(60.0):
            # Some are done to who says nothing more, and of few each kind need not be among them.
            if proxy.done.total() >= harms and set(proxy.done) == set(HARMS):
                break
            fleet.send("work", [(0.001,)])
            proxy.harm()
            SYSTEM.sleep(0.01)
        proxy.calm()
        assert proxy.done.total() >= harms
        assert set(proxy.done) == set(HARMS)
        fleet.wait_until_quiet(120.0)
        last = fleet.send("work", [(0.0,)] * 100)
        wait_until(lambda: set(last) <= fleet.started(), 10.0, "the workers to consume still")
        assert {node.name: set(node.children()) for node in nodes} == before
        figures = settle(fleet)
        assert figures.duplicates == 0


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
            lambda: _have_started(fleet, near_by, long), lease + 10.0, "the other to take over"
        )
        SYSTEM.sleep(seconds)
        wait_until(fleet.is_quiet, 20.0, "the other to be done")
        proxy.heal()
        delay = _until_started_by(fleet, set(far.members()))
        assert {fleet.app.AsyncResult(id).get(timeout=1.0) for id in long} <= near_by
        assert delay <= 5.0
        figures = settle(fleet, delay)
        assert figures.duplicates == len(long) == 2
        assert max(figures.recoveries) <= lease + 5.0
        assert "was taken for dead" in far.text()


def _have_started(fleet: RedisFleet, pids: set[int], ids: list[str]) -> bool:
    return set(ids) <= {start.id for start in fleet.history().starts if start.pid in pids}


def _until_started_by(fleet: RedisFleet, pids: set[int]) -> float:
    """Send tasks until one of these processes starts one; return the seconds."""
    begun = SYSTEM.monotonic()

    def starts() -> bool:
        fleet.send("work", [(0.01,)] * 4)
        return any(start.t > begun and start.pid in pids for start in fleet.history().starts)

    wait_until(starts, 15.0, "the worker to be back")
    return SYSTEM.monotonic() - begun


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
            assert not _is_sent(fleet)
        with at_most(1.0), pytest.raises((OperationalError, TimeoutError)):
            fleet.app.AsyncResult("unknown").get(timeout=0.5)
        SYSTEM.sleep(seconds)
        proxy.heal()
        begun = SYSTEM.monotonic()
        wait_until(lambda: _is_sent(fleet), 10.0, "a call to be accepted")
        fleet.wait_until_quiet()
        figures = settle(fleet, SYSTEM.monotonic() - begun)
        assert figures.duplicates == 0


def _is_sent(fleet: RedisFleet) -> bool:
    """Send a call, which may be accepted also where it fails."""
    id = unique_id()
    fleet.ledger.sent(id, "unknown")
    try:
        fleet.app.tasks["work"].apply_async((0.0,), task_id=id)
    except OperationalError:
        return False
    fleet.ledger.sent(id, "ok")
    return True


def test_port_that_nobody_accepts_at(place: Path, form: Form) -> None:
    """P3: calls and waits end in time, and a worker that finds nobody there can be stopped."""
    with socket.socket() as deaf, ExitStack() as stack:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        address = deaf.getsockname()
        for _ in range(3):  # until no more fit into its queue
            one = stack.enter_context(closing(socket.socket()))
            one.setblocking(False)
            one.connect_ex(address)
        url, patience = f"redis://127.0.0.1:{address[1]}/0", form.pick(0.5, 5.0)
        options = {"socket_timeout": patience}
        with Fleet(
            place,
            broker_url=url,
            result_backend=url,
            broker_publish_timeout=patience,
            broker_transport_options=options,
            result_backend_transport_options=options,
        ) as fleet:
            with at_most(patience + 0.5), pytest.raises(OperationalError):
                fleet.app.tasks["work"].delay(0.0)
            with at_most(1.0), pytest.raises((OperationalError, TimeoutError)):
                fleet.app.AsyncResult("unknown").get(timeout=0.5)
            if form.name == "quick":
                return
            node = fleet.launch("one", {})
            wait_until(lambda: "does not answer" in node.text(), 15.0, "the worker to say so")
            node.stop()
            assert node.wait() == 0, node.text()


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
        assert SYSTEM.monotonic() - begun < form.pick(20.0, 300.0)
        proxy.slow_down(0.0)
        figures = settle(fleet)
        assert figures.duplicates == 0
        assert "does not answer" not in one.text(), one.text()


def test_answers_to_publishes_are_lost(place: Path, form: Form, settle: Settle) -> None:
    """B6: of every tenth publish. The client repeats it, and the call runs once."""
    calls = form.pick(30, 5_000)
    with _behind_a_proxy(place, form) as (fleet, proxy):
        fleet.start("one")
        fleet.send("work", [(0.0,)])  # from now on the server has the script
        proxy.lose_answers(load("umbel.engines.redis", "broker_publish").sha.encode(), 10)
        for _ in range(calls):
            fleet.send("work", [(0.0,)])
        proxy.lose_answers(b"", 0)
        assert proxy.done[NO_ANSWER] >= calls // 10
        fleet.wait_until_quiet(60.0)
        figures = settle(fleet)
        assert figures.duplicates == 0
