"""The signals that stop a node, as far as one process can tell; tests/e2e has the rest."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator

import pytest

from umbel import signals
from umbel.worker.stops import STOPPING, BrokenOff, Stops, wait_for


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    """Put the handlers back. The tests may run under nohup, of which these know nothing."""
    before = {number: signal.getsignal(number) for number in (*STOPPING, signal.SIGCHLD)}
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def send(number: int) -> None:
    os.kill(os.getpid(), number)


def test_a_signal_waits_for_what_may_be_broken_off() -> None:
    stops = Stops()
    stops.listen()
    send(signal.SIGTERM)
    with pytest.raises(BrokenOff), stops.breakable():
        pytest.fail("not reached")
    assert stops.exit_code == 0


def test_a_signal_breaks_off() -> None:
    stops = Stops()
    stops.listen()
    with pytest.raises(BrokenOff), stops.breakable():  # noqa: PT012 - it raises within the block
        send(signal.SIGINT)
        pytest.fail("not reached")
    assert stops.exit_code == 1


def test_what_was_asked_for_before_the_node_ran_is_done_then() -> None:
    stops = Stops()
    stopped: list[bool] = []
    stops.listen()
    send(signal.SIGTERM)
    stops.hand_over(stopped.append)
    assert stopped == [False]


@pytest.mark.parametrize(
    ("sent", "stopped", "code"),
    [
        ([signal.SIGTERM], [False], 0),
        ([signal.SIGHUP], [False], 0),
        ([signal.SIGINT], [False], 1),
        ([signal.SIGQUIT], [True], 1),
        ([signal.SIGINT, signal.SIGINT], [False, True], 1),
        ([signal.SIGTERM, signal.SIGTERM], [False, False], 0),
        ([signal.SIGTERM, signal.SIGINT], [False, True], 1),
        ([signal.SIGHUP, signal.SIGQUIT], [False, True], 1),
    ],
)
def test_a_node_is_stopped_before_anybody_hears_of_it(
    sent: list[signal.Signals], stopped: list[bool], code: int
) -> None:
    done: list[bool] = []
    heard: list[tuple[str, str, list[bool]]] = []

    def hear(sig: str, how: str, **_: object) -> None:
        heard.append((sig, how, done[:]))

    stops = Stops()
    stops.hand_over(done.append)
    signals.worker_shutting_down.connect(hear)
    try:
        for number in sent:
            send(number)
    finally:
        signals.worker_shutting_down.disconnect(hear)
    assert (done, stops.exit_code) == (stopped, code)
    assert heard == [
        (number.name, "Cold" if cold else "Warm", stopped[: index + 1])
        for index, (number, cold) in enumerate(zip(sent, stopped, strict=True))
    ]


def test_ignored_ends_of_children_are_heeded() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    Stops().listen()
    assert signal.getsignal(signal.SIGCHLD) is signal.SIG_DFL


def test_a_hangup_that_nohup_ignores_stays_ignored() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    Stops().listen()
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A socket to wait for, and the one that ends the wait."""
    news, tells = socket.socketpair()
    with news, tells:
        yield news, tells


def test_a_wait_heeds_what_another_thread_gets(pair: tuple[socket.socket, socket.socket]) -> None:
    news, tells = pair
    waits = threading.Event()

    def get() -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
        waits.wait()
        send(signal.SIGTERM)

    # The handler runs in this thread, which only a signal's coming wakes: nothing else ends the wait.
    signal.signal(signal.SIGTERM, lambda *_: tells.send(b"!"))
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    thread = threading.Thread(target=get)
    thread.start()
    try:
        waits.set()
        wait_for(news)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        thread.join()
    assert news.recv(1) == b"!"


@pytest.mark.parametrize("closed", [False, True])
def test_a_wait_leaves_who_else_is_woken_by_signals(
    pair: tuple[socket.socket, socket.socket], closed: bool
) -> None:
    news, tells = pair
    others, wakes = socket.socketpair()
    for end in (others, wakes):
        end.setblocking(False)
    number = wakes.fileno()
    signal.set_wakeup_fd(number)

    def hear(*_: object) -> None:
        if closed:
            wakes.close()
        tells.send(b"!")

    signal.signal(signal.SIGTERM, hear)
    thread = threading.Thread(target=send, args=(signal.SIGTERM,))
    try:
        thread.start()
        wait_for(news)
        thread.join()
    finally:
        found = signal.set_wakeup_fd(-1)
        others.close()
        wakes.close()
    assert found == (-1 if closed else number)
