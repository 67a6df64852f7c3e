"""Umbel and the released Celery on one RabbitMQ: each direction, both kinds of queues, and the way back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.support import Side, ledger
from tests.rabbitmq_servers import connected, own_vhost
from tests.redis_servers import PrivateServer, private_server
from umbel.clock import unique_id
from umbel.engines.rabbitmq.topology import depth
from umbel.testing.conformance.support import until

pytestmark = pytest.mark.engine

#: Settings of both sides. Celery sends what is due later by its delayed delivery where there are quorum
#: queues and no direct exchanges. Its clients wait for the server's confirmations only where they are told
#: to: else what one has sent just before its process ends may never arrive.
CONF = """
app.conf.broker_transport_options = {{"confirm_publish": True}}
app.conf.task_default_queue = "{queue}"
app.conf.task_default_exchange = "{queue}"
app.conf.task_default_exchange_type = "{exchange}"
app.conf.task_default_queue_type = "{kind}"
app.conf.task_queue_max_priority = {priority}
app.conf.broker_native_delayed_delivery_queue_type = "classic"
PAUSE = 1  # Celery's delayed delivery counts in seconds
"""
KINDS = {"classic": ("direct", "classic", "9"), "quorum": ("topic", "quorum", "None")}


class Space:
    """A Redis of its own for results and the ledger, and a queue on the RabbitMQ that runs here."""

    def __init__(
        self, kind: str, project: Path, redis: PrivateServer, url: str, backend: str = ""
    ) -> None:
        self.redis = redis
        self._url = url
        self.queue = f"umbel-test-{unique_id()}"
        exchange, kind, priority = KINDS[kind]
        conf = CONF.format(queue=self.queue, exchange=exchange, kind=kind, priority=priority)
        self.sides = {
            name: Side(name, project, redis.url, broker=url, backend=backend, conf=conf)
            for name in ("umbel", "celery")
        }

    def ready(self) -> int | None:
        """Return how many messages wait in the queue."""
        with connected(self._url) as link:
            return depth(link, self.queue)

    def ran(self, count: int) -> list[tuple[str, int]]:
        """Return what ran, once so many tasks have."""
        until(lambda: self.redis.admin.llen("ledger") >= count, 60)
        return ledger(self.redis.admin)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with own_vhost() as found:
        yield found


@pytest.fixture(params=["classic", pytest.param("quorum", marks=pytest.mark.slow)])
def space(request: pytest.FixtureRequest, tmp_path: Path, url: str) -> Iterator[Space]:
    with private_server(tmp_path) as redis:
        found = Space(request.param, tmp_path, redis, url)
        yield found
        for side in found.sides.values():
            side.kill()


@pytest.mark.parametrize(("client", "worker"), [("umbel", "celery"), ("celery", "umbel")])
def test_a_worker_runs_what_the_other_sides_client_sends(
    space: Space, client: str, worker: str
) -> None:
    space.sides[worker].worker("-c", "1")
    assert space.sides[client].client(worker) == "all well\n"
    assert space.sides[client].client(program="links") == "all well\n"


@pytest.mark.parametrize(
    ("client", "workers"),
    [
        pytest.param("umbel", ("celery",), marks=pytest.mark.slow),
        pytest.param("celery", ("umbel",), marks=pytest.mark.slow),
        pytest.param("umbel", ("umbel", "celery"), marks=pytest.mark.slow),
        ("celery", ("umbel", "celery")),
    ],
)
def test_each_step_of_a_workflow_runs_on_either_sides_workers(
    space: Space, client: str, workers: tuple[str, ...]
) -> None:
    """With results, and the counters of chords, in Redis."""
    for worker in workers:
        space.sides[worker].worker("-c", "1")
    assert space.sides[client].client(program="workflows") == "all well\n"
    assert space.sides[client].client(*workers, program="stamps") == "all well\n"


@pytest.mark.parametrize(("client", "worker"), [("umbel", "celery"), ("celery", "umbel")])
def test_results_are_sent_to_the_other_sides_client(
    tmp_path: Path, url: str, client: str, worker: str
) -> None:
    with private_server(tmp_path) as redis:
        sides = Space("classic", tmp_path, redis, url, "rpc://").sides
        try:
            sides[worker].worker("-c", "1")
            assert sides[client].client(worker) == "all well\n"
        finally:
            sides[worker].kill()


def test_both_kinds_of_worker_share_a_queue_and_run_every_task_once(space: Space) -> None:
    for side in space.sides.values():
        side.worker("-c", "1")
    for first, (options, name) in enumerate(
        (options, name)
        for options in ("", "priority=number % 10", "countdown=number % 3")
        for name in space.sides
    ):
        space.sides[name].send(100, first * 100, options)
    ran = space.ran(600)
    assert sorted(number for _, number in ran) == list(range(600))
    assert set(Counter(side for side, _ in ran)) == {"umbel", "celery"}


def test_what_umbel_parked_is_run_by_celery_when_no_umbel_is_left(space: Space) -> None:
    umbel, celery = space.sides.values()
    umbel.worker("-c", "1")
    umbel.send(50, 0, "countdown=8")
    umbel.kill()
    celery.worker("-c", "1")
    assert sorted(space.ran(50)) == [("celery", number) for number in range(50)]


def test_what_a_killed_node_held_is_run_by_celery(space: Space) -> None:
    umbel, celery = space.sides.values()
    umbel.worker("-c", "2")
    umbel.send(20, 0, task="stuck")
    until(lambda: space.redis.admin.llen("started") == 2)
    umbel.kill()
    until(lambda: space.ready() == 20)
    celery.worker("-c", "1")
    assert sorted(space.ran(20)) == [("celery", number) for number in range(20)]
