"""Processes die while they work on RabbitMQ, whose connections are its only leases.

Results are in a file of their own. A task that follows another is published before that is acknowledged, and
may be there twice; nothing else may.
"""

from __future__ import annotations

import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.conftest import Form, Settle
from tests.faults.fleet import wait_until
from tests.faults.rabbit_fleet import RabbitFleet
from tests.faults.scenes import (
    at,
    keep_busy,
    operation_of,
    run_client,
    scene_of,
    send_some,
    stop_under_load,
)
from tests.rabbitmq_servers import own_vhost

pytestmark = [pytest.mark.faults, pytest.mark.engine]

CLIENT = at("rabbitmq.publish.")
CHILD = at("rabbitmq.settle.", "rabbitmq.claim.", "rabbitmq.mark_early.", "rabbitmq.release.")
LEAVING = at("rabbitmq.close.")
POINTS = [*CLIENT, *CHILD, *LEAVING]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with own_vhost() as found:
        yield found


@pytest.fixture
def fleet(place: Path, url: str) -> Iterator[RabbitFleet]:
    with RabbitFleet(place, url) as found:
        yield found
        found.empty()


@pytest.mark.parametrize("point", CLIENT)
def test_client_dies(fleet: RabbitFleet, form: Form, settle: Settle, point: str) -> None:
    fleet.start("one")
    nth = form.dice.randint(1, 20)
    client = run_client(fleet, f"{point}=kill@{nth}")
    assert client.returncode == -signal.SIGKILL
    settle(fleet)
    sent = fleet.history().sent.values()
    assert [call.outcome for call in sent] == ["ok"] * (nth - 1) + ["unknown"]
    assert len(fleet.started()) == (nth if point.endswith("after") else nth - 1)


@pytest.mark.parametrize("point", CHILD)
def test_child_dies(fleet: RabbitFleet, form: Form, settle: Settle, point: str) -> None:
    dice = form.dice
    scene = scene_of(operation_of(point))
    nth = dice.randint(1, 20 if scene is send_some else 2)
    fleet.start("one", environment=fleet.fail_point(f"{point}=kill@{nth}"))
    fleet.until_struck([point], lambda: scene(fleet, dice))
    figures = settle(fleet)
    assert max(figures.recoveries, default=0.0) <= 1.0


@pytest.mark.parametrize("point", LEAVING)
def test_child_dies_while_leaving(
    fleet: RabbitFleet, form: Form, settle: Settle, point: str
) -> None:
    (one,) = fleet.start("one", environment=fleet.fail_point(f"{point}=kill"))
    stop_under_load(fleet, one, form.dice)
    assert fleet.has_struck(point)
    fleet.start("two")
    settle(fleet)


def test_a_node_dies_and_another_goes_on(fleet: RabbitFleet, form: Form, settle: Settle) -> None:
    one, _ = fleet.start("one", "two")
    keep_busy(fleet, 4)
    one.kill_all()
    figures = settle(fleet)
    assert max(figures.recoveries, default=0.0) <= 2.0


def test_children_die_again_and_again(fleet: RabbitFleet, form: Form, settle: Settle) -> None:
    dice = random.Random(form.repeat)
    (one,) = fleet.start("one")
    fleet.send_load(150, dice)
    for count in (10, 50, 90):
        wait_until(lambda count=count: len(fleet.started()) >= count, 20.0, "tasks to start")  # type: ignore[misc]
        wait_until(one.children, 10.0, "a child")
        one.kill_child(dice.choice(one.children()))
    figures = settle(fleet)
    assert figures.dead == 0
    assert max(figures.recoveries, default=0.0) <= 1.0
