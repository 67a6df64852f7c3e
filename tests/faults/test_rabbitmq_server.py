"""What happens to a RabbitMQ server under load: workers and clients go on by themselves, and never hang.

Whoever holds messages when its connection is lost runs them again. Results are in a file of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.conftest import Form, Settle
from tests.faults.fleet import wait_until
from tests.faults.load import Load
from tests.faults.outages import check_calls, until_work_goes_on
from tests.faults.rabbit_fleet import RabbitFleet
from tests.rabbitmq_servers import PrivateServer, delete_queue, private_server
from umbel.clock import SYSTEM
from umbel.engines.rabbitmq.address import address_of
from umbel.engines.rabbitmq.link import Link

pytestmark = [pytest.mark.faults, pytest.mark.engine, pytest.mark.forms("short", "full")]

#: Seconds after which the server takes back what is held, and after which workers take it anew.
TIMEOUT, HOLD = 5.0, 1.5


@contextmanager
def running(place: Path, timeout: float = TIMEOUT) -> Iterator[tuple[PrivateServer, RabbitFleet]]:
    """Start a server and a fleet on it."""
    with (
        private_server(place, f"consumer_timeout = {int(timeout * 1000)}") as server,
        RabbitFleet(
            place, server.url, broker_transport_options={"hold_after": HOLD}, broker_heartbeat=2
        ) as fleet,
    ):
        yield server, fleet


def load_of(fleet: RabbitFleet, form: Form) -> Load:
    return Load(fleet, form.dice, form.pick(20, 250), retry=False)


def test_server_killed(place: Path, form: Form, settle: Settle) -> None:
    """B1: and started again, away for a moment or longer."""
    with running(place) as (server, fleet):
        fleet.start("one", "two")
        delays = []
        with load_of(fleet, form) as load:
            for _ in range(form.pick(1, 20)):
                fleet.note_fault("server killed")
                server.kill()
                SYSTEM.sleep(form.dice.uniform(0.1, form.pick(1.0, 10.0)))
                server.start()
                fleet.note_fault("server killed")
                delays.append(until_work_goes_on(fleet))
                load.await_more()
        check_calls(fleet, load)
        settle(fleet, *delays)
        assert max(delays) <= 5.0, delays


def test_server_frozen(place: Path, form: Form, settle: Settle) -> None:
    """B2: for longer than two heartbeats. What is held stays so: nothing runs twice.

    The time for which a server lets messages be held, half an hour by default, goes on while it is frozen.
    """
    with running(place, 1800.0) as (server, fleet):
        nodes = fleet.start("one", "two")
        with load_of(fleet, form) as load:
            fleet.note_fault("server frozen")
            server.freeze()
            SYSTEM.sleep(form.pick(8.0, 60.0))
            server.thaw()
            fleet.note_fault("server frozen")
            delay = until_work_goes_on(fleet)
            load.await_more()
        check_calls(fleet, load)
        figures = settle(fleet, delay)
        assert figures.duplicates == 0
        assert delay <= 3.0
        for node in nodes:
            assert "is silent. What is held from it stays so" in node.text()


def _stop_app(server: PrivateServer) -> None:
    server.control("stop_app")
    server.control("start_app")


def _close_connections(server: PrivateServer) -> None:
    server.control("close_all_connections", "an experiment")


def _delete_queue(server: PrivateServer) -> None:
    link = Link(address_of(server.url, {}), 5.0, "test")
    delete_queue(link, "celery")
    link.close()


@pytest.mark.parametrize("how", [_stop_app, _close_connections])
def test_connections_closed_by_the_server(
    place: Path, form: Form, settle: Settle, how: Callable[[PrivateServer], None]
) -> None:
    """Q2: ``rabbitmqctl stop_app``, and ``close_all_connections``."""
    with running(place) as (server, fleet):
        fleet.start("one", "two")
        delays = []
        with load_of(fleet, form) as load:
            for _ in range(form.pick(1, 20)):
                fleet.note_fault(how.__name__)
                how(server)
                fleet.note_fault(how.__name__)
                delays.append(until_work_goes_on(fleet))
                load.await_more()
        check_calls(fleet, load)
        settle(fleet, *delays)
        assert max(delays) <= 5.0, delays


def test_queue_deleted(place: Path, form: Form) -> None:
    """Q2: what was in it is lost by right; workers and clients have it again within five seconds."""
    with running(place) as (server, fleet):
        fleet.start("one")
        for _ in range(form.pick(3, 50)):
            _delete_queue(server)
            begun = SYSTEM.monotonic()
            [last] = fleet.send("work", [(0.0,)])
            wait_until(lambda last=last: last in fleet.started(), 15.0, "the queue to be back")  # type: ignore[misc]
            assert SYSTEM.monotonic() - begun <= 5.0
        fleet.stop()


def test_tasks_longer_than_the_consumer_timeout(place: Path, form: Form, settle: Settle) -> None:
    """Q1: they run once, and so does what is due later than that."""
    with running(place) as (_, fleet):
        fleet.start("one", "two")
        fleet.send("work", [(form.pick(2.5, 5.0) * TIMEOUT,)] * 3)
        due = fleet.app.tasks["work"].apply_async((0.0,), countdown=2.5 * TIMEOUT)
        fleet.ledger.sent(due.id, "ok")
        fleet.wait_until_quiet(120.0)
        figures = settle(fleet)
        assert figures.duplicates == 0


@pytest.mark.parametrize(
    ("alarm", "end"),
    [
        (("set_vm_memory_high_watermark", "0"), ("set_vm_memory_high_watermark", "0.4")),
        (("set_disk_free_limit", "900000GB"), ("set_disk_free_limit", "50MB")),
    ],
    ids=["memory", "disk"],
)
def test_alarm(
    place: Path, form: Form, settle: Settle, alarm: tuple[str, ...], end: tuple[str, ...]
) -> None:
    """Q3: calls fail in time and say why, workers drain what is there, and then all goes on."""
    with running(place) as (server, fleet):
        fleet.start("one")
        waiting = fleet.send("work", [(0.1,)] * 40)
        with load_of(fleet, form) as load:
            server.control(*alarm)
            wait_until(lambda: len(load.refusals) >= 2, 60.0, "calls to fail")
            wait_until(lambda: set(waiting) <= fleet.started(), 60.0, "the workers to drain")
            SYSTEM.sleep(form.pick(0.0, 60.0))
            server.control(*end)
            delay = until_work_goes_on(fleet)
            load.await_more()
        check_calls(fleet, load)
        assert all("blocked by" in str(one.error) for one in load.refusals)
        settle(fleet, delay)
