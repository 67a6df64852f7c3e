"""B5: the connections between Redis and its workers and clients are cut, delayed and halved."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.conftest import Form, Settle
from tests.faults.fleet import lasts, wait_until
from tests.faults.proxy import HARMS, Proxy
from tests.faults.redis_fleet import RedisFleet
from tests.redis_servers import private_server
from umbel.clock import SYSTEM

pytestmark = [pytest.mark.faults, pytest.mark.engine]


@contextmanager
def _behind_a_proxy(place: Path, form: Form) -> Iterator[tuple[RedisFleet, Proxy]]:
    """Make a fleet whose workers and clients reach their server through a proxy."""
    with (
        private_server(place) as server,
        Proxy(server.port, form.dice) as proxy,
        RedisFleet(
            place,
            server,
            broker_url=proxy.url,
            result_backend=proxy.url,
            # Shorter than the longest delays.
            broker_transport_options={"socket_timeout": 1.0},
        ) as fleet,
    ):
        yield fleet, proxy


def test_connections_cut_delayed_and_halved(place: Path, form: Form, settle: Settle) -> None:
    """Nothing is lost, nothing runs twice, and the same processes go on when it is over."""
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
