"""What goes wrong with servers: each with an error that says what to do, and work goes on by itself."""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from time import monotonic
from typing import Any

import pytest

from tests.redis_servers import PrivateServer
from umbel.clock import SYSTEM, SystemClock
from umbel.engines.redis import RedisEngine
from umbel.engines.redis.broadcast import RedisBroadcast
from umbel.engines.redis.broker import RedisBroker
from umbel.engines.redis.results import RedisResults
from umbel.engines.redis.server import Server
from umbel.engines.redis.state import RedisState
from umbel.exceptions import BrokerFull, OperationalError
from umbel.ports import Owner
from umbel.testing.conformance.support import PATIENCE, at_most, in_thread, record, until
from umbel.waiting import OutOfPatience, Patience, watch

pytestmark = pytest.mark.engine

StartServer = Callable[..., PrivateServer]


def no_broker() -> RedisBroker:
    pytest.fail("Only changes that publish need a broker.")


@contextmanager
def connected(url: str, **options: object) -> Iterator[Server]:
    with closing(Server(url, options)) as server:
        yield server


@contextmanager
def fails(*words: str) -> Iterator[None]:
    """Expect an error that says all this, with no secret in it."""
    with pytest.raises(OperationalError) as caught:
        yield
    for word in words:
        assert word in str(caught.value)
    assert "secret" not in str(caught.value)


def succeeds(function: Callable[[], object]) -> bool:
    try:
        function()
    except OperationalError:
        return False
    return True


# Errors


def test_a_server_that_does_not_run_is_named_at_once_and_found_later(
    private: PrivateServer,
) -> None:
    private.stop()
    with (
        connected(f"redis://:secret@127.0.0.1:{private.port}/0") as server,
        at_most(2.0),
        fails("cannot be reached", f"127.0.0.1:{private.port}", "********"),
    ):
        server.call("PING")
    with connected(private.url) as server:
        with fails("cannot be reached"):
            server.call("PING")
        private.start()
        assert server.call("PING") == b"PONG"


def test_a_name_that_nobody_has_is_an_error_of_the_address() -> None:
    told = "cannot be reached: Error connecting to no-such-host.invalid: "
    with connected("redis://no-such-host.invalid:6379/0") as server, fails(told):
        server.call("PING")


def test_a_wrong_password_is_told(start_server: StartServer) -> None:
    private = start_server("--requirepass", "right")
    at = f"127.0.0.1:{private.port}/0"
    with connected(f"redis://:secret@{at}") as server, fails("password", "redis_password"):
        server.call("PING")
    with connected(f"redis://{at}") as server:
        for call in (("PING",), ("MGET", *map(str, range(20))), ("ECHO", "x" * 20_000)):
            with fails("asks for a password"):  # some it does not even read
                server.call(*call)
    with connected(f"redis://:right@{at}") as server:
        assert server.call("PING") == b"PONG"


def test_what_a_user_may_not_do_is_told(private: PrivateServer) -> None:
    private.admin.acl_setuser("weak", True, passwords="+secret", keys=["*"], commands=["+ping"])
    with connected(f"redis://weak:secret@127.0.0.1:{private.port}/0") as server:
        assert server.call("PING") == b"PONG"
        with fails("does not allow", "ACL SETUSER"):
            server.call("SET", "a", "1")


def test_a_full_server_is_a_full_broker_and_takes_more_when_there_is_room(
    private: PrivateServer,
) -> None:
    with connected(private.url) as server:
        results = RedisResults(server)
        results.put([record("before", "SUCCESS")])
        private.admin.config_set("maxmemory", 1)
        private.admin.config_set("maxmemory-policy", "noeviction")
        with pytest.raises(BrokerFull, match="maxmemory"):
            results.put([record("full", "SUCCESS")])
        assert set(results.get(["before"])) == {"before"}
        private.admin.config_set("maxmemory", "0")
        results.put([record("after", "SUCCESS")])
        assert set(results.get(["after"])) == {"after"}


def test_a_replica_takes_no_writes_until_it_is_a_master(
    start_server: StartServer,
) -> None:
    private = start_server("--repl-diskless-sync-delay", "0")
    replica = start_server("--replicaof", "127.0.0.1", str(private.port))
    until(lambda: replica.admin.info("replication")["master_link_status"] == "up")
    with connected(replica.url) as server:
        state = RedisState(server, no_broker)
        assert state.get("kind", "key") is None
        with fails("is a replica", "sentinel://"):
            state.put_new("kind", "key", "1")
        replica.admin.replicaof("NO", "ONE")
        assert state.put_new("kind", "key", "1")


def test_no_room_for_another_connection_is_told(private: PrivateServer) -> None:
    with connected(private.url) as server:
        server.call("PING")
        private.admin.config_set("maxclients", 2)
        with connected(private.url) as other:
            with fails("maxclients"):
                other.call("PING")
            private.admin.config_set("maxclients", 100)
            assert other.call("PING") == b"PONG"


def test_a_key_of_somebody_else_is_told(private: PrivateServer) -> None:
    with connected(private.url) as server:
        server.call("SET", "umbel:lease:beat", "foreign")
        with fails("something else under a key", "global_keyprefix"):
            RedisState(server, no_broker).hold("beat", "me", 10)


def test_a_database_that_is_not_there_is_told(private: PrivateServer) -> None:
    with connected(f"redis://127.0.0.1:{private.port}/99") as server, fails("databases"):
        server.call("PING")


def test_a_server_that_speaks_no_tls_is_told(private: PrivateServer) -> None:
    url = f"rediss://127.0.0.1:{private.port}/0"
    with connected(url, socket_timeout=2.0) as server, at_most(PATIENCE), fails("TLS"):
        server.call("PING")


@pytest.mark.parametrize("name", ["ssl_ca_certs", "ssl_certfile"])
def test_a_file_for_tls_that_cannot_be_read_is_told(private: PrivateServer, name: str) -> None:
    url = f"rediss://127.0.0.1:{private.port}/0?{name}=/no/such.pem"
    with connected(url) as server, fails(f"{name} is '/no/such.pem', and cannot be read"):
        server.call("PING")


def test_a_server_that_is_no_sentinel_is_told(private: PrivateServer) -> None:
    url = f"sentinel://127.0.0.1:{private.port}/0?master_name=shop"
    with connected(url) as server, fails("is no Sentinel but a server"):
        server.call("PING")


# Limits


def test_a_call_ends_with_its_time_when_the_server_is_frozen(private: PrivateServer) -> None:
    with connected(private.url) as server:
        server.call("SET", "a", "1")
        private.freeze()
        try:
            started = monotonic()
            with fails("did not answer within 0."):  # of what is left of it
                server.call("GET", "a", timeout=0.3)  # on a connection that is open
            with fails("did not answer"):
                server.call("GET", "a", timeout=0.3)  # on a new one
            with fails("did not answer"):
                server.call("GET", "a", timeout=0.3, repeat=True)
            assert monotonic() - started < 2.0
        finally:
            private.thaw()
        assert server.call("GET", "a") == b"1"
        private.freeze()
        try:
            with (
                connected(private.url, socket_timeout=0.3) as hasty,
                at_most(2.0),
                fails("did not answer within 0."),
            ):
                hasty.call("PING")
        finally:
            private.thaw()


def test_a_wait_for_a_result_ends_with_its_time_when_the_server_is_frozen(
    private: PrivateServer,
) -> None:
    def wait(results: RedisResults, **patience: Any) -> None:
        list(watch(results, ["1"], Patience(SYSTEM, timeout=0.6, **patience)))

    with connected(private.url) as server, connected(private.url) as other:
        results, listening = RedisResults(server), RedisResults(other)
        with pytest.raises(OutOfPatience):
            wait(listening)
        private.freeze()
        for store, patience in (
            (results, {}),
            (results, {"just_sent": True}),
            (listening, {"just_sent": True}),
        ):
            with at_most(1.5), pytest.raises((OperationalError, OutOfPatience)):
                wait(store, **patience)
        private.thaw()
        results.put([record("1", "SUCCESS")])
        for store in (results, listening):
            wait(store)


def test_a_frozen_server_takes_the_time_of_a_wait_once(private: PrivateServer) -> None:
    """Not once to listen, and then once more to hear."""
    with connected(private.url) as server:
        results = RedisResults(server)
        with pytest.raises(OutOfPatience):
            list(watch(results, ["1"], Patience(SYSTEM, timeout=0.1)))
        private.freeze()
        with at_most(2.4), pytest.raises(OutOfPatience):
            list(watch(results, ["2"], Patience(SYSTEM, timeout=1.6, just_sent=True)))
        private.thaw()


def test_an_answer_that_came_too_late_is_nobody_elses(private: PrivateServer) -> None:
    with connected(private.url) as server:
        server.call("MSET", "a", "1", "b", "2")
        private.freeze()
        with fails("did not answer"):
            server.call("GET", "a", timeout=0.1)
        private.thaw()
        assert server.call("GET", "b") == b"2"


def test_a_server_that_accepts_and_says_nothing_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        # The database makes the connection ask for something first.
        url = f"redis://127.0.0.1:{port}/1"
        with connected(url) as server, at_most(2.0), fails("did not answer"):
            server.call("PING", timeout=0.3)


# Going on


def test_idle_connections_that_were_cut_are_not_used(private: PrivateServer) -> None:
    with connected(private.url) as server:
        for _ in range(5):
            server.call("PING")
            assert private.kill_clients("normal") == 1
            server.call("INCR", "a")  # without `repeat`
        assert server.call("GET", "a") == b"5"


def test_a_restart_is_survived(private: PrivateServer) -> None:
    with connected(private.url) as server:
        state = RedisState(server, no_broker)
        first = state.hold("beat", "me", 60)
        state.put("kind", "key", "1")
        version = state.version("kind")
        private.restart()
        second = state.hold("beat", "me", 60)
        state.put("kind", "key", "1")
        # An empty server begins no lower: its numbers are made of the time.
        assert first is not None
        assert second is not None
        assert second > first
        assert state.version("kind") > version


class Pausing(SystemClock):
    """A clock that tells when somebody pauses."""

    def __init__(self) -> None:
        self.paused = threading.Event()

    def sleep(self, seconds: float) -> None:
        self.paused.set()
        super().sleep(seconds)


def test_what_may_be_repeated_waits_for_a_server_that_restarts(private: PrivateServer) -> None:
    clock = Pausing()
    with closing(Server(private.url, {"socket_timeout": PATIENCE}, clock)) as server:
        results = RedisResults(server)
        results.put([record("0", "SUCCESS")])
        private.stop()
        with in_thread(lambda: results.put([record("1", "SUCCESS")])) as stored:
            assert clock.paused.wait(PATIENCE)  # it has found no server
            private.start()
            stored.result(PATIENCE)
        assert set(results.get(["0", "1"])) == {"1"}


def test_scripts_are_loaded_again(private: PrivateServer) -> None:
    with connected(private.url) as server:
        results = RedisResults(server)
        for number in range(3):
            results.put([record(str(number), "SUCCESS")])
            private.admin.script_flush()
        assert set(results.get(["0", "1", "2"])) == {"0", "1", "2"}


# Listening


def test_a_waiter_hears_through_a_restart_of_the_server(
    private: PrivateServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "umbel.redis")
    with connected(private.url) as server, connected(private.url) as other:
        results = RedisResults(server)
        with closing(results.subscribe()) as subscription:
            subscription.add(["1", "2"])
            private.stop()
            assert subscription.receive(0.3) == {}
            private.start()
            RedisResults(other).put([record("1", "SUCCESS")])
            assert set(subscription.receive(PATIENCE)) == {"1"}
            RedisResults(other).put([record("2", "SUCCESS")])
            assert set(subscription.receive(PATIENCE)) == {"2"}
    said = [entry.levelname for entry in caplog.records if entry.name == "umbel.redis"]
    assert said == ["WARNING", "INFO"]


def test_a_waiter_finds_what_came_while_its_connection_was_cut(private: PrivateServer) -> None:
    with connected(private.url) as server:
        results = RedisResults(server)
        with closing(results.subscribe()) as subscription:
            for number in range(20):
                subscription.add([str(number)])
                assert private.kill_clients("pubsub") == 1
                results.put([record(str(number), "SUCCESS")])
                with at_most(PATIENCE):
                    assert set(until(lambda: subscription.receive(1.0))) == {str(number)}


def test_a_waiter_in_another_thread_survives_the_cut_of_its_connection(
    private: PrivateServer,
) -> None:
    with connected(private.url) as server:
        results = RedisResults(server)
        with closing(results.subscribe()) as subscription:
            subscription.add(["1"])
            with in_thread(lambda: until(lambda: subscription.receive(60))) as found:
                private.kill_clients("pubsub")
                until(lambda: private.count_clients("pubsub") == 1)
                results.put([record("1", "SUCCESS")])
                assert set(found.result(PATIENCE)) == {"1"}


def test_a_waiter_hears_when_a_frozen_server_goes_on(private: PrivateServer) -> None:
    with connected(private.url) as server:
        results = RedisResults(server)
        with closing(results.subscribe()) as subscription:
            subscription.add(["1"])
            private.freeze()
            with at_most(2.0):
                assert subscription.receive(0.5) == {}
            private.thaw()
            results.put([record("1", "SUCCESS")])
            assert set(subscription.receive(PATIENCE)) == {"1"}


def test_a_server_that_falls_silent_is_noticed_and_reconnected_to(
    private: PrivateServer, caplog: pytest.LogCaptureFixture
) -> None:
    with connected(private.url, health_check_interval=0.2, socket_timeout=0.5) as server:
        results = RedisResults(server)
        with closing(results.subscribe()) as subscription:
            subscription.add(["1"])
            assert subscription.receive(1.0) == {}  # a server that answers is left alone
            assert not caplog.records
            private.freeze()
            assert subscription.receive(1.5) == {}
            assert "silent" in caplog.text
            private.thaw()
            with connected(private.url) as other:
                RedisResults(other).put([record("1", "SUCCESS")])
            assert set(until(lambda: subscription.receive(1.0))) == {"1"}


def test_a_server_that_was_away_lets_all_renew_before_anybody_is_taken_for_dead(
    private: PrivateServer,
) -> None:
    with closing(RedisEngine(private.url, {})) as engine:
        broker, names = engine.broker, ("one", "two", "three")
        for name in names:
            broker.consumer(Owner(name, f"node-{name}", "host", 1), 0.5)
            broker.renew(f"node-{name}", 0.5)
        private.freeze()
        SystemClock().sleep(0.7)
        private.thaw()
        assert broker.expired() == []  # all leases have ended
        for name in ("one", "two"):
            assert broker.renew(f"node-{name}", 60.0)
        # Who does not come back is dead all the same.
        assert [one.id for one in until(broker.expired)] == ["three"]
        assert private.admin.ttl("umbel:watch") > 0


def test_an_interrupt_ends_a_wait_for_a_server_that_is_gone(private: PrivateServer) -> None:
    with (
        connected(private.url) as server,
        closing(RedisResults(server).subscribe()) as subscription,
    ):
        subscription.add(["1"])
        private.stop()
        with at_most(PATIENCE), in_thread(lambda: subscription.receive(60.0)) as found:
            subscription.interrupt()
            assert found.result(PATIENCE) == {}


def test_a_server_that_was_never_there_is_told_to_who_waits(private: PrivateServer) -> None:
    private.stop()
    with (
        connected(private.url) as server,
        closing(RedisResults(server).subscribe()) as subscription,
        fails("cannot be reached"),
    ):
        subscription.add(["1"])


def test_what_is_added_while_the_server_is_away_is_heard_of_later(private: PrivateServer) -> None:
    with connected(private.url) as server:
        results = RedisResults(server)
        with closing(results.subscribe()) as subscription:
            subscription.add(["1"])
            private.stop()
            subscription.receive(0.0)
            subscription.add(["2"])
            private.start()
            results.put([record("2", "SUCCESS")])
            assert set(until(lambda: subscription.receive(1.0))) == {"2"}


def test_broadcasts_are_heard_again_after_a_restart(private: PrivateServer) -> None:
    with connected(private.url) as server:
        broadcast = RedisBroadcast(server)
        with closing(broadcast.listen(["a", "b*"])) as heard:
            private.restart()

            def arrives(topic: str) -> bool:
                broadcast.send(topic, [b"x"])
                return (topic, b"x") in heard.receive(0.1)

            until(lambda: succeeds(lambda: server.call("PING")))
            until(lambda: arrives("a"))
            until(lambda: arrives("bc"))


# Forks


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_child_closes_its_copies_of_the_parents_connections(private: PrivateServer) -> None:
    with connected(private.url) as server:
        server.call("PING")
        link = server.dedicated()
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(write)
            os.read(read, 1)  # lives until the parent has closed
            os._exit(0)
        os.close(read)
        try:
            assert link.call("PING", timeout=5) == b"PONG"  # the parent's goes on
            # A process that dies closes no connection with a word: the server has to see the end.
            os.close(link._socket().fileno())
            until(lambda: private.count_clients("normal") == 2)  # the pool's, and who asks
        finally:
            os.close(write)
            os.waitpid(pid, 0)
            link.close()
