"""Connections: the time that each of several servers is given, and what is closed or of a parent."""

from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from typing import Any

import pytest
import redis
from redis import exceptions as theirs

from tests.conftest import ManualClock
from tests.redis_servers import PrivateServer
from tests.unit.engines.redis.support import QUEUE, attach, in_child, publish
from umbel.engines.pool import SURPLUS
from umbel.engines.redis import RedisEngine, insides, watch, wire
from umbel.engines.redis.address import Address, address_of
from umbel.engines.redis.link import Argument, Link
from umbel.engines.redis.scripts import Script
from umbel.engines.redis.server import Server
from umbel.exceptions import OperationalError
from umbel.ports import FetchRequest, Settled, Settlement
from umbel.testing.conformance.support import LONG, PATIENCE, at_most, fetch, in_thread, until

pytestmark = pytest.mark.engine


@pytest.fixture
def silent() -> Iterator[str]:
    """A place that accepts connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def both(silent: str, private: PrivateServer) -> Address:
    """Return an address of two. The database makes a connection ask for something first."""
    return address_of(f"redis://{silent}/1;redis://127.0.0.1:{private.port}/1", {})


def test_a_silent_server_leaves_time_to_the_next(silent: str, private: PrivateServer) -> None:
    with at_most(2.0), closing(Link(both(silent, private), 2.0)) as link:
        assert link.call("PING", timeout=PATIENCE) == b"PONG"


def test_a_call_has_its_time_after_a_slow_connect(silent: str, private: PrivateServer) -> None:
    """What connecting left of its time, half a second, is not the limit of what follows."""
    with closing(Link(both(silent, private), 1.0)) as link:
        assert link.call("BLPOP", "nothing", "0.7", timeout=1.0) is None


def test_an_answer_that_was_read_by_looking_for_it_is_not_waited_for(
    private: PrivateServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As redis-py does before version 8: what `can_read` finds is the next that `read_response` returns."""
    monkeypatch.setattr(wire, "reader_of", lambda _: None)
    with closing(Link(address_of(private.url, {}), PATIENCE)) as link:
        connection, found = link._connection, list[object]()
        can_read, read = connection.can_read, connection.read_response

        def looks(timeout: float = 0) -> bool:
            if not found and can_read(timeout):
                found.append(read())
            return bool(found)

        monkeypatch.setattr(connection, "can_read", looks)
        monkeypatch.setattr(
            connection, "read_response", lambda *_, **__: found.pop() if found else read()
        )
        link.send("PING")
        link.owed += 1
        with at_most(1.0):
            until(lambda: link.is_fit)
            assert link.call("ECHO", "1", timeout=PATIENCE) == b"1"


def test_an_error_is_raised_also_where_redis_py_returns_it(
    private: PrivateServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Versions before 8 return that a server loads its data, of a connection that may hear."""
    monkeypatch.setattr(wire, "reader_of", lambda _: None)
    with closing(Link(address_of(private.url, {}), PATIENCE, hears=True)) as link:
        link.send("PING")
        error = theirs.BusyLoadingError("Redis is loading the dataset in memory")
        monkeypatch.setattr(link._connection, "read_response", lambda **_: error)
        with pytest.raises(OperationalError):
            link.receive(PATIENCE)


@pytest.fixture(params=["hiredis", "redis-py"])
def packer(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pack by one or the other."""
    if request.param == "redis-py":
        monkeypatch.setattr(insides, "_pack", None)
        kind: Any = redis.Connection
        monkeypatch.setattr(insides, "_packer", kind(), raising=False)


SHORT_ONES: tuple[Argument, ...] = ("", "é", "a b", b"\xff" * 9, 7, 0.5)


@pytest.mark.parametrize("first", SHORT_ONES)
@pytest.mark.usefixtures("packer")
def test_values_within_a_command_are_the_same(first: Argument) -> None:
    values = (first, *SHORT_ONES)
    whole = insides.packed("EVALSHA", "x" * 40, *values)
    before = b"*9\r\n" + insides.as_values("EVALSHA", "x" * 40)
    assert before + insides.as_values(*values) + insides.as_values() == whole


@pytest.mark.parametrize("short", SHORT_ONES)
@pytest.mark.parametrize("place", [1, 2, 3])
@pytest.mark.usefixtures("packer")
def test_a_command_in_pieces_is_the_same(short: Argument, place: int) -> None:
    command: list[Argument] = ["EVALSHA", short, short]
    command.insert(place, "é" * insides.LONG)
    command.append("x" * insides.LONG)
    assert b"".join(insides.in_pieces(*command)) == insides.packed(*command)
    assert insides.in_pieces("GET", short) == [insides.packed("GET", short)]


@pytest.mark.parametrize("kind", ["in pieces", "together", "by redis-py"])
def test_a_script_has_long_arguments(
    private: PrivateServer, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Longer than what a socket takes at once."""
    if kind == "by redis-py":
        monkeypatch.setattr(wire, "reader_of", lambda _: None)
    if kind == "together":
        monkeypatch.setattr(wire, "MOST_PIECES", 2)
    source = "return {ARGV[1], ARGV[2], ARGV[3], #ARGV}"
    script = Script(
        "echo", source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()
    )
    long = ["a" * 10_000_000, "between", "é" * 1_000_000]
    found = [*(one.encode() for one in long), 3]
    with closing(Link(address_of(private.url, {}), PATIENCE)) as link:
        # Once to load it, once more by its name.
        assert link.run(script, [], long, PATIENCE) == found
        assert link.run(script, [], long, PATIENCE) == found
        link.close()
        with pytest.raises(OperationalError):
            link.run(script, [], long, PATIENCE)


def test_sending_in_pieces_has_one_limit(private: PrivateServer) -> None:
    """However slowly somebody takes it."""
    with closing(Link(address_of(private.url, {}), PATIENCE)) as link, at_most(PATIENCE):
        slow, taken = socket.socketpair()
        with slow, taken:
            slow.settimeout(0.2)
            link._wire._send, link._wire._send_some = slow.sendall, slow.sendmsg
            ends = threading.Event()

            def take() -> None:
                while not ends.wait(0.02):
                    taken.recv(65_536)

            with in_thread(take):
                try:
                    with pytest.raises(theirs.TimeoutError):
                        link._wire.send_pieces([b"x" * 500_000] * 60)
                finally:
                    ends.set()


@pytest.fixture(params=["by hiredis", "by redis-py", "without poll"])
def hearing(
    request: pytest.FixtureRequest, private: PrivateServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Link]:
    """A connection that may hear, and can be woken, however it reads."""
    if request.param == "by redis-py":
        monkeypatch.setattr(wire, "reader_of", lambda _: None)
    if request.param == "without poll":  # as on Windows
        monkeypatch.setattr(watch, "poll_of", lambda _: None)
    with closing(Link(address_of(private.url, {}), PATIENCE, hears=True)) as link:
        link.be_wakeable()
        yield link


def test_what_is_told_comes_among_the_answers(hearing: Link, private: PrivateServer) -> None:
    hearing.send_packed(insides.packed("SUBSCRIBE", "a") + insides.packed("MGET", "none"))
    assert hearing.receive(PATIENCE) == [b"subscribe", b"a", 1]
    assert hearing.receive(PATIENCE) == [None]
    private.admin.publish("a", "x" * 100_000)
    private.admin.publish("a", "y")
    assert hearing.receive(PATIENCE) == [b"message", b"a", b"x" * 100_000]
    assert hearing.receive(PATIENCE) == [b"message", b"a", b"y"]
    assert hearing.receive(0.0, "nothing") == "nothing"


def test_what_came_together_is_received_without_a_look(
    hearing: Link, private: PrivateServer
) -> None:
    hearing.send("SUBSCRIBE", "a")
    hearing.receive(PATIENCE)
    together = private.admin.pipeline(transaction=True)
    for number in range(10):
        together.publish("a", str(number))
    together.execute()
    found: list[bytes] = []
    while len(found) < 10:
        found.append(hearing.receive(PATIENCE)[2])
        while (more := hearing.receive_more()) is not None:
            found.append(more[2])
    assert found == [b"%d" % number for number in range(10)]


def test_an_answer_that_is_an_error_is_raised_in_its_place(hearing: Link) -> None:
    hearing.send_packed(insides.packed("MGET") + insides.packed("PING"))
    with pytest.raises(OperationalError, match="wrong number"):
        hearing.receive(PATIENCE)
    assert hearing.receive(PATIENCE) in (b"PONG", [b"pong", b""])


def test_a_wait_is_ended_by_another_thread_and_goes_on_afterwards(
    hearing: Link, private: PrivateServer
) -> None:
    with at_most(PATIENCE), in_thread(lambda: hearing.receive(LONG, "woken")) as waits:
        hearing.interrupt()
        assert waits.result(PATIENCE) == "woken"
    assert hearing.receive(0.0, "nothing") == "nothing"
    hearing.interrupt()  # before anybody waits
    assert hearing.receive(LONG, "woken") == "woken"
    hearing.send("PING")
    assert hearing.receive(PATIENCE) in (b"PONG", [b"pong", b""])


def test_the_end_of_a_connection_ends_a_wait(hearing: Link, private: PrivateServer) -> None:
    with in_thread(lambda: hearing.receive(LONG)) as waits:
        until(lambda: private.count_clients("normal") == 2)  # with who asks
        private.admin.client_kill_filter(_type="normal", skipme=True)
        with pytest.raises(OperationalError):
            waits.result(PATIENCE)


def test_a_closed_connection_is_not_opened_again(private: PrivateServer) -> None:
    link = Link(address_of(private.url, {}), PATIENCE)
    link.close()
    uses: list[Callable[[], object]] = [
        lambda: link.call("PING", timeout=PATIENCE),
        lambda: link.send("PING"),
        lambda: link.send_packed(insides.packed("PING")),
        lambda: link.receive(0.0),
    ]
    for use in uses:
        with pytest.raises(OperationalError, match="has been closed"):
            use()
    until(lambda: private.count_clients("normal") == 1)  # who asks


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_child_is_not_hurt_by_a_thread_that_woke_another(private: PrivateServer) -> None:
    with closing(Server(private.url, {})) as server, closing(server.dedicated()) as link:
        held, done = threading.Event(), threading.Event()

        def interrupts() -> None:
            with link._wake_lock:
                held.set()
                done.wait(LONG)

        thread = threading.Thread(target=interrupts)
        thread.start()
        held.wait(PATIENCE)
        try:
            in_child(lambda: None)  # which begins when all that is told of forks has been told
        finally:
            done.set()
            thread.join()


def test_a_consumer_needs_one_connection(private: PrivateServer) -> None:
    with closing(RedisEngine(private.url, {})) as engine:
        consumer = attach(engine)
        with in_thread(lambda: fetch(consumer, wait=LONG)) as waits:
            until(lambda: any(one["cmd"] == "blmove" for one in private.admin.client_list()))
            assert private.count_clients("normal") == 2  # with who asks
            with closing(RedisEngine(private.url, {})) as client:
                publish(client, "1")
            [delivery] = waits.result(PATIENCE)
        consumer.settle([Settlement(delivery)], FetchRequest([QUEUE], 1))
        consumer.mark_early([])
        assert private.count_clients("normal") == 2
        assert private.admin.info("stats")["total_connections_received"] == 3


def test_a_waiter_that_is_interrupted_leaves_a_connection_that_can_be_used(
    private: PrivateServer,
) -> None:
    with closing(RedisEngine(private.url, {})) as engine:
        consumer = attach(engine)
        for _ in range(3):
            with in_thread(lambda: fetch(consumer, wait=LONG)) as waits:
                until(lambda: any(one["cmd"] == "blmove" for one in private.admin.client_list()))
                consumer.interrupt()
                assert waits.result(PATIENCE) == []
            publish(engine, "1")
            [delivery] = fetch(consumer)
            assert consumer.settle([Settlement(delivery)]) == Settled()


def test_what_was_not_needed_for_some_time_is_closed(private: PrivateServer) -> None:
    clock = ManualClock()
    with closing(Server(private.url, {}, clock)) as server:
        links = [server.borrow() for _ in range(3)]
        for link in links:
            server.give_back(link)
        for seconds, left in ((SURPLUS - 1, 3), (2.0, 2), (0.0, 1), (SURPLUS + 1, 1)):
            clock.now += seconds
            assert server.call("PING") == b"PONG"
            until(partial(_has_clients, private, left + 1))


def _has_clients(server: PrivateServer, count: int) -> bool:
    return server.count_clients("normal") == count
