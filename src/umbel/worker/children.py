"""The supervisor's view of its children.

Starting them, telling them, and knowing for certain that one is dead.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from umbel.app import Umbel
from umbel.clock import Clock
from umbel.worker.bootstrap import (
    Orders,
    Source,
    inherited_descriptors,
    threads_and_connections,
)
from umbel.worker.forkserver import Channel, load_once, serve_forked
from umbel.worker.helper import stop_word
from umbel.worker.page import Held, Page
from umbel.worker.processes import ending, is_alive, start_time
from umbel.worker.stops import held_back

logger = logging.getLogger("umbel.worker")


#: Seconds after a child's end within which the fork server, if it lives, has told its exit status.
STATUS_WAIT = 0.5
#: Seconds that a child has to end by itself where it runs coroutines, which are cancelled.
CLEARING_UP = 1.0
#: Most seconds before the app is imported again after that failed.
PAUSE = 5.0


@dataclass(slots=True)
class ChildProcess:
    """A child as its supervisor knows it.

    `status` is its exit code, negative for a signal, once it is known. Nobody will tell it of an
    `orphaned` one, whose fork server is dead. One that `retires` has said that its lifetime is over, and one
    that is `expected` takes the place of such a one; one that `replaces` takes some other's. The system has
    ended a `starved` one for want of memory.
    """

    number: int
    page: Page
    control: socket.socket
    begun: float
    pid: int = 0
    start_time: float = 0.0
    ready: bool = False
    hung_up: bool = False
    status: int | None = None
    told_to_stop: bool = False
    retires: bool = False
    expected: bool = False
    replaces: bool = False
    killed: bool = False
    starved: bool = False
    #: By when it is to end by itself, once it was told to.
    ends_by: float | None = None
    fenced_batch: int = -1
    gone_since: float | None = None
    orphaned: bool = False
    process: subprocess.Popen[bytes] | None = None

    def is_dead(self, now: float) -> bool:
        """Tell whether the process has certainly ended; waits a moment to be told how."""
        if self.process is not None and self.process.poll() is not None:
            self.status = self.process.returncode
        if self.status is not None:
            return True
        if not self.hung_up:
            return False
        if self.pid == 0:
            self._learn_pid()
        if self.pid != 0 and is_alive(self.pid, self.start_time):
            return False
        if self.gone_since is None:
            self.gone_since = now
        return self.orphaned or now - self.gone_since > STATUS_WAIT

    def _learn_pid(self) -> None:
        """Read from its page who it is, if the fork server died before it told."""
        snapshot = self.page.read()
        if snapshot is not None:
            self.pid, self.start_time = snapshot.pid, snapshot.started

    def runs(self) -> bool:
        """Tell whether a task runs in it, or did to the last."""
        snapshot = self.page.read()
        return snapshot is not None and bool(snapshot.keys(Held.RUNNING))

    def was_condemned(self) -> bool:
        """Tell whether it was killed because its task exceeded the hard time limit, or was revoked."""
        snapshot = self.page.read()
        return snapshot is not None and bool(snapshot.condemned)

    def was_terminated(self) -> bool:
        """Tell whether it ended itself because its task was revoked."""
        snapshot = self.page.read()
        return snapshot is not None and bool(snapshot.signum)

    @property
    def is_ended(self) -> bool:
        """Whether its end was made by us, and not by itself or a task."""
        return self.killed or self.ends_by is not None

    def how_it_died(self) -> str:
        """Return a phrase for logs: ``pid 4711 ended with signal 9 (SIGKILL)``."""
        if self.status is None:
            return f"pid {self.pid} vanished"
        why = ", for want of memory (oom_kill)" if self.starved else ""
        return f"pid {self.pid} ended with {ending(self.status)}{why}"

    def went_as_told(self) -> bool:
        """Tell whether its end is the one that was asked for."""
        if not self.told_to_stop:
            return self.retires and self.status in (0, None)
        if self.is_ended:
            return True
        # One that was still importing the app ends in the middle of that.
        return self.status in (0, None) or self.page.read() is None

    def tell_to_stop(self) -> None:
        """Let it end after its current task; what it has not started goes back at once."""
        self.told_to_stop = True
        with contextlib.suppress(OSError):
            self.control.send(stop_word())

    def end(self, now: float, clears_up: bool) -> None:
        """End it now or, if it has something to clear up, have it end by itself in a moment."""
        if not clears_up or (self.ends_by is not None and now >= self.ends_by):
            self.kill()
        elif self.ends_by is None:
            self.ends_by = now + CLEARING_UP
            with contextlib.suppress(OSError):
                self.control.send(stop_word(0.0))

    def kill(self) -> None:
        """End it now."""
        if self.pid:
            self.killed = True
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)


class Nursery:
    """Starts children: from the fork server, or each on its own when the app is not fit to be forked.

    It is made before the app is imported, and told then (`fork`).
    """

    def __init__(self, source: Source, clock: Clock) -> None:
        self._source = source
        self._clock = clock
        # The app's import may change these; a later fork server shall begin like the first.
        self._face = {"argv": sys.argv[:], "path": sys.path[:]}
        #: What is no child's: the files and sockets of whoever started the worker.
        self._inherited = inherited_descriptors()
        #: Whether this process may be forked as it is: else it has threads or sockets of its own already.
        self._is_clean = not threads_and_connections(self._inherited)
        self._server: _Forked | subprocess.Popen[bytes] | None = None
        self._channel: Channel | None = None
        self._spawning = False
        self._importing = False
        self._not_before = 0.0
        #: How many fork servers in a row could not import the app.
        self.failures = 0
        self._waiting_for_pid: list[ChildProcess] = []
        self._by_pid: dict[int, ChildProcess] = {}

    @property
    def connection(self) -> socket.socket | None:
        """What to select on for the fork server's messages."""
        return self._channel.connection if self._channel else None

    def fork(self, app: Umbel) -> None:
        """Fork the first fork server from this process, which has just imported the app.

        So it is imported once, and what is in memory then is there once, until somebody writes to it. Where
        more than the app runs in this process it is started from scratch. Raises OSError when the system
        allows no other process.
        """
        if not self._is_clean:
            self._launch()
            return
        # But for those that the import has closed, whose numbers may be the app's by now.
        foreign = self._inherited & inherited_descriptors()
        unsafe = threads_and_connections(foreign)
        if unsafe:
            self._spawn_from_here_on(unsafe)
            return
        load_once(app)
        ours, theirs = socket.socketpair()
        try:
            # A signal that breaks the start off waits until it is known whom `close` has to end.
            with theirs, held_back():
                self._server = _Forked(app, theirs, {*foreign, ours.fileno()})
                self._channel = Channel(ours)
        except OSError:
            ours.close()
            raise

    def _launch(self) -> None:
        """Start another fork server from scratch; it imports the app while the caller goes on.

        Raises OSError when the system allows no other process.
        """
        ours, theirs = socket.socketpair()
        self._channel = Channel(ours)
        self._importing = True
        try:
            with theirs, held_back():  # as above
                self._server = self._spawn(theirs)
            self._channel.send({"source": dataclasses.asdict(self._source), **self._face})
        except OSError:
            self._dismiss()
            raise

    def is_ready(self) -> bool:
        """Tell whether a child can be started now; if not, see to it that one can be soon.

        It does not wait: leases must be renewed while an app that takes long to import is imported again.
        """
        if self._channel is None and not self._spawning:
            if self._clock.monotonic() < self._not_before:
                return False
            try:
                self._launch()
            except OSError as error:
                logger.error("The fork server cannot be started; trying again. %s", error)
                self._not_before = self._clock.monotonic() + PAUSE
                return False
        return not self._importing

    def _imported(self, answer: dict[str, Any]) -> None:
        self._importing = False
        self.failures = 0
        unsafe = answer.get("unsafe")
        if isinstance(unsafe, list) and unsafe and not self._spawning:
            self._spawn_from_here_on(unsafe)
            self._dismiss()

    def _spawn_from_here_on(self, unsafe: list[str]) -> None:
        logger.warning(
            "Importing the app leaves %s open, which a fork would break: children are started from"
            " scratch, which takes longer and more memory. Start such things in worker_process_init.",
            ", ".join(map(str, unsafe)),
        )
        self._spawning = True

    def start(self, number: int, page: Page, orders: Orders) -> ChildProcess:
        """Start a child, when `is_ready`; its pid is known a moment later.

        Raises OSError when the fork server is dead or the system allows no other process.
        """
        ours, theirs = socket.socketpair()
        child = ChildProcess(number, page, ours, self._clock.monotonic())
        message = {"page": str(page.path), "number": number, "orders": orders.to_data()}
        try:
            with theirs:
                self._order(child, theirs, message)
        except OSError:
            ours.close()
            raise
        ours.setblocking(False)
        return child

    def _order(self, child: ChildProcess, control: socket.socket, message: dict[str, Any]) -> None:
        if self._channel is not None:
            self._channel.send(message, control.fileno())
            self._waiting_for_pid.append(child)
            return
        # Through the socket and not as an argument: settings may hold passwords.
        Channel(child.control).send({**message, **self._face})
        child.process = self._spawn(control, "--child")
        child.pid = child.process.pid
        child.start_time = start_time(child.pid)

    def _spawn(self, connection: socket.socket, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a Python process that has one end of a pipe."""
        number = connection.fileno()
        command = [sys.executable, "-m", "umbel.worker.forkserver", str(number), *arguments]
        with held_back():
            return subprocess.Popen(command, pass_fds=[number], cwd=self._source.workdir)

    def listen(self, stopping: bool = False) -> None:
        """Take in what the fork server says: pids, and ends of children.

        While the node is `stopping`, none is started in place of one that died.
        """
        if self._channel is None:
            return
        messages = self._channel.receive()
        if messages is None:
            self._lose_server(stopping)
            return
        for message in messages:
            if "ready" in message:
                self._imported(message)
            elif "failed" in message:
                logger.error("Importing the app failed; trying again.\n%s", message["failed"])
            elif "forked" in message:
                child = self._waiting_for_pid.pop(0)
                child.pid = message["pid"]
                child.start_time = start_time(child.pid)
                self._by_pid[child.pid] = child
            elif "exited" in message:
                ended = self._by_pid.pop(message["exited"], None)
                if ended is not None:
                    ended.status = message["status"]

    def _lose_server(self, stopping: bool) -> None:
        how = ending(self._dismiss())
        if not stopping:
            logger.error(
                "The fork server died: %s; starting another. Running children are not affected.",
                how,
            )
        self.failures += self._importing
        pause = min(2.0**self.failures / 2, PAUSE) if self._importing else 0.0
        self._not_before = self._clock.monotonic() + pause
        self._importing = False
        for child in (*self._waiting_for_pid, *self._by_pid.values()):
            child.orphaned = True
        self._waiting_for_pid.clear()  # those that live tell their pid in their page
        self._by_pid.clear()

    def _dismiss(self) -> int | None:
        """End the fork server; return its exit status if that is known."""
        if self._channel is not None:
            self._channel.connection.close()
            self._channel = None
        server, self._server = self._server, None
        if server is None:
            return None
        if self._importing:  # it has no children yet, and imports may take for ever
            server.kill()
        return server.wait()

    def close(self) -> None:
        """End the fork server."""
        self._dismiss()


class _Forked:
    """A fork server that is forked from this process, with the methods of one that is spawned."""

    def __init__(self, app: Umbel, connection: socket.socket, foreign: Collection[int]) -> None:
        """Fork, with signals held back; the `foreign` file descriptors are closed there."""
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):  # what is buffered would be written twice
                stream.flush()
        self._pid = os.fork()
        if self._pid == 0:
            serve_forked(app, connection, foreign)

    def kill(self) -> None:
        """End it now."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)

    def wait(self) -> int | None:
        """Wait for its end; return its exit status if that is known."""
        try:
            return os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
        except ChildProcessError:  # the app's import had the ends of children ignored
            return None
