"""A server of a RabbitMQ cluster dies under load: clients publish on and workers work on by the others.

The queues are quorum queues: each server has a copy, and one of them is the leader. Clients and workers know
all servers and are connected to one. It may be the leader or another one that dies.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from tests.faults.conftest import Form, Settle
from tests.faults.fleet import wait_until
from tests.faults.load import Load
from tests.faults.outages import check_calls, until_work_goes_on
from tests.faults.rabbit_fleet import RabbitFleet
from tests.rabbitmq_servers import PrivateServer, private_cluster
from umbel.clock import SYSTEM, unique_id
from umbel.engines.rabbitmq import RabbitEngine
from umbel.engines.rabbitmq.address import address_of
from umbel.engines.rabbitmq.delays import Delays
from umbel.engines.rabbitmq.link import Link
from umbel.engines.rabbitmq.topology import declare_queue
from umbel.entities import Queue
from umbel.exceptions import BrokerFull, OperationalError
from umbel.ports import EngineOptions, FetchRequest, Owner
from umbel.testing.conformance.support import (
    PATIENCE,
    ack,
    at_most,
    ids,
    in_thread,
    publication,
)

pytestmark = [pytest.mark.faults, pytest.mark.engine, pytest.mark.forms("short", "full")]

#: Seconds within which calls are accepted and tasks run again.
RECOVERY = 5.0


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[PrivateServer]]:
    """Start three servers that are one cluster; each experiment leaves all of them running."""
    with private_cluster(tmp_path_factory.mktemp("cluster")) as found:
        yield found


class Cluster:
    """Three servers, and a virtual host on them."""

    def __init__(self, servers: list[PrivateServer], vhost: str) -> None:
        self.servers = servers
        self.vhost = vhost

    def url(self, *servers: PrivateServer) -> str:
        """Return the URL by which all of these are tried in turn."""
        return ";".join(f"amqp://127.0.0.1:{one.port}/{self.vhost}" for one in servers)

    def ask(self, *words: str) -> list[dict[str, object]]:
        """Ask a server that runs (rabbitmqctl)."""
        one = next(server for server in self.servers if server.is_running)
        found: list[dict[str, object]] = json.loads(
            one.control(*words, "--formatter", "json", "-q")
        )
        return found

    def leader(self) -> PrivateServer:
        """Return the server that leads the queue."""
        rows = self.ask("list_queues", "-p", self.vhost, "name", "leader")
        [name] = [row["leader"] for row in rows if row["name"] == "celery"]
        return next(server for server in self.servers if server.node == name)

    def connected(self) -> PrivateServer:
        """Return the server that most are connected to."""
        rows = self.ask("list_connections", "port", "vhost")
        ports = Counter(row["port"] for row in rows if row["vhost"] == self.vhost)
        [(port, _)] = ports.most_common(1)
        return next(server for server in self.servers if server.port == port)


@pytest.fixture
def cluster(servers: list[PrivateServer]) -> Iterator[Cluster]:
    """Give a virtual host of the cluster for one experiment."""
    for server in servers:
        if not server.is_running:  # an experiment that failed has left it so
            server.start()
    made = Cluster(servers, f"umbel-{unique_id()}")
    servers[0].control("add_vhost", made.vhost)
    servers[0].control("set_permissions", "-p", made.vhost, "guest", ".*", ".*", ".*")
    yield made
    for server in servers:
        if server.is_running:
            server.control("delete_vhost", made.vhost)
            return


def quorum_queue(name: str) -> Queue:
    return Queue(name, None, name, queue_arguments={"x-queue-type": "quorum"})


def declare(cluster: Cluster, leader: PrivateServer, delays: bool = False) -> None:
    """Declare the queue with its leader at a server, and those for what is due later, which takes long."""
    link = Link(address_of(cluster.url(leader), {}), 5.0, "test")
    declare_queue(link, "celery", {"x-queue-type": "quorum"})
    if delays:
        Delays(kind="quorum").declare(link)
    link.close()


@contextmanager
def running(place: Path, cluster: Cluster) -> Iterator[RabbitFleet]:
    """Start a fleet that is connected to the first server."""
    with RabbitFleet(place, cluster.url(*cluster.servers), "quorum") as fleet:
        yield fleet


def send_others(fleet: RabbitFleet, form: Form) -> None:
    """Send what does not simply run: at most once, once more, and later, when the server is dead."""
    fleet.send("once", [(0.02,)] * 4)
    fleet.send("twice", [(0.005,)] * 4)
    work = fleet.app.tasks["work"]
    for _ in range(4):
        due = work.apply_async((0.0,), countdown=form.dice.uniform(0.0, 5.0))
        fleet.ledger.sent(due.id, "ok")


@pytest.mark.parametrize(
    ("leader", "which"),
    [(1, Cluster.leader), (1, Cluster.connected), (0, Cluster.leader)],
    ids=["leader", "connected", "both"],
)
def test_server_killed(
    place: Path,
    form: Form,
    settle: Settle,
    cluster: Cluster,
    leader: int,
    which: Callable[[Cluster], PrivateServer],
) -> None:
    """The one that leads the queue, the one that all are connected to, or one that is both."""
    declare(cluster, cluster.servers[leader], delays=True)
    with running(place, cluster) as fleet:
        nodes = fleet.start("one", "two")
        children = [set(node.children()) for node in nodes]
        delays = []
        with Load(fleet, form.dice, form.pick(20, 250), retry=False) as load:
            for _ in range(form.pick(1, 10)):
                send_others(fleet, form)
                victim = which(cluster)
                fleet.note_fault("server killed")
                killed = SYSTEM.monotonic()
                victim.kill()
                delays += [load.until_accepted(killed), until_work_goes_on(fleet, killed)]
                load.await_more()
                victim.start()
                fleet.note_fault("server started")
                load.await_more()
        check_calls(fleet, load)
        assert not any(isinstance(one.error, BrokerFull) for one in load.refusals)
        assert max(delays) <= RECOVERY
        assert [set(node.children()) for node in nodes] == children
        settle(fleet, *delays)


def test_what_is_held_at_a_server_that_dies_is_given_to_others(
    cluster: Cluster, form: Form
) -> None:
    """However it was taken, also where a part of it is settled, and while the server is dead."""
    first, *others = cluster.servers
    declare(cluster, form.dice.choice(cluster.servers))
    options: EngineOptions = {"declared_queue": quorum_queue}
    with (
        closing(RabbitEngine(cluster.url(first), options)) as here,
        closing(RabbitEngine(cluster.url(*others), options)) as there,
        ExitStack() as stack,
    ):
        consumers = [
            stack.enter_context(
                closing(engine.broker.consumer(Owner(unique_id(), "node", "host", 1), 60.0))
            )
            for engine in (here, here, there)
        ]
        waits, takes, other = consumers
        with in_thread(lambda: waits.fetch(FetchRequest(["celery"], 10), PATIENCE)) as fetched:
            wait_until(
                lambda: cluster.ask("list_consumers", "-p", cluster.vhost), 10.0, "a consumer"
            )
            there.broker.publish([publication("waited for", queue="celery")], PATIENCE)
            assert ids(fetched.result(PATIENCE)) == ["waited for"]
        some = [publication(name, queue="celery") for name in ("done", "first", "second")]
        there.broker.publish(some, PATIENCE)
        taken = takes.fetch(FetchRequest(["celery"], 10), PATIENCE)
        assert ids(taken) == ["done", "first", "second"]
        ack(takes, taken[:1])
        takes.fetch(FetchRequest(["celery"], 10), 0.0)  # the server has heard of that then
        first.kill()
        found: list[str | None] = []

        def all_came() -> bool:
            try:
                deliveries = other.fetch(FetchRequest(["celery"], 10), 0.2)
            except OperationalError:  # the queue has no leader yet
                return False
            ack(other, deliveries)
            found.extend(ids(deliveries))
            return len(found) >= 3

        wait_until(all_came, RECOVERY, "what was held")
        assert sorted(map(str, found)) == ["first", "second", "waited for"]
    first.start()


def test_calls_to_a_queue_without_a_leader(cluster: Cluster, form: Form) -> None:
    """They wait for the next, and are never told that the queue is full; without one they fail in time."""
    connected, *others = cluster.servers
    leader, last = form.dice.sample(others, 2)
    declare(cluster, leader)
    options: EngineOptions = {"declared_queue": quorum_queue}
    with closing(RabbitEngine(cluster.url(connected), options)) as engine:

        def call(timeout: float) -> None:
            engine.broker.publish([publication("call", queue="celery")], timeout)

        def is_taken() -> bool:
            try:
                call(RECOVERY)
            except OperationalError:
                return False
            return True

        for _ in range(10):
            call(PATIENCE)
        leader.kill()
        for _ in range(form.pick(10, 100)):
            with at_most(RECOVERY):
                call(RECOVERY)
        last.kill()
        with at_most(RECOVERY + 1.0), pytest.raises(OperationalError) as caught:
            call(RECOVERY)
        assert not isinstance(caught.value, BrokerFull)
        for server in (leader, last):
            server.launch()
        for server in (leader, last):
            server.await_start()
        wait_until(is_taken, 30.0, "a call to be accepted")


def test_calls_and_work_beside_a_frozen_server(cluster: Cluster, form: Form) -> None:
    """It is the first of the URL. Who connects goes on to the next when its share of the time is over."""
    frozen, *others = cluster.servers
    declare(cluster, form.dice.choice(others))
    options: EngineOptions = {"declared_queue": quorum_queue}
    names = [str(number) for number in range(form.pick(5, 100))]
    frozen.freeze()
    try:
        for name in names:
            with (
                closing(RabbitEngine(cluster.url(*cluster.servers), options)) as engine,
                at_most(RECOVERY),
            ):
                engine.broker.publish([publication(name, queue="celery")], RECOVERY)
        found: list[str | None] = []
        with (
            closing(RabbitEngine(cluster.url(*cluster.servers), options)) as engine,
            closing(engine.broker.consumer(Owner(unique_id(), "node", "host", 1), 60.0)) as other,
            at_most(RECOVERY),
        ):
            while len(found) < len(names):
                deliveries = other.fetch(FetchRequest(["celery"], 10), RECOVERY)
                ack(other, deliveries)
                found += ids(deliveries)
        assert found == names
    finally:
        frozen.thaw()
