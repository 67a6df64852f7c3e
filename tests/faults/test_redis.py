"""A process dies, or is refused, at every fail point of the Redis engine. The scenes are those of SQLite."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults import scenes
from tests.faults.conftest import Form, Settle
from tests.faults.fleet import Fleet, wait_until
from tests.redis_servers import PrivateServer, private_server
from umbel import failpoints

pytestmark = [pytest.mark.faults, pytest.mark.engine]

CLIENT = scenes.at("redis.publish")
CHILD = scenes.at("redis.settle", "redis.mark_early", "redis.release")
LEAVING = scenes.at("redis.close")
TAKING_OVER = scenes.at("redis.reclaim")
TAKING_BACK = scenes.at("redis.take_back")


def test_none_is_left_out() -> None:
    tested = [*CLIENT, *CHILD, *LEAVING, *TAKING_OVER, *TAKING_BACK]
    assert sorted(tested) == sorted(name for name in failpoints.NAMES if name.startswith("redis."))


class RedisFleet(Fleet):
    """A fleet on a server, into which it looks by itself."""

    def __init__(self, directory: Path, server: PrivateServer) -> None:
        super().__init__(directory, broker_url=server.url, result_backend=server.url)
        self._admin: Any = server.admin

    def _owners(self) -> list[tuple[str, int]]:
        found = [self._admin.hmget(key, "node", "pid") for key in self._admin.keys("umbel:owner:*")]
        return [(node.decode(), int(pid)) for node, pid in found if node is not None]

    def _leased_by_nobody(self) -> list[str]:
        owners = {key.rpartition(b":")[2] for key in self._admin.keys("umbel:owner:*")}
        return [
            f"held by nobody: {key!r}"
            for key in self._admin.keys("umbel:held:*")
            if key.rpartition(b":")[2] not in owners
        ]

    def _in_broker(self) -> dict[str, str]:
        queues = self.app.queues
        return {
            str(item.message.task_id): item.where
            for name in queues.depths()
            for item in queues.peek(name, 1000)
        }


MakeFleet = Callable[[], RedisFleet]


@pytest.fixture
def make_fleet(place: Path) -> Iterator[MakeFleet]:
    with private_server(place) as server:
        yield lambda: RedisFleet(place, server)


SCENES = {
    "redis.settle": scenes.send_some,
    "redis.mark_early": scenes.send_early,
    "redis.release": scenes.send_a_long_one,
}


@pytest.mark.parametrize("point", CHILD)
def test_child_dies(make_fleet: MakeFleet, form: Form, settle: Settle, point: str) -> None:
    dice, scene = form.dice, SCENES[scenes.operation_of(point)]
    with make_fleet() as fleet:
        nth = dice.randint(1, 20 if scene is scenes.send_some else 2)
        fleet.start("one", environment=fleet.fail_point(f"{point}=kill@{nth}"))
        fleet.until_struck([point], lambda: scene(fleet, dice))
        figures = settle(fleet)
        assert max(figures.recoveries, default=0.0) <= 2.0


@pytest.mark.parametrize("point", LEAVING)
def test_child_dies_while_leaving(
    make_fleet: MakeFleet, form: Form, settle: Settle, point: str
) -> None:
    with make_fleet() as fleet:
        (one,) = fleet.start("one", environment=fleet.fail_point(f"{point}=kill"))
        scenes.stop_under_load(fleet, one, form.dice)
        assert fleet.has_struck(point)
        fleet.start("two")
        figures = settle(fleet)
        assert figures.duplicates == 0


@pytest.mark.parametrize("point", TAKING_OVER)
def test_supervisor_dies(make_fleet: MakeFleet, form: Form, settle: Settle, point: str) -> None:
    with make_fleet() as fleet:
        one = fleet.launch("one", fleet.fail_point(f"{point}=kill"))
        fleet.start("two")
        wait_until(one.is_ready, 30.0, "the first node to be ready")
        scenes.keep_busy(fleet, 4)
        one.kill_child(form.dice.choice(one.children()))
        wait_until(lambda: fleet.has_struck(point), 10.0, f"the supervisor to die at {point}")
        settle(fleet)


@pytest.mark.parametrize("point", TAKING_BACK)
def test_supervisor_dies_taking_back(
    make_fleet: MakeFleet, form: Form, settle: Settle, point: str
) -> None:
    with make_fleet() as fleet:
        (one,) = fleet.start("one", environment=fleet.fail_point(f"{point}=kill"))
        one.children()  # has them noted as those whom its death disturbs
        fleet.until_struck([point], lambda: scenes.send_a_stuck_one(fleet))
        fleet.start("two")
        settle(fleet)


@pytest.mark.parametrize("operation", ["redis.settle", "redis.mark_early", "redis.release"])
def test_child_is_refused(
    make_fleet: MakeFleet, form: Form, settle: Settle, operation: str
) -> None:
    """Nothing runs twice, whatever the server did before its answer was lost."""
    dice, scene = form.dice, SCENES[operation]
    with make_fleet() as fleet:
        plan = scenes.refusals(operation, dice, 10 if scene is scenes.send_some else 2)
        fleet.start("one", environment=fleet.fail_point(plan))
        fleet.until_struck(scenes.at(f"{operation}."), lambda: scene(fleet, dice))
        figures = settle(fleet)
        assert figures.duplicates == 0


@pytest.mark.parametrize("point", CLIENT)
def test_client_is_refused(make_fleet: MakeFleet, form: Form, settle: Settle, point: str) -> None:
    """It repeats with the same tag, which the server knows, also when a quick worker has run it."""
    with make_fleet() as fleet:
        fleet.start("one")
        client = scenes.run_client(fleet, f"{point}=raise@{form.dice.randint(1, 20)}")
        assert (client.returncode, client.stdout) == (0, "")
        assert fleet.has_struck(point)
        figures = settle(fleet)
        assert len(fleet.history().starts) == 20
        assert figures.duplicates == 0
