"""Connections: the time that each of several servers is given, and what is closed or of a parent."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from tests.redis_servers import PrivateServer
from tests.unit.engines.redis.support import in_child
from umbel.engines.redis.address import Address, address_of
from umbel.engines.redis.link import Link
from umbel.engines.redis.server import Server
from umbel.exceptions import OperationalError
from umbel.testing.conformance.support import LONG, PATIENCE, at_most, until

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


def test_a_closed_connection_is_not_opened_again(private: PrivateServer) -> None:
    link = Link(address_of(private.url, {}), PATIENCE)
    link.close()
    uses: list[Callable[[], object]] = [
        lambda: link.call("PING", timeout=PATIENCE),
        lambda: link.send("PING"),
        lambda: link.send_all([("PING",)]),
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
