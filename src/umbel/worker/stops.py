"""The signals that stop a node, in its supervisor and in the processes that it starts.

A terminal sends INT, QUIT and HUP to the whole process group. Only the supervisor heeds them; it
tells the others over their pipes.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import select
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import FrameType
from typing import Any

from umbel import signals

#: Told for how many seconds running tasks may go on; None: until they end.
Stop = Callable[[float | None], None]

_NAMES = ("SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP")
#: What stops a node, as far as this system has it.
STOPPING = tuple(getattr(signal, name) for name in _NAMES if hasattr(signal, name))
_TERM, _INT = signal.SIGTERM, signal.SIGINT
_QUIT, _HUP = getattr(signal, "SIGQUIT", None), getattr(signal, "SIGHUP", None)


class BrokenOff(BaseException):
    """A signal came before the node ran: its start is broken off."""


@dataclass(frozen=True, slots=True)
class Patience:
    """For how many seconds running tasks may go on in a warm shutdown, and before a cold one."""

    warm: float | None = None
    soft: float = 0.0


class Stops:
    """Celery's signals: TERM and the first INT stop warmly, QUIT and the second INT at once.

    HUP stops warmly, too; without a terminal the program is to be started again then (`restart`). With
    `environ`'s ``REMAP_SIGTERM=SIGQUIT`` TERM is QUIT. Before the node runs, any of them breaks its start
    off, and a second one ends the process.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._stop: Stop | None = None
        self._hostname: str | None = None
        self._patience = Patience()
        self._remaps = environ.get("REMAP_SIGTERM") == "SIGQUIT"
        # Asked now: a terminal that has closed is none any more.
        self._terminal = sys.__stdout__ is not None and sys.__stdout__.isatty()
        self._breakable = False
        self._asked = False
        self._colds = 0
        self.exit_code = 0
        #: Whether the last word was to start the program again.
        self.restart = False

    @property
    def running(self) -> bool:
        """Whether the node was handed over to these signals."""
        return self._stop is not None

    @property
    def cold(self) -> bool:
        """Whether the node was stopped coldly."""
        return self._colds > 0

    def listen(self) -> None:
        """Take the signals from here on."""
        for number in STOPPING:
            _set(number, self._hear)
        if _HUP is not None:  # whoever starts the program again blocks it meanwhile
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [_HUP])
        # Whoever ignores the ends of its children is not told how they ended.
        if hasattr(signal, "SIGCHLD") and signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)

    @contextlib.contextmanager
    def breakable(self) -> Iterator[None]:
        """Let a signal break off what is done in this block; elsewhere it waits for the next one.

        Raises BrokenOff, also at the end of the block: code of users may have caught it within, or may
        have failed by it with an error of its own.
        """
        self._breakable = True
        try:
            self._check()
            yield
        except Exception:
            self._check()
            raise
        finally:
            self._breakable = False
        self._check()

    def _check(self) -> None:
        if self._asked:
            raise BrokenOff

    def hand_over(self, stop: Stop, hostname: str, patience: Patience) -> None:
        """From here on signals stop the node of this name by `stop`."""
        self._stop, self._hostname, self._patience = stop, hostname, patience
        self.listen()  # again: the app's import may have set handlers of its own
        if self._asked:
            stop(patience.warm)

    def _hear(self, signum: int, frame: FrameType | None) -> None:
        again, self._asked = self._asked, True
        meant = _QUIT if signum == _TERM and self._remaps else signum
        if meant not in (_TERM, _HUP):
            self.exit_code = 1
        # A second HUP changes nothing, and any other signal means the end.
        hung_up = meant == _HUP and not self._terminal
        self.restart = hung_up and (not again or self.restart)
        if self._stop is None:
            if not (again and self.restart):
                self._break_off(again)
        elif meant == _QUIT or (again and meant == _INT):
            self._stop_cold(self._stop, signum)
        elif not again or meant == _INT:
            self._shut_down(self._stop, signum, "Warm", self._patience.warm)

    def _break_off(self, again: bool) -> None:
        if again:
            os._exit(1)
        _say("worker: Stopped while starting (MainProcess)")
        if self._breakable:
            raise BrokenOff

    def _stop_cold(self, stop: Stop, signum: int) -> None:
        """Give running tasks their last moment the first time, none the second; then end the process."""
        self._colds += 1
        if self._colds > 2:
            os._exit(1)  # what is held is written down: whoever takes over finds it
        within = self._patience.soft if self._colds == 1 else 0.0
        self._shut_down(stop, signum, "Cold", within)
        if within:
            _say(
                f"worker: Running tasks have {within:g} s to end. Once more, and they have none (MainProcess)"
            )

    def _shut_down(self, stop: Stop, signum: int, how: str, within: float | None) -> None:
        if how == "Cold":  # said first: a node of one process may be gone with the next line
            _say("worker: Cold shutdown (MainProcess)")
        # Before anything that can fail or take its time.
        stop(within)
        if how == "Warm":
            if signum == _INT:
                _say(
                    "worker: Hitting Ctrl+C again will initiate cold shutdown, terminating all running tasks!"
                )
            _say("worker: Warm shutdown (MainProcess)")
        signals.worker_shutting_down.send(
            self._hostname, sig=signal.Signals(signum).name, how=how, exitcode=self.exit_code
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
        # One that another thread got before is noticed by who gives the interpreter away and gets it again.
        select.select([news], [], [], 0)
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
    _set_all(do_nothing)


def heed_all() -> None:
    """Let each of the signals end this process, as the system does by default."""
    _set_all(signal.SIG_DFL)


def heed_no_more_at_exit() -> None:
    """Let a signal that comes while the interpreter ends change nothing: the node has stopped.

    By then Python gives its signals back to the system, which would end the process with another exit code.
    """
    atexit.register(_ignore_all)


def _ignore_all() -> None:
    for number in STOPPING:
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_IGN)


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


def do_nothing(signum: int, frame: object) -> None:
    """Take a signal without effect.

    Unlike SIG_IGN it is not inherited by programs that tasks start.
    """


def _say(text: str) -> None:
    """Print from a signal handler, where buffered output might be in the middle of something.

    Nothing is said where that would wait: neither a terminal that was told to stop (Ctrl+S) nor a pipe that
    nobody empties keeps a worker from ending.
    """
    with contextlib.suppress(OSError):  # nobody reads it any more
        if select.select([], [1], [], 0)[1]:
            os.write(1, f"\n{text}\n".encode())
