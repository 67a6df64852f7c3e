"""Connections: the time that each of several servers is given, and TLS where there is none."""

from __future__ import annotations

import errno
import signal
import socket
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest

from tests.rabbitmq_servers import URL, connected
from umbel.engines.rabbitmq import link as links
from umbel.engines.rabbitmq.address import address_of
from umbel.engines.rabbitmq.link import Link
from umbel.exceptions import OperationalError
from umbel.testing.conformance.support import PATIENCE, at_most, in_thread

pytestmark = pytest.mark.engine


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """A place that accepts connections and says nothing, as that of a frozen server does."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def url_of(server: socket.socket) -> str:
    """Return the URL of a place on this machine."""
    return f"amqp://127.0.0.1:{server.getsockname()[1]}//"


def is_of_use(link: Link) -> bool:
    """Tell whether the server answers."""
    return link.open_channels(2, lambda _: None) == 2


def test_a_silent_server_leaves_time_to_the_next(silent: socket.socket) -> None:
    with connected():
        pass
    both = address_of(f"{url_of(silent)};{URL}", {})
    with at_most(3.5), closing(Link(both, 4.0)) as link:
        assert is_of_use(link)
    with at_most(1.5), closing(Link(both, 4.0)) as link:  # and is not waited for again
        assert is_of_use(link)


def test_who_is_sent_away_goes_to_the_next(silent: socket.socket) -> None:
    """A balancer takes a connection, and closes it when there is no server behind it."""
    with connected():
        pass
    both = address_of(f"{url_of(silent)};{URL}", {})

    def take_and_close() -> None:
        silent.accept()[0].close()

    with in_thread(take_and_close), closing(Link(both, PATIENCE)) as link:
        assert is_of_use(link)


def test_servers_that_are_all_silent_take_no_longer_than_was_said(silent: socket.socket) -> None:
    both = address_of(f"{url_of(silent)};{url_of(silent)}", {})
    with at_most(1.5), pytest.raises(OperationalError, match="does not answer"):
        Link(both, 0.6)


def test_a_handler_of_signals_may_use_what_its_thread_waits_with() -> None:
    """As one that publishes, while the thread waits for the server."""
    found: list[bool] = []

    def hear(*_: object) -> None:
        link.refresh()
        found.append(is_of_use(link))
        link.interrupt()

    before = signal.signal(signal.SIGALRM, hear)
    try:
        with connected(), closing(Link(address_of(URL, {}), PATIENCE)) as link, at_most(PATIENCE):
            with link.reading:
                signal.setitimer(signal.ITIMER_REAL, 0.1)
                assert link.receive(PATIENCE) is None
            assert found == [True]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_a_server_that_speaks_no_tls_is_told_of() -> None:
    with connected():
        pass
    with pytest.raises(OperationalError, match=r"speaks no TLS there, as amqps:// .* asks for"):
        Link(replace(address_of(URL, {}), tls={}), 5.0)


@pytest.fixture
def quiet() -> Iterator[tuple[Link, socket.socket]]:
    """A connection that is patient, and the end from which nothing comes."""
    link = Link.__new__(Link)
    link.address, link.heartbeat, link.broken = address_of(URL, {}), 6.0, None
    link.is_patient, link._leaves, link._waits_since = lambda: True, False, None
    link._heard_at = 0.0
    link._socket, theirs = socket.socketpair()
    link._wake_out, link._wake_in = socket.socketpair()
    link._wake_out.setblocking(False)
    link._selector = link._watch()
    with theirs:
        yield link, theirs
        link._selector.close()
        link.drop()


def test_who_interrupts_does_not_end_the_wait_for_a_last_word(
    quiet: tuple[Link, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    link, theirs = quiet

    class Answered:
        def __init__(self, *_: Any) -> None:
            link.interrupt()

        def drop(self) -> None: ...

    heed = link._interrupted

    def interrupted() -> bool:
        theirs.send(b"!")  # only now
        return heed()

    monkeypatch.setattr(links, "Link", Answered)
    monkeypatch.setattr(link, "_interrupted", interrupted)
    assert link._is_kept()
    assert heed()  # who interrupted is heeded later


def test_who_has_no_room_to_ask_for_a_sign_of_life_waits(
    quiet: tuple[Link, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(links, "Link", full)
    assert quiet[0]._is_kept()
