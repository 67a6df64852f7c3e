"""What happens to a Redis server under load: workers and clients go on by themselves, and never hang."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.faults.conftest import Form, Settle
from tests.faults.fleet import Fleet, Node, wait_until
from tests.faults.load import Load
from tests.faults.oracles import MASTER_KILLED, percentile
from tests.faults.redis_fleet import RedisFleet
from tests.redis_servers import PrivateServer, private_server
from umbel.clock import SYSTEM, unique_id
from umbel.exceptions import BrokerFull, OperationalError

pytestmark = [pytest.mark.faults, pytest.mark.engine]

#: Seconds after which a fleet must be at work again: twice what is wanted, for a busy machine.
SOON = 6.0
KEPT = ("--appendonly", "yes")


def test_server_frozen(place: Path, form: Form, settle: Settle) -> None:
    """B2: it is stopped for longer than leases last; whoever lives keeps its tasks."""
    lease, seconds = form.pick((1.0, 3.0), (15.0, 30.0))
    with private_server(place) as server, _fleet(place, server, form, lease) as fleet:
        nodes = fleet.start("one", "two")
        fleet.send("work", [(seconds * 1.3,)] * 2)  # run on while nobody answers
        with _load(fleet, form) as load:
            fleet.ledger.fault("server frozen", [])
            server.freeze()
            SYSTEM.sleep(seconds)
            server.thaw()
            delay = _until_work_goes_on(fleet)
            load.await_more()
        _check_refusals(fleet, load)
        figures = settle(fleet, delay)
        _check_words(nodes, 1)
        assert figures.duplicates == 0


def test_server_restarted(place: Path, form: Form, settle: Settle) -> None:
    """B1: it is killed and started again with all that it had written down."""
    dice, rounds = form.dice, form.pick(1, 20)
    delays = []
    with private_server(place, *KEPT) as server, _fleet(place, server, form) as fleet:
        nodes = fleet.start("one", "two")
        with _load(fleet, form) as load:
            for _ in range(rounds):
                _restart(fleet, server, dice.uniform(0.1, form.pick(1.0, 10.0)))
                delays.append(_until_work_goes_on(fleet))
                load.await_more()
        _check_refusals(fleet, load)
        figures = settle(fleet, *delays)
        _check_words(nodes, rounds)
        assert figures.duplicates == 0


def test_server_restarted_empty(place: Path, form: Form, settle: Settle) -> None:
    """It has kept nothing, which is lost; what comes later is not, and the same workers do it."""
    rounds = form.pick(1, 20)
    delays = []
    with private_server(place) as server, _fleet(place, server, form) as fleet:
        nodes = fleet.start("one", "two")
        children = [set(node.children()) for node in nodes]
        with _load(fleet, form) as load:
            for _ in range(rounds):
                with load.held():  # else a call that is repeated may be new to it
                    fleet.forgotten.update(fleet.history().sent)
                    _restart(fleet, server, 0.1)
                delays.append(_until_work_goes_on(fleet))
                load.await_more()
        assert [set(node.children()) for node in nodes] == children
        figures = settle(fleet, *delays)
        assert figures.duplicates == 0


def test_clients_killed(place: Path, form: Form, settle: Settle) -> None:
    """All connections are closed by the server, again and again."""
    with private_server(place) as server:

        def kill() -> None:
            server.kill_clients("normal")
            server.kill_clients("pubsub")

        _disturb(place, server, form, settle, "connections closed", kill)


@pytest.mark.forms("short", "full")
def test_scripts_flushed(place: Path, form: Form, settle: Settle) -> None:
    """The server forgets all scripts, again and again."""
    with private_server(place) as server:
        flush: Callable[[], object] = server.admin.script_flush
        fleet = _disturb(place, server, form, settle, "scripts flushed", flush)
        assert not any("does not answer" in node.text() for node in fleet.nodes)


def _disturb(
    place: Path,
    server: PrivateServer,
    form: Form,
    settle: Settle,
    how: str,
    harm: Callable[[], object],
) -> Fleet:
    """Do harm under load, of which nothing is lost and nothing repeated."""
    with _fleet(place, server, form) as fleet:
        fleet.start("one", "two")
        with _load(fleet, form) as load:
            for _ in range(form.pick(5, 200)):
                fleet.ledger.fault(how, [])
                harm()
                SYSTEM.sleep(form.dice.uniform(0.0, 0.2))
            load.await_more()
        assert load.refusals == []
        figures = settle(fleet)
        assert figures.duplicates == 0
        return fleet


def test_memory_used_up_and_freed(place: Path, form: Form, settle: Settle) -> None:
    """R3: a full server refuses what is new, at once, while what is there runs; then it takes more."""
    with private_server(place) as server, _fleet(place, server, form) as fleet:
        nodes = fleet.start("one", "two")
        with _load(fleet, form) as load:
            for _ in range(form.pick(1, 20)):
                fleet.send_load(100, form.dice)
                fleet.ledger.fault("memory used up", [])
                server.admin.config_set("maxmemory", 1)
                refused = len(load.refusals)
                wait_until(partial(_has_more, load, refused), 10.0, "a refusal")
                wait_until(fleet.is_quiet, 30.0, "all that was accepted to be done")
                server.admin.config_set("maxmemory", 0)
                load.await_more()
        assert all(isinstance(one.error, BrokerFull) for one in load.refusals)
        assert max(one.seconds for one in load.refusals) < 5.0
        figures = settle(fleet)
        assert figures.duplicates == 0
        assert not any("does not answer" in node.text() for node in nodes)


def test_server_that_would_delete_keys(place: Path, form: Form, settle: Settle) -> None:
    """R3: where tasks may vanish when memory is used up, a worker says so when it starts."""
    policies = form.pick(["allkeys-lru"], ["allkeys-lru", "allkeys-random", "volatile-ttl"])
    with private_server(place) as server, _fleet(place, server, form) as fleet:
        for policy in policies:
            server.admin.config_set("maxmemory-policy", policy)
            (node,) = fleet.start("one")
            assert node.text().count(f"maxmemory-policy is {policy}") == 1, node.text()
            node.stop()
            node.wait()
        settle(fleet)


def test_server_away(place: Path, form: Form, settle: Settle) -> None:
    """Calls fail in time with a clear error, waiting ends in time, and workers can be stopped."""
    with private_server(place, *KEPT) as server, _fleet(place, server, form, 1.0) as fleet:
        (one,) = fleet.start("one")
        (done,) = fleet.send("work", [(0.0,)])
        fleet.wait_until_quiet()
        fleet.send("work", [(0.5,)] * 10)
        wait_until(lambda: len(fleet.started()) > 1, 5.0, "a task to start")
        fleet.ledger.fault("server away", [one.pid, *one.children()])
        server.stop()
        timeout, task = fleet.app.conf.broker_publish_timeout, fleet.app.tasks["work"]
        with _at_most(timeout + 0.5), pytest.raises(OperationalError, match="cannot be reached"):
            task.delay(0.0)
        with _at_most(1.5), pytest.raises((OperationalError, TimeoutError)):
            fleet.app.AsyncResult("unknown").get(timeout=1.0)
        if form.name == "full":
            one.stop()
            assert one.wait() == 0
        server.start()
        assert fleet.app.AsyncResult(done).get(timeout=5.0)
        fleet.start("two")
        settle(fleet)


def test_failover(place: Path, form: Form, settle: Settle) -> None:
    """R2: the master dies; Sentinel makes its replica the master, which all find by themselves."""
    delays = []
    with _replicated(place) as (servers, sentinel):
        url = f"sentinel://127.0.0.1:{sentinel.port}/0"
        options = {"master_name": "main"}
        with RedisFleet(
            place,
            servers[0],
            broker_url=url,
            result_backend=url,
            broker_transport_options=options,
            result_backend_transport_options=options,
        ) as fleet:
            nodes = fleet.start("one", "two")
            with _load(fleet, form) as load:
                for _ in range(form.pick(1, 10)):
                    _await_replica(servers)
                    delays.append(_fail_over(fleet, servers, sentinel, nodes))
                    load.await_more()
            settle(fleet, *delays)


@pytest.mark.forms("short", "full")
def test_workers_replaced_while_tasks_are_scheduled(
    place: Path, form: Form, settle: Settle
) -> None:
    """D3: each runs once and in time, whoever is there then; no worker holds them in its memory."""
    tasks, rounds, ahead, spread = form.pick((300, 3, 4.0, 8.0), (100_000, 50, 120.0, 240.0))
    dice = form.dice
    with private_server(place, *KEPT) as server, _fleet(place, server, form) as fleet:
        (node,) = fleet.start("first")
        small = resident(node)
        due = {}
        for _ in range(tasks):
            countdown, id = ahead + dice.uniform(0.0, spread), unique_id()
            due[id] = SYSTEM.monotonic() + countdown
            fleet.app.tasks["work"].apply_async((0.0,), countdown=countdown, task_id=id)
            fleet.ledger.sent(id, "ok")
        assert resident(node) - small < 20 * 2**20
        for number in range(rounds):
            (other,) = fleet.start(f"node{number}")
            node.stop()
            assert node.wait() == 0
            node = other
        fleet.wait_until_quiet(ahead + spread + 30.0)
        late = [start.t - due[start.id] for start in fleet.history().starts]
        assert len(late) == tasks
        assert min(late) > -0.1
        assert percentile(late, 0.99) <= 1.0
        figures = settle(fleet)
        assert figures.duplicates == 0


def resident(node: Node) -> int:
    """Return how much memory the processes of a node have, in bytes."""
    pages = [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in node.members()]
    return sum(pages) * os.sysconf("SC_PAGE_SIZE")


# What they share


def _fleet(place: Path, server: PrivateServer, form: Form, lease: float = 60.0) -> RedisFleet:
    """Make a fleet whose clients are less patient in the quick form."""
    patience = form.pick(1.0, 5.0)
    return RedisFleet(
        place,
        server,
        worker_lease_ttl=lease,
        broker_publish_timeout=patience,
        # A connection that cannot be named says nothing else: else a server that wakes up would first hear
        # what had been said to it in its sleep, such as that a node lives.
        broker_transport_options={"client_name": "faults", "socket_timeout": patience},
        result_backend_transport_options={"socket_timeout": patience},
    )


def _load(fleet: Fleet, form: Form) -> Load:
    return Load(fleet, form.dice, form.pick(20, 250))


def _has_more(load: Load, refused: int) -> bool:
    return len(load.refusals) > refused


def _restart(fleet: Fleet, server: PrivateServer, seconds: float) -> None:
    fleet.ledger.fault("server killed", [])
    server.stop()
    SYSTEM.sleep(seconds)
    server.start()


def _until_work_goes_on(fleet: Fleet, since: float | None = None) -> float:
    """Return the seconds until a task starts."""
    begun = SYSTEM.monotonic() if since is None else since

    def goes_on() -> bool:
        return any(start.t > begun for start in fleet.history().starts)

    wait_until(goes_on, 30.0, "work to go on")
    return min(start.t for start in fleet.history().starts if start.t > begun) - begun


def _check_refusals(fleet: Fleet, load: Load) -> None:
    """Calls may fail while there is no server: in time, and with a reason."""
    limit = fleet.app.conf.broker_publish_timeout
    for one in load.refusals:
        assert one.seconds <= limit + 0.5
        assert any(
            word in str(one.error) for word in ("cannot be reached", "did not answer", "lost")
        )


def _check_words(nodes: list[Node], outages: int) -> None:
    """Each of a node's three processes says once that nobody answers, and once that somebody does."""
    for node in nodes:
        text = node.text()
        assert text.count("The broker does not answer") <= 3 * outages, text
        assert len(re.findall("answers .*again", text)) <= 3 * outages, text
        assert "Traceback" not in text


@contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    begun = SYSTEM.monotonic()
    yield
    assert SYSTEM.monotonic() - begun <= seconds


@contextmanager
def _replicated(place: Path) -> Iterator[tuple[list[PrivateServer], PrivateServer]]:
    """Start a master, a replica and a sentinel."""
    with ExitStack() as stack:
        directories = [place / name for name in ("first", "second")]
        for directory in directories:
            directory.mkdir()
        servers = [
            stack.enter_context(private_server(each, "--repl-diskless-sync-delay", "0"))
            for each in directories
        ]
        servers[1].admin.replicaof("127.0.0.1", servers[0].port)
        _await_replica(servers)
        config = place / "sentinel.conf"
        config.write_text(
            f"sentinel monitor main 127.0.0.1 {servers[0].port} 1\n"
            "sentinel down-after-milliseconds main 1000\n"
            "sentinel failover-timeout main 3000\n"
        )
        sentinel = stack.enter_context(private_server(place, "--sentinel", config=config))
        wait_until(lambda: sentinel.admin.sentinel_slaves("main"), 30.0, "the replica to be known")
        yield servers, sentinel


def _await_replica(servers: list[PrivateServer]) -> None:
    """Wait until the second has what the first was told last: a link that is up is not enough."""
    mark = unique_id().encode()
    servers[0].admin.set("mark", mark)
    wait_until(lambda: _mark_of(servers[1]) == mark, 30.0, "the replica to follow")


def _mark_of(server: PrivateServer) -> Any:
    try:
        return server.admin.get("mark")
    except redis.RedisError:
        return None


def _master_of(sentinel: PrivateServer) -> int:
    """Return the port of the master, once its failover is over."""
    found: Any = sentinel.admin.sentinel_master("main")
    return 0 if found["flags"] != "master" else int(found["port"])


def _fail_over(
    fleet: RedisFleet, servers: list[PrivateServer], sentinel: PrivateServer, nodes: list[Node]
) -> float:
    """Kill the master and return the seconds until work goes on; then the dead one is the replica.

    What it had acknowledged and not passed on to the replica is lost with it, or undone.
    """
    children = [pid for node in nodes for pid in node.children()]
    fleet.ledger.fault(MASTER_KILLED, children)
    killed = SYSTEM.monotonic()
    servers[0].stop()
    # A client may take a moment to write down what the master answered last.
    lost = (killed - 1.0, SYSTEM.monotonic() + 0.2)
    delay = _until_work_goes_on(fleet, killed + 0.5)
    # Else the dead one might come back, empty, as the master that it was.
    wait_until(lambda: _master_of(sentinel) == servers[1].port, 30.0, "the failover to end")
    sent = fleet.history().sent
    fleet.forgotten.update(id for id, call in sent.items() if lost[0] <= call.t <= lost[1])
    servers[0].start()
    servers[0].admin.replicaof("127.0.0.1", servers[1].port)
    servers.reverse()
    fleet.server = servers[0]
    return delay + 0.5
