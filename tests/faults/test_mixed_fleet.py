"""Workers of umbel and of the released Celery on one Redis, which are killed by turns."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.conftest import Form, Settle
from tests.faults.fleet import Told, wait_until
from tests.faults.mixed_fleet import MixedFleet, witnessed
from tests.redis_servers import private_server

pytestmark = [pytest.mark.faults, pytest.mark.engine, pytest.mark.slow]

#: Celery's workers take back soon what a dead one held, and later than any task here is held.
TAKEN_BACK = {
    "visibility_timeout": 12,
    "unacked_restore_interval": 1,
    "unacked_restore_throttle": 1,
}


def test_workers_of_both_kinds_killed_by_turns(place: Path, form: Form, settle: Settle) -> None:
    """K1: nothing is lost but what Celery took and had not noted, and of that one at each kill at most."""
    rounds, tasks = form.pick((2, 40), (15, 100))
    with (
        private_server(place) as server,
        witnessed(server) as witness,
        MixedFleet(place, server, broker_transport_options=TAKEN_BACK) as fleet,
    ):
        (umbel,), celery = fleet.start("umbel"), fleet.start_celery("celery")
        kills: list[float] = []
        for _ in range(rounds):
            _send_and_await_some(fleet, form, tasks)
            umbel.kill_all()
            umbel.process.wait()
            _send_and_await_some(fleet, form, tasks)
            (umbel,) = fleet.start("umbel")
            _send_and_await_some(fleet, form, tasks)
            kills.append(fleet.kill_celery(celery))
            _send_and_await_some(fleet, form, tasks)
            celery = fleet.start_celery("celery")
        fleet.send_by_celery(tasks)
        wait_until(fleet.is_quiet, 180.0, Told("everything to have run", fleet))
        runs = fleet.runs_of_celery()
        assert 0 < runs < len(fleet.history().starts)
        fleet.forgotten = fleet.lost_by_celery(witness, kills)
        assert len(fleet.forgotten) <= len(kills)
        settle(fleet)


def _send_and_await_some(fleet: MixedFleet, form: Form, tasks: int) -> None:
    """Send tasks, and wait until some of them have started, so that there is something to be hit."""
    ids = set(fleet.send_load(tasks, form.dice))
    wait_until(lambda: len(ids & fleet.started()) > tasks // 4, 60.0, "some tasks to start")
