"""Umbel and the released Celery on one Redis: each direction, both at once, and the way back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.support import Side, ledger
from tests.redis_servers import PrivateServer, private_server
from umbel.testing.conformance.support import until

pytestmark = pytest.mark.engine
#: Seconds in which the largest numbers of tasks run.
LONG = 240.0


def few_or_many(few: int, many: int) -> pytest.MarkDecorator:
    """Run a test with a few tasks each time, and with many among the slow ones."""
    return pytest.mark.parametrize("count", [few, pytest.param(many, marks=pytest.mark.slow)])


#: How messages lie on the server, said to both.
FORM = """
app.conf.broker_transport_options = {
    **app.conf.broker_transport_options,
    "global_keyprefix": "shop:",
    "priority_steps": [0, 2, 5, 8],
    "sep": ":",
}
app.conf.result_backend_transport_options = {"global_keyprefix": "shop"}
"""
#: Where they are by that.
LISTS = ("shop:celery", "shop:celery:2", "shop:celery:5", "shop:celery:8")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[PrivateServer]:
    with private_server(tmp_path) as found:
        yield found


@pytest.fixture
def sides(tmp_path: Path, server: PrivateServer) -> Iterator[dict[str, Side]]:
    found = {name: Side(name, tmp_path, server.url) for name in ("umbel", "celery")}
    yield found
    for side in found.values():
        side.kill()


@pytest.mark.parametrize(("client", "worker"), [("umbel", "celery"), ("celery", "umbel")])
def test_a_worker_runs_what_the_other_sides_client_sends(
    sides: dict[str, Side], client: str, worker: str
) -> None:
    sides[worker].worker("-c", "1")
    assert sides[client].client(worker) == "all well\n"


@pytest.mark.parametrize(("client", "worker"), [("celery", "umbel"), ("umbel", "celery")])
def test_what_follows_a_call_of_one_side_is_run_by_the_other(
    sides: dict[str, Side], client: str, worker: str
) -> None:
    sides[worker].worker("-c", "1")
    assert sides[client].client(program="links") == "all well\n"
    for side in sides.values():
        assert side.client(program="saved") == "all well\n"


def test_keys_and_lists_are_those_that_both_are_told(tmp_path: Path, server: PrivateServer) -> None:
    sides = [Side(name, tmp_path, server.url, conf=FORM) for name in ("umbel", "celery")]
    admin = server.admin
    try:
        for side in sides:
            side.send(10, 0, "priority=number")
            assert [admin.llen(name) for name in LISTS] == [2, 3, 3, 2]
            admin.flushall()
        for client, worker in (sides, sides[::-1]):
            worker.worker("-c", "1")
            assert client.client(worker.name) == "all well\n"
            worker.stop()
        umbel, celery = sides
        umbel.worker("-c", "1")
        admin.delete("ledger")
        umbel.send(10, 0, "countdown=4, priority=number")
        until(lambda: admin.hlen("shop:unacked") == 10)
        umbel.kill()
        celery.worker("-c", "1")
        until(lambda: admin.llen("ledger") >= 10, LONG)
        assert sorted(ledger(admin)) == [("celery", number) for number in range(10)]
        keys: list[bytes] = admin.keys()  # type: ignore[assignment]
        assert [key for key in keys if not key.startswith(b"shop")] == [b"ledger"]
    finally:
        for side in sides:
            side.kill()


@few_or_many(900, 10_002)
def test_both_kinds_of_worker_share_a_queue_and_run_every_task_once(
    sides: dict[str, Side], server: PrivateServer, count: int
) -> None:
    for side in sides.values():
        side.worker("-c", "1")
    for first, (options, name) in enumerate(
        (options, name)
        for options in ("", "priority=number % 10", "countdown=number % 3 / 10")
        for name in sides
    ):
        sides[name].send(count // 6, first * (count // 6), options)
    until(lambda: server.admin.llen("ledger") >= count, LONG)
    ran = ledger(server.admin)
    assert sorted(number for _, number in ran) == list(range(count))
    assert set(Counter(side for side, _ in ran)) == {"umbel", "celery"}


@few_or_many(200, 1000)
def test_idle_workers_of_both_kinds_get_their_share(
    sides: dict[str, Side], server: PrivateServer, count: int
) -> None:
    for side in sides.values():
        side.worker("-c", "1")
    sides["umbel"].python(
        "-c",
        "from umbel.testing.conformance.support import until\n"
        "from umbel_tasks import ledger as server, run\n"
        f"for number in range({count}):\n"
        "    until(lambda: server.info('clients')['blocked_clients'] >= 2)  # both wait\n"
        "    run.delay(number)\n",
    )
    until(lambda: server.admin.llen("ledger") >= count)
    shares = Counter(side for side, _ in ledger(server.admin))
    assert 0.3 * count <= shares["umbel"] <= 0.7 * count, shares


@few_or_many(200, 10_000)
def test_what_umbel_parked_is_run_by_celery_when_no_umbel_is_left(
    sides: dict[str, Side], server: PrivateServer, count: int
) -> None:
    sides["umbel"].worker("-c", "1")
    sides["umbel"].send(count, 0, f"countdown={6 + count / 1000}")
    until(lambda: server.admin.hlen("unacked") == count)
    sides["umbel"].kill()
    sides["celery"].worker("-c", "1")
    until(lambda: server.admin.llen("ledger") >= count, LONG)
    assert sorted(ledger(server.admin)) == [("celery", number) for number in range(count)]
    until(lambda: server.admin.hlen("unacked") == 0)  # Celery acknowledges when a task has run


@pytest.mark.parametrize("where", ["this machine", "elsewhere"])
def test_what_a_killed_node_held_is_handed_back_and_run_by_celery(
    sides: dict[str, Side], server: PrivateServer, tmp_path: Path, where: str
) -> None:
    umbel, celery = sides.values()
    umbel.worker("-c", "2", "--", "worker_lease_ttl=3")
    umbel.send(20, 20, task="stuck")
    until(lambda: server.admin.llen("started") == 2 and server.admin.llen("celery") == 18)
    umbel.send(20, 0, "countdown=4")  # just before: no busy machine takes that long for it
    umbel.kill()
    assert server.admin.hlen("unacked") == 20
    if where == "elsewhere":  # the node's directory is not on this machine
        (tmp_path / "run").mkdir()
        umbel.moves_to(tmp_path / "run")
    said = umbel.python("-m", "umbel", "-A", "umbel_tasks", "handback")
    assert said == "Gave back 2 messages.\n"
    # What was parked may be due by now: then the command has returned that, too.
    waiting, parked = server.admin.llen("celery"), server.admin.hlen("unacked")
    assert waiting >= 20
    assert waiting + parked == 40
    celery.worker("-c", "1")
    until(lambda: len(ledger(server.admin)) >= 40, 60)
    assert sorted(ledger(server.admin)) == [("celery", number) for number in range(40)]
    keys: list[bytes] = server.admin.keys("umbel:*")  # type: ignore[assignment]
    assert [key for key in keys if server.admin.ttl(key) < 0] == []


def test_a_stopped_node_leaves_its_queue_to_celery(
    sides: dict[str, Side], server: PrivateServer
) -> None:
    sides["umbel"].worker("-c", "2")
    sides["umbel"].send(50, 0)
    until(lambda: len(ledger(server.admin)) >= 50)
    sides["umbel"].stop()
    sides["celery"].send(10, 100)
    sides["celery"].worker("-c", "1")
    until(lambda: len(ledger(server.admin)) >= 60)
    assert Counter(side for side, _ in ledger(server.admin)) == {"umbel": 50, "celery": 10}
    keys: list[bytes] = server.admin.keys("umbel:*")  # type: ignore[assignment]
    assert [key for key in keys if server.admin.ttl(key) < 0] == []
