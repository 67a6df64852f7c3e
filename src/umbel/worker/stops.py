"""The signals that stop a node, in its supervisor and in the processes that it starts.

A terminal sends INT, QUIT and HUP to the whole process group. Only the supervisor heeds them; it
tells the others over their pipes.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from umbel import signals

Stop = Callable[[bool], None]

_NAMES = ("SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP")
#: What stops a node, as far as this system has it.
STOPPING = tuple(getattr(signal, name) for name in _NAMES if hasattr(signal, name))


class BrokenOff(BaseException):
    """A signal came before the node ran: its start is broken off."""


class Stops:
    """Celery's signals: TERM, HUP and the first INT stop warmly, QUIT and the second INT at once.

    Before the node runs, any of them breaks its start off, and a second one ends the process.
    """

    def __init__(self) -> None:
        self._stop: Stop | None = None
        self._alone = False
        self._breakable = False
        self._asked = False
        self.exit_code = 0

    @property
    def running(self) -> bool:
        """Whether the node was handed over to these signals."""
        return self._stop is not None

    def listen(self) -> None:
        """Take the signals from here on."""
        for number in STOPPING:
            _set(number, self._hear)
        # Whoever ignores the ends of its children is not told how they ended.
        if hasattr(signal, "SIGCHLD") and signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)

    @contextlib.contextmanager
    def breakable(self) -> Iterator[None]:
        """Let a signal break off what is done in this block; elsewhere it waits for the next one.

        Raises BrokenOff, also at the end of the block: code of users may have caught it within.
        """
        self._breakable = True
        try:
            self._check()
            yield
        finally:
            self._breakable = False
        self._check()

    def _check(self) -> None:
        if self._asked:
            raise BrokenOff

    def hand_over(self, stop: Stop, *, alone: bool = False) -> None:
        """From here on signals stop the node by `stop`, which is told whether to do so at once.

        A node that is `alone` runs tasks in this process, which stopping at once has to end.
        """
        self._stop, self._alone = stop, alone
        self.listen()  # again: the app's import may have set handlers of its own
        if self._asked:
            stop(False)

    def _hear(self, signum: int, frame: FrameType | None) -> None:
        again, self._asked = self._asked, True
        if signum not in (signal.SIGTERM, getattr(signal, "SIGHUP", None)):
            self.exit_code = 1
        if self._stop is None:
            self._break_off(again)
        elif signum == getattr(signal, "SIGQUIT", None) or (again and signum == signal.SIGINT):
            self._shut_down(self._stop, signum, "Cold")
            if self._alone:
                # The page tells whoever takes over what was running; nothing is lost.
                os._exit(1)
        else:
            self._shut_down(self._stop, signum, "Warm")

    def _break_off(self, again: bool) -> None:
        if again:
            os._exit(1)
        _say("worker: Stopped while starting (MainProcess)")
        if self._breakable:
            raise BrokenOff

    def _shut_down(self, stop: Stop, signum: int, how: str) -> None:
        # Before anything that can fail or take its time.
        stop(how == "Cold")
        if how == "Warm" and signum == signal.SIGINT:
            _say(
                "worker: Hitting Ctrl+C again will initiate cold shutdown, terminating all running tasks!"
            )
        _say(f"worker: {how} shutdown (MainProcess)")
        signals.worker_shutting_down.send(
            None, sig=signal.Signals(signum).name, how=how, exitcode=self.exit_code
        )


def wait_for(news: socket.socket) -> None:
    """Wait until a socket can be read, and heed signals meanwhile: those, too, that another thread gets.

    Such a signal interrupts nothing here, and its handler runs in the main thread alone. So does one that
    comes just before that begins to wait.
    """
    heard, hears = socket.socketpair()
    for end in (heard, hears):
        end.setblocking(False)
    before = signal.set_wakeup_fd(hears.fileno(), warn_on_full_buffer=False)
    try:
        while news not in select.select([news, heard], [], [])[0]:
            heard.recv(4096)  # its handler has run, or runs before the next wait
    finally:
        signal.set_wakeup_fd(-1)
        for end in (heard, hears):
            end.close()
        with contextlib.suppress(OSError, ValueError):  # whose it was has closed it
            signal.set_wakeup_fd(before)


def heed_nothing() -> None:
    """Let the supervisor's word alone count in this process."""
    _set_all(_nothing)


def heed_all() -> None:
    """Let each of the signals end this process, as the system does by default."""
    _set_all(signal.SIG_DFL)


def _set_all(handler: Any) -> None:
    for number in STOPPING:
        _set(number, handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)


def _set(number: int, handler: Any) -> None:
    """Set a handler, unless nohup had HUP ignored."""
    hangup = getattr(signal, "SIGHUP", None)
    if number != hangup or signal.getsignal(number) is not signal.SIG_IGN:
        signal.signal(number, handler)


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """Have what is started in this block get the signals only once it says how it takes them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _nothing(signum: int, frame: object) -> None:
    """Take a signal without effect.

    Unlike SIG_IGN it is not inherited by programs that tasks start.
    """


def _say(text: str) -> None:
    """Print from a signal handler, where buffered output might be in the middle of something."""
    with contextlib.suppress(OSError):  # nobody reads it any more
        os.write(1, f"\n{text}\n".encode())
