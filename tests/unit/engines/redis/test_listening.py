"""Who listens for results: looks that fail are repeated soon, and a child of a fork hears for itself."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import closing
from typing import Any

import pytest

from tests.redis_servers import PrivateServer
from tests.unit.engines.redis.support import in_child
from umbel.engines.redis.broadcast import RedisBroadcast
from umbel.engines.redis.results import RedisResults
from umbel.engines.redis.server import Server
from umbel.engines.redis.subscription import RedisResultSubscription
from umbel.exceptions import OperationalError
from umbel.records import ResultRecord
from umbel.testing.conformance.support import LONG, PATIENCE, at_most, in_thread, record, until

pytestmark = pytest.mark.engine


@pytest.fixture
def server(private: PrivateServer) -> Iterator[Server]:
    with closing(Server(private.url, {})) as made:
        yield made


class Refusing:
    """A store that cannot be read so many times."""

    def __init__(self, times: int) -> None:
        self.times = times
        self.asked = 0

    def __call__(self, task_ids: Collection[str], _: float) -> dict[str, ResultRecord]:
        self.asked += 1
        if self.asked <= self.times:
            raise OperationalError("The server still loads its data.")
        return {task_id: record(task_id, "SUCCESS") for task_id in task_ids}


def test_a_look_that_failed_is_repeated_soon(server: Server) -> None:
    store = Refusing(4)
    server.call("SET", "1", "says not in which state it is")
    with closing(RedisResultSubscription(server, "", store)) as subscription:
        subscription.add(["1"])
        with at_most(5.0):
            assert set(subscription.receive(LONG)) == {"1"}
    assert store.asked == 5


def test_looks_that_fail_become_rare(server: Server) -> None:
    store = Refusing(1000)
    server.call("SET", "1", "says not in which state it is")
    with closing(RedisResultSubscription(server, "", store)) as subscription:
        subscription.add(["1"])
        with at_most(PATIENCE):
            assert subscription.receive(1.0) == {}
    assert 3 <= store.asked <= 12


def test_an_interrupt_ends_a_wait_for_a_look(server: Server) -> None:
    with closing(RedisResultSubscription(server, "", Refusing(1000))) as subscription:
        subscription.add(["1"])
        with at_most(PATIENCE), in_thread(lambda: subscription.receive(LONG)) as found:
            subscription.interrupt()
            assert found.result(PATIENCE) == {}


def test_a_result_is_found_when_a_server_has_loaded_its_data(private: PrivateServer) -> None:
    with closing(Server(private.url, {"socket_timeout": 0.2})) as server:
        results = RedisResults(server)
        results.put([record("1", "SUCCESS")])
        private.admin.mset({f"key {number}": os.urandom(1_000_000) for number in range(15)})
        private.admin.save()
        with closing(results.subscribe()) as subscription:
            subscription.add(["2"])
            private.stop()
            # A tenth of a second for each key; every two million bytes it answers that it loads.
            private.start("--key-load-delay", "100000")
            assert private.admin.info("persistence")["loading"]
            with at_most(5.0):
                subscription.add(["1"])
                assert set(until(lambda: subscription.receive(LONG))) == {"1"}


# Forks


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_child_hears_of_what_its_parent_listened_for(
    server: Server, private: PrivateServer
) -> None:
    results = RedisResults(server)
    with closing(results.subscribe()) as subscription:
        subscription.add(["1", "2"])

        def child() -> None:
            results.put([record("1", "SUCCESS")])
            assert set(until(lambda: subscription.receive(1.0))) == {"1"}
            subscription.add(["3"])
            results.put([record("3", "SUCCESS")])
            assert set(until(lambda: subscription.receive(1.0))) == {"3"}

        in_child(child)
        assert set(subscription.receive(PATIENCE)) == {"1"}
        results.put([record("2", "SUCCESS")])
        assert set(subscription.receive(PATIENCE)) == {"2"}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_child_hears_the_broadcasts_that_its_parent_hears(server: Server) -> None:
    broadcast = RedisBroadcast(server)
    with closing(broadcast.listen(["a"])) as heard:

        def child() -> None:
            heard.receive(0.0)  # from here on
            broadcast.send("a", [b"x"])
            assert heard.receive(PATIENCE) == [("a", b"x")]

        in_child(child)
        assert heard.receive(PATIENCE) == [("a", b"x")]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_child_is_not_hurt_by_a_thread_that_interrupted(server: Server) -> None:
    with closing(RedisResults(server).subscribe()) as subscription:
        assert isinstance(subscription, RedisResultSubscription)
        subscription.add(["1"])
        lock = subscription._ear._interrupted._cond  # type: ignore[attr-defined]
        with lock:  # as `Event.set` of another thread
            in_child(subscription.interrupt)


def test_one_packet_listens_and_looks(server: Server, private: PrivateServer) -> None:
    results = RedisResults(server)
    results.put([record("1", "SUCCESS")])
    with closing(results.subscribe()) as subscription:
        subscription.add(["2"])
        subscription.discard(["2"])
        before = _calls(private)
        subscription.add(["1", "2"])
        assert set(subscription.receive(0.0)) == {"1"}
        assert _calls(private) == {**before, "subscribe": 2, "mget": 2}


def test_what_was_stored_and_never_told_is_found_after_a_while(private: PrivateServer) -> None:
    """As by a worker whose user may not publish: who waits does not wait for ever."""
    admin: Any = private.admin
    admin.acl_setuser("mute", True, passwords="+pw", keys=["*"], commands=["+@all", "-publish"])
    with (
        closing(Server(private.url, {"health_check_interval": 0.3})) as server,
        closing(Server(private.url.replace("//", "//mute:pw@"), {})) as mute,
        closing(RedisResults(server).subscribe()) as subscription,
    ):
        subscription.add([str(number) for number in range(3)])
        RedisResults(mute).put([record("1", "STARTED"), record("2", "SUCCESS")])
        found = until(lambda: subscription.receive(1.0))
        assert {task_id: one.state for task_id, one in found.items()} == {
            "1": "STARTED",
            "2": "SUCCESS",
        }
        assert subscription.receive(1.0) == {}  # what has been told once is no news
        RedisResults(mute).put([record("1", "SUCCESS")])
        assert set(until(lambda: subscription.receive(1.0))) == {"1"}


def test_a_key_that_cannot_be_read_is_looked_at_again(server: Server) -> None:
    results = RedisResults(server)
    results.put([record("1", "SUCCESS")])
    server.call("LPUSH", "celery-task-meta-2", "no result")
    with closing(results.subscribe()) as subscription:
        subscription.add(["1", "2"])
        assert set(subscription.receive(PATIENCE)) == {"1"}
        server.call("DEL", "celery-task-meta-2")
        results.put([record("2", "SUCCESS")])
        assert set(subscription.receive(PATIENCE)) == {"2"}


def _calls(private: PrivateServer) -> dict[str, int]:
    stats = private.admin.info("commandstats")
    names = ("subscribe", "mget", "evalsha")
    return {name: stats.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in names}
