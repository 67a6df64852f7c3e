"""What happens to a Redis server under load: workers and clients go on by themselves, and never hang."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.faults.conftest import Form, Settle
from tests.faults.fleet import Fleet, Node, wait_until
from tests.faults.oracles import MASTER_KILLED
from tests.faults.outages import (
    away,
    check_delays,
    check_refusals,
    check_words,
    freeze_for_two_leases,
    has_more,
    load_of,
    restart,
    until_work_goes_on,
)
from tests.faults.redis_fleet import RedisFleet
from tests.redis_servers import PrivateServer, free_port, private_server
from umbel.clock import SYSTEM, unique_id
from umbel.exceptions import BrokerFull

pytestmark = [pytest.mark.faults, pytest.mark.engine]

KEPT = ("--appendonly", "yes")


def test_server_frozen(place: Path, form: Form, settle: Settle) -> None:
    """B2: it is stopped for longer than leases last; whoever lives keeps its tasks."""
    lease, seconds = form.pick((1.0, 3.0), (15.0, 60.0))
    with private_server(place) as server, _fleet(place, server, form, lease) as fleet:
        freeze_for_two_leases(fleet, server, form, settle, seconds)


def test_server_restarted(place: Path, form: Form, settle: Settle) -> None:
    """B1: it is killed and started again with all that it had written down."""
    dice, rounds = form.dice, form.pick(1, 50)
    delays = []
    with private_server(place, *KEPT) as server, _fleet(place, server, form) as fleet:
        nodes = fleet.start("one", "two")
        with load_of(fleet, form) as load:
            for _ in range(rounds):
                # As often away for less than a few seconds as for longer.
                restart(fleet, server, 0.1 * form.pick(10.0, 600.0) ** dice.random())
                delays.append(until_work_goes_on(fleet))
                load.await_more()
        check_refusals(fleet, load)
        figures = settle(fleet, *delays)
        check_words(nodes, rounds)
        check_delays(delays)
        assert figures.duplicates == 0


def test_server_restarted_empty(place: Path, form: Form, settle: Settle) -> None:
    """It has kept nothing, which is lost; what comes later is not, and the same workers do it."""
    rounds = form.pick(1, 20)
    delays = []
    with private_server(place) as server, _fleet(place, server, form) as fleet:
        nodes = fleet.start("one", "two")
        children = [set(node.children()) for node in nodes]
        with load_of(fleet, form) as load:
            for _ in range(rounds):
                with load.held():  # else a call that is repeated may be new to it
                    fleet.forgotten.update(fleet.history().sent)
                    restart(fleet, server, 0.1)
                delays.append(until_work_goes_on(fleet))
                load.await_more()
        assert [set(node.children()) for node in nodes] == children
        figures = settle(fleet, *delays)
        check_delays(delays)
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
        with load_of(fleet, form) as load:
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
        with load_of(fleet, form) as load:
            for _ in range(form.pick(1, 20)):
                fleet.send_load(100, form.dice)
                fleet.ledger.fault("memory used up", [])
                server.admin.config_set("maxmemory", 1)
                refused = len(load.refusals)
                wait_until(partial(has_more, load, refused), 10.0, "a refusal")
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
        with away(fleet, server, "cannot be reached", 1.5) as one:
            if form.name == "full":
                one.stop()
                assert one.wait() == 0
        settle(fleet)


def test_failover(place: Path, form: Form, settle: Settle) -> None:
    """R2: the master dies; Sentinel makes its replica the master, which all find by themselves."""
    delays = []
    with _watched(place) as (servers, sentinel, fleet):
        nodes = fleet.start("one", "two")
        with load_of(fleet, form) as load:
            for _ in range(form.pick(1, 10)):
                _await_replica(servers)
                delays.append(_fail_over(fleet, servers, sentinel, nodes))
                load.await_more()
        settle(fleet, *delays)
        check_delays(delays)


def test_failover_loses_nothing_that_a_replica_had_to_have(place: Path, form: Form) -> None:
    """R2, ``WAIT 1``: the replica stops following for a while. Calls that were accepted run all the same.

    What ran in that while it knows nothing of: it runs again there, and cannot be told so.
    """
    delays = []
    with _watched(place, wait_replicas=1) as (servers, sentinel, fleet):
        nodes = fleet.start("one", "two")
        with load_of(fleet, form) as load:
            for _ in range(form.pick(1, 10)):
                _await_replica(servers)
                servers[1].admin.replicaof("127.0.0.1", free_port())
                SYSTEM.sleep(form.dice.uniform(0.0, 0.5))
                delays.append(_fail_over(fleet, servers, sentinel, nodes, forgets=False))
                load.await_more()
        fleet.wait_until_quiet()
        history = fleet.history()
        accepted = {id for id, call in history.sent.items() if call.outcome == "ok"}
        assert accepted <= {end.id for end in history.ends}
        results = fleet.app.result_store().get(accepted)
        assert {results[id].state if id in results else "PENDING" for id in accepted} == {"SUCCESS"}
        check_delays(delays)


def test_failover_to_a_replica_that_is_behind(place: Path, form: Form) -> None:
    """R2: it knows nothing of what runs. All that it had heard of before, or hears later, runs to its end."""
    with _watched(place) as (servers, sentinel, fleet):
        fleet.start("one", "two")
        for _ in range(form.pick(1, 10)):
            task = fleet.app.tasks["work"]
            heard = [task.apply_async((0.01,), countdown=7.0).id for _ in range(20)]
            _await_replica(servers)
            servers[1].admin.replicaof("127.0.0.1", free_port())
            unheard = fleet.send("work", [(8.0,)] * 4)
            wait_until(lambda: set(unheard) <= fleet.started(), 5.0, "all children to be busy")  # noqa: B023
            servers[0].stop()
            wait_until(lambda: _master_of(sentinel) == servers[1].port, 30.0, "the failover to end")
            heard += fleet.send("work", [(0.01,)] * 20)
            results = [fleet.app.AsyncResult(id).get(timeout=20.0) for id in heard]
            assert set(results) <= {pid for node in fleet.nodes for pid in node.children()}
            assert set(heard) <= {end.id for end in fleet.history().ends}
            _follow(servers)


@contextmanager
def _watched(
    place: Path, **more: Any
) -> Iterator[tuple[list[PrivateServer], PrivateServer, RedisFleet]]:
    """Start a master, a replica, a sentinel, and a fleet that asks it; it has these options, too."""
    with _replicated(place) as (servers, sentinel):
        url = f"sentinel://127.0.0.1:{sentinel.port}/0"
        options = {"master_name": "main", **more}
        with RedisFleet(
            place,
            servers[0],
            broker_url=url,
            result_backend=url,
            broker_transport_options=options,
            result_backend_transport_options=options,
        ) as fleet:
            yield servers, sentinel, fleet


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
            "sentinel failover-timeout main 2000\n"  # twice that passes between two of them
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
    fleet: RedisFleet,
    servers: list[PrivateServer],
    sentinel: PrivateServer,
    nodes: list[Node],
    forgets: bool = True,
) -> float:
    """Kill the master and return the seconds until work goes on; then the dead one is the replica.

    What it had acknowledged and not passed on to the replica is undone, and with `forgets` it may be lost.
    """
    children = [pid for node in nodes for pid in node.children()]
    fleet.ledger.fault(MASTER_KILLED, children)
    killed = SYSTEM.monotonic()
    servers[0].stop()
    # A client may take a moment to write down what the master answered last.
    lost = (killed - 1.0, SYSTEM.monotonic() + 0.2)
    delay = until_work_goes_on(fleet, killed + 0.5)
    # Else the dead one might come back, empty, as the master that it was.
    wait_until(lambda: _master_of(sentinel) == servers[1].port, 30.0, "the failover to end")
    if forgets:
        sent = fleet.history().sent
        fleet.forgotten.update(id for id, call in sent.items() if lost[0] <= call.t <= lost[1])
    _follow(servers)
    fleet.server = servers[0]
    return delay + 0.5


def _follow(servers: list[PrivateServer]) -> None:
    """Start the one that died as the replica of the other."""
    servers[0].start()
    servers[0].admin.replicaof("127.0.0.1", servers[1].port)
    servers.reverse()
