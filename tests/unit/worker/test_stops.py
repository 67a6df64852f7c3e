"""The signals that stop a node, as far as one process can tell; tests/e2e has the rest."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from umbel import signals
from umbel.worker.stops import STOPPING, BrokenOff, Patience, Stops, wait_for


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


def test_an_error_that_comes_of_breaking_off_is_none_of_the_start() -> None:
    """As of a `with lock:` that a signal left at a moment when its lock was not taken."""
    stops = Stops()
    stops.listen()
    with pytest.raises(BrokenOff), stops.breakable():  # noqa: PT012 - it raises within the block
        try:
            send(signal.SIGTERM)
        finally:
            raise RuntimeError("release unlocked lock")
    with pytest.raises(RuntimeError), Stops().breakable():
        raise RuntimeError


def test_what_was_asked_for_before_the_node_ran_is_done_then() -> None:
    stops = Stops()
    stopped: list[float | None] = []
    stops.listen()
    send(signal.SIGTERM)
    stops.hand_over(stopped.append, "w1@host", Patience(warm=25.0))
    assert stopped == [25.0]


WARM, COLD = None, 0.0


@pytest.mark.parametrize(
    ("sent", "stopped", "code"),
    [
        ([signal.SIGTERM], [WARM], 0),
        ([signal.SIGHUP], [WARM], 0),
        ([signal.SIGINT], [WARM], 1),
        ([signal.SIGQUIT], [COLD], 1),
        ([signal.SIGINT, signal.SIGINT], [WARM, COLD], 1),
        ([signal.SIGTERM, signal.SIGINT], [WARM, COLD], 1),
        ([signal.SIGHUP, signal.SIGQUIT], [WARM, COLD], 1),
    ],
)
def test_a_node_is_stopped_before_anybody_hears_of_it(
    sent: list[signal.Signals], stopped: list[float | None], code: int
) -> None:
    done: list[float | None] = []
    heard: list[tuple[object, str, str, list[float | None]]] = []

    def hear(sender: object, sig: str, how: str, **_: object) -> None:
        heard.append((sender, sig, how, done[:]))

    stops = Stops()
    stops.hand_over(done.append, "w1@host", Patience())
    signals.worker_shutting_down.connect(hear)
    try:
        for number in sent:
            send(number)
    finally:
        signals.worker_shutting_down.disconnect(hear)
    assert (done, stops.exit_code) == (stopped, code)
    assert heard == [
        ("w1@host", number.name, "Warm" if within is WARM else "Cold", stopped[: index + 1])
        for index, (number, within) in enumerate(zip(sent, stopped, strict=True))
    ]


@pytest.mark.parametrize(
    ("first", "code"), [(signal.SIGTERM, 0), (signal.SIGHUP, 0), (signal.SIGQUIT, 1)]
)
@pytest.mark.parametrize("later", [signal.SIGTERM, signal.SIGHUP])
def test_who_is_stopping_takes_no_notice_of_a_warm_stop(
    first: signal.Signals, code: int, later: signal.Signals, capfd: pytest.CaptureFixture[str]
) -> None:
    done: list[float | None] = []
    stops = Stops()
    stops.hand_over(done.append, "w1@host", Patience(soft=5.0))
    send(first)
    said = capfd.readouterr().out
    send(later)
    assert len(done) == 1
    assert stops.exit_code == code
    assert ("Warm" in said) is (first is not signal.SIGQUIT)
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize(
    ("sent", "stopped"),
    [
        ([signal.SIGTERM], [25.0]),
        ([signal.SIGQUIT], [5.0]),
        ([signal.SIGQUIT, signal.SIGQUIT], [5.0, 0.0]),
        ([signal.SIGINT, signal.SIGINT, signal.SIGINT], [25.0, 5.0, 0.0]),
        ([signal.SIGTERM, signal.SIGQUIT, signal.SIGINT], [25.0, 5.0, 0.0]),
    ],
)
def test_running_tasks_are_given_time(
    sent: list[signal.Signals], stopped: list[float], capfd: pytest.CaptureFixture[str]
) -> None:
    done: list[float | None] = []
    stops = Stops()
    stops.hand_over(done.append, "w1@host", Patience(warm=25.0, soft=5.0))
    for number in sent:
        send(number)
    assert done == stopped
    assert ("5 s to end" in capfd.readouterr().out) is (5.0 in stopped)


def test_a_third_cold_signal_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[float | None] = []
    ended: list[int] = []
    monkeypatch.setattr(os, "_exit", ended.append)
    stops = Stops()
    stops.hand_over(done.append, "w1@host", Patience())
    send(signal.SIGQUIT)
    send(signal.SIGINT)
    assert (done, ended) == ([0.0, 0.0], [])
    send(signal.SIGQUIT)
    assert ended == [1]


def test_term_may_be_quit() -> None:
    done: list[float | None] = []
    stops = Stops({"REMAP_SIGTERM": "SIGQUIT"})
    stops.hand_over(done.append, "w1@host", Patience())
    send(signal.SIGTERM)
    assert (done, stops.exit_code) == ([0.0], 1)


@pytest.mark.parametrize(
    ("sent", "restarts"),
    [
        ([signal.SIGHUP], True),
        ([signal.SIGHUP, signal.SIGHUP], True),
        ([signal.SIGHUP, signal.SIGTERM], False),
        ([signal.SIGTERM, signal.SIGHUP], False),
        ([signal.SIGHUP, signal.SIGQUIT], False),
    ],
)
@pytest.mark.parametrize("terminal", [True, False])
def test_a_hangup_restarts_what_has_no_terminal(
    sent: list[signal.Signals], restarts: bool, terminal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.__stdout__", Stdout(terminal))
    stops = Stops()
    monkeypatch.setattr("sys.__stdout__", Stdout(False))  # it has closed
    stops.hand_over(lambda _: None, "w1@host", Patience())
    for number in sent:
        send(number)
    assert stops.restart is (restarts and not terminal)


def test_hangups_while_starting_break_it_off_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.__stdout__", Stdout(False))
    stops = Stops()
    stops.listen()
    send(signal.SIGHUP)
    send(signal.SIGHUP)
    with pytest.raises(BrokenOff), stops.breakable():
        pytest.fail("not reached")
    assert (stops.restart, stops.exit_code) == (True, 0)


class Stdout:
    """Standard output, as far as it is asked what it is."""

    def __init__(self, terminal: bool) -> None:
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


def test_ignored_ends_of_children_are_heeded() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    Stops().listen()
    assert signal.getsignal(signal.SIGCHLD) is signal.SIG_DFL


def test_a_hangup_that_nohup_ignores_stays_ignored() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    Stops().listen()
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


#: Sends itself QUIT when Python has given its signals back to the system.
ENDING = """
import os, signal
from umbel.worker.stops import Stops, heed_no_more_at_exit

class Late:
    def __del__(self, kill=os.kill, pid=os.getpid(), number=signal.SIGQUIT):
        kill(pid, number)

Stops().listen()
HEED
late = Late()
"""


@pytest.mark.parametrize(
    ("heed", "code"),
    [("heed_no_more_at_exit()", 0), ("", -signal.SIGQUIT)],
    ids=["as is", "without"],
)
def test_a_signal_that_comes_while_python_ends_changes_nothing(heed: str, code: int) -> None:
    program = ENDING.replace("HEED", heed)
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == code


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


def test_a_wait_heeds_what_another_thread_has_got(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Just before signals tell of themselves, while this one had the interpreter."""
    news, tells = pair
    held, ends = socket.socketpair()
    held.settimeout(5)
    waits, interval = threading.Event(), sys.getswitchinterval()

    def get() -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
        waits.set()
        try:
            held.recv(1)
        except TimeoutError:
            tells.send(b"?")  # else the wait would never end

    def too_late(number: int, **how: object) -> int:
        if number != -1:
            send(signal.SIGTERM)
            for _ in range(1_000_000):  # the other thread has it then, and this one the interpreter
                pass
        return -1

    signal.signal(signal.SIGTERM, lambda *_: tells.send(b"!"))
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    thread = threading.Thread(target=get)
    sys.setswitchinterval(60)  # before it starts: it stops only where it waits
    thread.start()
    waits.wait()
    monkeypatch.setattr(signal, "set_wakeup_fd", too_late)
    try:
        wait_for(news)
    finally:
        monkeypatch.undo()
        sys.setswitchinterval(interval)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        ends.send(b"!")
        thread.join()
        held.close()
        ends.close()
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
