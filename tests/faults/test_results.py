"""A result store that fails while the broker does not: nothing runs again for it, and no result is lost."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.faults.conftest import Form, MakeFleet
from tests.faults.fleet import Fleet, wait_until
from tests.faults.oracles import Figures
from tests.faults.rabbit_fleet import RabbitFleet
from tests.rabbitmq_servers import own_vhost
from tests.redis_servers import PrivateServer, private_server
from umbel import canvas, states
from umbel.clock import SYSTEM

pytestmark = pytest.mark.faults

#: Seconds after the store is back within which it has the results of what had ended before.
HEALED = 5.0


@pytest.mark.forms("short", "full")
def test_a_result_store_that_stands_still(make_fleet: MakeFleet, place: Path, form: Form) -> None:
    """X1: Redis keeps the results of each broker, and stands still under load."""
    (place / "results").mkdir()
    with (
        private_server(place / "results") as store,
        make_fleet(result_backend=store.url) as fleet,
    ):
        _let_it_stand_still(fleet, store, form)


@pytest.mark.engine
@pytest.mark.forms("short", "full")
def test_a_result_store_beside_rabbitmq_that_stands_still(place: Path, form: Form) -> None:
    """The same where messages are on RabbitMQ."""
    (place / "results").mkdir()
    with (
        private_server(place / "results") as store,
        own_vhost() as url,
        RabbitFleet(place, url, result_backend=store.url) as fleet,
    ):
        _let_it_stand_still(fleet, store, form)
        fleet.empty()


def _let_it_stand_still(fleet: Fleet, store: PrivateServer, form: Form) -> None:
    with ThreadPoolExecutor(1) as pool:
        fleet.start("one", "two")
        # First, so that something follows what cannot be stored.
        chains = [id for _ in range(form.pick(60, 400)) for id in _send_chain(fleet)]
        ids = [*chains, *fleet.send("work", [(0.02,)] * form.pick(400, 10_000))]
        waits = threading.Event()
        waiter = pool.submit(
            fleet.app.AsyncResult(ids[-1]).get,
            timeout=300.0,
            interval=0.05,
            on_interval=waits.set,
        )
        # Whoever begins to wait while the store is silent is told so.
        assert waits.wait(30.0) or waiter.done()
        wait_until(lambda: len(fleet.history().ends) > 20, 30.0, "some tasks to end")
        store.freeze()
        SYSTEM.sleep(form.pick(12.0, 60.0))
        store.thaw()
        ended = {end.id for end in fleet.history().ends}
        results = fleet.app.result_store()
        wait_until(
            lambda: results.get(ended).keys() == ended, HEALED, "what had ended to be stored"
        )
        wait_until(
            lambda: (
                {one.state for one in results.get(ids).values()} == {states.SUCCESS}
                and len(results.get(ids)) == len(ids)
            ),
            form.pick(60.0, 300.0),
            "all results",
        )
        assert isinstance(waiter.result(5.0), int)
        fleet.stop()
        assert Counter(start.id for start in fleet.history().starts) == Counter(ids)
        fleet.keep_figures(Figures(trials=1, tasks=len(ids), faults=1))


def _send_chain(fleet: Fleet) -> list[str]:
    """Send a chain; return the ids of its calls."""
    result = canvas.chain(*[fleet.app.tasks["work"].si(0.02)] * 5).apply_async()
    ids = []
    while result is not None:
        ids.append(result.id)
        result = result.parent
    return ids
