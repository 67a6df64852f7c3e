"""The fork server: a process that has the app imported and nothing else, from which children are forked.

Its life is simple: fork a child for each order and report each child's end. It runs no task and no thread.
When the supervisor dies it sees the end of the pipe, gives its children a moment to hand back, kills what is
left, and goes. The first one is a fork of the supervisor, when that has imported the app; one that takes its
place imports the app first, and says so, or what went wrong, with the traceback.

Messages are JSON lines. In, for one that imports: ``{"source", "argv", "path"}``; then
``{"orders", "page", "number"}`` with the child's control socket attached. Out: ``{"ready", "unsafe"}`` or
``{"failed"}``; then ``{"forked", "pid"}`` and ``{"exited", "status"}``.
"""

from __future__ import annotations

import contextlib
import gc
import json
import logging
import os
import platform
import select
import signal
import socket
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from umbel import signals
from umbel.app import Umbel
from umbel.clock import Clock, unique_id
from umbel.exceptions import UmbelError
from umbel.ports import Owner
from umbel.redirected import own_streams
from umbel.tracebacks import traceback_text
from umbel.worker.bootstrap import (
    Orders,
    Source,
    open_descriptors,
    set_up_logging,
    threads_and_connections,
)
from umbel.worker.child import Child
from umbel.worker.completing import Chords
from umbel.worker.executors.aio import AsyncioExecutor
from umbel.worker.executors.base import Executor
from umbel.worker.executors.threads import ThreadExecutor
from umbel.worker.garbage import Allowance
from umbel.worker.helper import Helper
from umbel.worker.lifetime import Lifetime
from umbel.worker.limits import Limits
from umbel.worker.page import Page
from umbel.worker.pauses import pause_in_order
from umbel.worker.pool import Worker
from umbel.worker.processes import my_start_time, signalled_by
from umbel.worker.rates import Rates
from umbel.worker.settler import Settler
from umbel.worker.slot_helper import SlotHelper
from umbel.worker.slot_page import SlotPage
from umbel.worker.slots import SlotChild
from umbel.worker.stops import heed_all, heed_nothing

try:
    import fcntl
except ImportError:  # Windows, where nothing is forked
    fcntl = None  # type: ignore[assignment]

#: Seconds that children are given to hand back when the supervisor died.
GRACE = 3.0
#: What a child says to its supervisor: that it takes messages, and that it leaves, to be replaced.
READY, RETIRES = b"r", b"e"
#: Seconds for which a thread may keep the interpreter while another one waits for it, in children that run
#: many tasks at a time: so long waits what comes and goes, at each change of threads, beside a task that
#: computes.
SWITCH = 0.0003
#: The level up to which logging is off while the app is imported; none that a module would choose.
KEPT_BACK = logging.WARNING + 1


class Channel:
    """JSON lines over a socket, with file descriptors attached to some."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._buffer = b""
        self._descriptors: list[int] = []

    def send(self, message: dict[str, Any], descriptor: int | None = None) -> None:
        """Send one message, with a file descriptor or without."""
        data = json.dumps(message).encode() + b"\n"
        if descriptor is None:
            self.connection.sendall(data)
        else:
            socket.send_fds(self.connection, [data], [descriptor])

    def receive(self) -> list[dict[str, Any]] | None:
        """Return the messages that have come; None at the end of the pipe.

        Waits for the first bytes.
        """
        try:
            data, descriptors, _, _ = socket.recv_fds(self.connection, 65536, 16)
        except ConnectionError:
            return None
        self._descriptors += descriptors
        if not data:
            return None
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        return [json.loads(line) for line in lines]

    def next_descriptor(self) -> int:
        """Return the next file descriptor that came."""
        return self._descriptors.pop(0)


class ForkServer:
    """See the module's text."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._children: set[int] = set()
        self._signal_out, self._signal_in = socket.socketpair()
        self._signal_in.setblocking(False)
        self._signal_out.setblocking(False)

    def serve(self, app: Umbel) -> None:
        """Fork and report until the supervisor is gone."""
        signal.signal(signal.SIGCHLD, lambda *_: None)  # it wakes the loop
        signal.set_wakeup_fd(self._signal_in.fileno(), warn_on_full_buffer=False)
        while True:
            readable, _, _ = select.select([self._channel.connection, self._signal_out], [], [])
            if self._signal_out in readable:
                with contextlib.suppress(BlockingIOError):
                    self._signal_out.recv(4096)
            self._reap()
            if self._channel.connection in readable:
                messages = self._channel.receive()
                if messages is None:
                    return self._leave()
                for message in messages:
                    self._fork(app, message)

    def _fork(self, app: Umbel, message: dict[str, Any]) -> None:
        control = self._channel.next_descriptor()
        signals.worker_before_create_process.send(self)
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for inherited in (self._channel.connection, self._signal_in, self._signal_out):
                inherited.close()
            _run_and_exit(app, message, socket.socket(fileno=control))
        os.close(control)
        self._children.add(pid)
        with contextlib.suppress(OSError):  # the supervisor is dead, which is noticed next
            self._channel.send({"forked": message["page"], "pid": pid})

    def _reap(self) -> None:
        while self._children:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self._children.discard(pid)
            with contextlib.suppress(OSError):
                self._channel.send({"exited": pid, "status": os.waitstatus_to_exitcode(status)})

    def _leave(self) -> None:
        deadline = time.monotonic() + GRACE
        while self._children and time.monotonic() < deadline:
            select.select([self._signal_out], [], [], 0.05)
            self._reap()
        for pid in self._children:
            os.kill(pid, signal.SIGKILL)
        signal.set_wakeup_fd(-1)
        for end in (self._signal_out, self._signal_in):
            end.close()


def load_once(app: Umbel) -> None:
    """Load what all children need while there is one process, and keep it where they share it.

    What is there then stays: no collection needs to look at it again, and to touch its pages.
    """
    with contextlib.suppress(UmbelError):  # the supervisor meets the same, and says it
        for url in filter(None, (app.broker_url, app.result_url)):
            app.engine(url)  # its modules; it opens nothing
    gc.collect()
    gc.freeze()


def run_child(app: Umbel, message: dict[str, Any], control: socket.socket) -> None:
    """Be a child: attach, run until told to stop, leave."""
    with own_streams():
        _run_child(app, message, control)


def _run_child(app: Umbel, message: dict[str, Any], control: socket.socket) -> None:
    orders = Orders.from_data(message["orders"])
    set_up_logging(app, orders, message["number"])
    pause_in_order()
    pid = os.getpid()
    page = (SlotPage if orders.slots else Page).open(Path(message["page"]))
    settings = app.conf.snapshot
    lifetime = Lifetime(settings.worker_max_tasks_per_child, settings.worker_max_memory_per_child)
    child = make_child(app, orders, page, pid, lifetime)
    if orders.slots:
        sys.setswitchinterval(min(SWITCH, sys.getswitchinterval()))
    child.on_retire = partial(_say, control, RETIRES)
    child.termination.may_end_process = True
    child.expect = Allowance().expect
    helper = make_helper(child, page, control, app.clock)
    app.on_after_fork.send(app)
    signals.worker_process_init.send(orders.hostname)
    helper.start()
    child.attach()
    if not child.stopping.is_set():  # else it takes no messages, and may have given up to attach
        _say(control, READY)
    Worker(child.run).workloop(pid=pid)
    app.close()


def _say(control: socket.socket, word: bytes) -> None:
    with contextlib.suppress(OSError):  # the supervisor is dead, and the helper knows
        control.send(word)


def make_child(
    app: Umbel, orders: Orders, page: Page, pid: int, lifetime: Lifetime | None = None
) -> Child:
    """Return a child of this process."""
    started = my_start_time()

    def attach() -> Settler:
        owner = Owner(unique_id(), orders.node, platform.node(), pid)
        broker = app.broker
        # Identified first: whoever finds the page of a dead process finds all that it may hold.
        page.identify(pid, started, owner.id)
        consumer = broker.consumer(owner, app.conf.snapshot.worker_lease_ttl)
        consumer.adopts, consumer.patient = orders.slots > 0, True
        return Settler(broker, consumer, app.results, Chords(app, app.results))

    limits = Limits(lifetime or Lifetime(), Rates(app.clock, page.path.parent))
    if not isinstance(page, SlotPage):
        return Child(app, orders.queues, orders.hostname, pid, page, attach, limits)
    executor = make_executor(app, orders)
    child = SlotChild(app, orders.queues, orders.hostname, pid, page, attach, executor)
    child.heed(limits)
    return child


def make_executor(app: Umbel, orders: Orders) -> Executor:
    """Return what runs the tasks of a child that runs many at a time."""
    if orders.executor == "asyncio":
        threads = app.conf.snapshot.worker_sync_threads or 1
        return AsyncioExecutor(orders.slots, min(threads, orders.slots))
    return ThreadExecutor(orders.slots)


def make_helper(
    child: Child,
    page: Page,
    control: socket.socket,
    clock: Clock,
    exit_code: Callable[[], int] = lambda: 1,
) -> Helper:
    """Return what looks after a child of this process."""
    if isinstance(child, SlotChild):
        return SlotHelper(child, page, control, clock, exit_code=exit_code)
    return Helper(child, page, control, clock, exit_code=exit_code)


def _run_and_exit(app: Umbel, message: dict[str, Any], control: socket.socket) -> NoReturn:
    """Run a forked child; the fork server's own code must not go on in it."""
    status = 1
    try:
        run_child(app, message, control)
        status = 0
    except BaseException:  # noqa: BLE001 - the last frame of a process: everything is shown
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _first_line(connection: socket.socket) -> Any:
    """Read one message and nothing behind it; None at the end of the pipe."""
    line = b""
    while not line.endswith(b"\n"):
        ahead = connection.recv(65536, socket.MSG_PEEK)
        if not ahead:
            return None
        line += connection.recv(ahead.find(b"\n") + 1 or len(ahead))
    return json.loads(line)


def _close(numbers: Iterable[int]) -> None:
    """Close what was inherited from whoever started the worker."""
    for number in numbers:
        with contextlib.suppress(OSError):
            os.close(number)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep warnings back: the supervisor imports the same modules, and has told them.

    What the modules themselves set of warnings and logging stays.
    """
    manager = logging.getLogger().manager
    show, disabled = warnings.showwarning, manager.disable

    def keep_back(*warning: object, **more: object) -> None:
        pass

    warnings.showwarning = keep_back
    logging.disable(KEPT_BACK)
    try:
        yield
    finally:
        if warnings.showwarning is keep_back:
            warnings.showwarning = show
        if manager.disable == KEPT_BACK:
            logging.disable(disabled)


def _load(source: Source, connection: socket.socket) -> Umbel:
    """Import the app; whatever comes from the supervisor meanwhile, or its end, ends this process.

    It can only be that the process is not wanted any more, and an import that hangs does not see it.
    """
    with _silence(), signalled_by(connection.fileno()):
        if select.select([connection], [], [], 0)[0]:  # it came before
            os._exit(1)
        return source.load()


def _serve(connection: socket.socket, *, alone: bool) -> int:
    """Import the app and fork children of it or, when `alone`, be a single child of it."""
    if alone:
        heed_nothing()
    else:  # while it imports it has no children to care for, and any signal may end it
        heed_all()
    _close(number for number in open_descriptors() if number != connection.fileno())
    first = _first_line(connection)
    if first is None:
        return 1
    sys.argv[:], sys.path[:] = first["argv"], first["path"]
    if alone:
        run_child(_load(Orders.from_data(first["orders"]).source, connection), first, connection)
        return 0
    channel = Channel(connection)
    try:
        app = _load(Source(**first["source"]), connection)
    except BaseException as error:  # noqa: BLE001 - whatever it raises is the supervisor's to show
        with contextlib.suppress(OSError):  # the supervisor met the same and is gone
            channel.send({"failed": traceback_text(error)})
        return 1
    heed_nothing()
    unsafe = threads_and_connections([connection.fileno()])
    try:
        channel.send({"ready": True, "unsafe": unsafe})
    except OSError:  # the supervisor found out that it cannot run this app, and is gone
        return 1
    load_once(app)
    ForkServer(channel).serve(app)
    return 0


def _serve_forked(app: Umbel, connection: socket.socket, foreign: Collection[int]) -> int:
    heed_nothing()
    _close(foreign)
    ForkServer(Channel(connection)).serve(app)
    return 0


def serve_forked(app: Umbel, connection: socket.socket, foreign: Collection[int]) -> NoReturn:
    """Be the fork server on this socket, of an app that is imported; end the process then.

    The `foreign` file descriptors are closed: they are the supervisor's.
    """
    _end(lambda: _serve_forked(app, connection, foreign))


def serve(connection: socket.socket, *, alone: bool = False) -> NoReturn:
    """Be the fork server on this socket or, when `alone`, a single child; end the process then."""
    _end(lambda: _serve(connection, alone=alone))


def _end(run: Callable[[], int]) -> NoReturn:
    """Run, and end the process."""
    code = 1
    try:
        code = run()
    except BaseException:  # noqa: BLE001 - the last frame of a process: everything is shown
        traceback.print_exc()
    # The interpreter would wait for threads that the app started when it was imported.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])), alone="--child" in sys.argv)
