"""A worker within a process that does other things too, such as running tests.

Its tasks run in threads, each with the loop of a child and its helper. It has no supervisor and writes no
file: nobody can take over at once when its process dies, so its tasks run again when its leases end.
"""

from __future__ import annotations

import contextlib
import contextvars
import logging
import os
import platform
import socket
import threading
from collections.abc import Sequence
from types import TracebackType

from umbel import current, signals
from umbel.app import Umbel
from umbel.broadcasts import listening
from umbel.clock import unique_id
from umbel.exceptions import ImproperlyConfigured, LeaseLost, OperationalError, QueueNotFound
from umbel.ports import Owner, StateStore
from umbel.worker.child import Child
from umbel.worker.completing import Chords
from umbel.worker.helper import Helper
from umbel.worker.lifetime import Lifetime
from umbel.worker.limits import Limits
from umbel.worker.page import Page
from umbel.worker.processes import my_start_time
from umbel.worker.rates import Rates
from umbel.worker.recovery import Recovery
from umbel.worker.revocation_watch import LOOK, RevocationWatch
from umbel.worker.settler import Settler
from umbel.worker.timers import Timer

logger = logging.getLogger("umbel.worker")

#: What a broker that does not answer, or took this worker for dead, raises.
_UNANSWERED = (OperationalError, LeaseLost)


class EmbeddedWorker:
    """Runs an app's tasks in `concurrency` threads of this process, between `start` and `stop`.

    It consumes from `queues`, else from those that the app declares, but for `exclude_queues`.
    """

    def __init__(
        self,
        app: Umbel,
        *,
        hostname: str | None = None,
        queues: Sequence[str] = (),
        exclude_queues: Sequence[str] = (),
        concurrency: int = 1,
    ) -> None:
        self.app = app
        self.hostname = hostname or f"gen{os.getpid()}@{platform.node()}"
        self.concurrency = concurrency
        self.queues = _consumed(app, queues, exclude_queues)
        self._node = unique_id()
        #: What is left of its rates, for all of its threads.
        self.limits = Limits(Lifetime(), Rates(app.clock))
        self._lanes = [_Lane(self, number) for number in range(1, concurrency + 1)]
        self._keeper = _Keeper(self)

    def start(self, timeout: float = 10.0) -> None:
        """Start the threads; return when all are attached to the broker.

        Raises OperationalError, and leaves nothing, when that takes longer than `timeout` seconds.
        """
        signals.worker_init.send(self)
        for lane in self._lanes:
            lane.start()
        self._keeper.start()
        if not all(lane.ready.wait(timeout) for lane in self._lanes):
            self.stop(timeout)
            where = self.app.show_url(self.app.broker_url)
            raise OperationalError(f"The broker {where} did not answer within {timeout:g} s.")

    def stop(self, timeout: float = 10.0) -> None:
        """Let the threads end after their current tasks; what has not started goes back to its queue.

        Raises RuntimeError when a task is still running after `timeout` seconds, and the error by which a
        thread ended before its time.
        """
        for lane in self._lanes:
            lane.tell_to_stop()
        busy = [lane for lane in self._lanes if not lane.join(timeout)]
        if busy:
            raise RuntimeError(
                f"The worker still runs {', '.join(lane.doing for lane in busy)} after {timeout:g} s. Wait"
                " for what the test has started, or give the worker a longer shutdown_timeout."
            )
        self._keeper.stop()
        signals.worker_shutdown.send(self)
        for lane in self._lanes:
            if lane.error is not None:
                raise lane.error

    def attach(self, page: Page | None = None) -> Settler:
        """Return what settles for a consumer of this node."""
        owner = Owner(unique_id(), self._node, platform.node(), os.getpid())
        if page is not None:
            page.identify(os.getpid(), my_start_time(), owner.id)
        app = self.app
        consumer = app.broker.consumer(owner, app.conf.snapshot.worker_lease_ttl)
        consumer.patient = True
        return Settler(app.broker, consumer, app.results, Chords(app, app.results))

    @property
    def pages(self) -> list[Page]:
        """What its threads share with who watches over them."""
        return [lane.page for lane in self._lanes]

    @property
    def node(self) -> str:
        """The id under which its leases are renewed."""
        return self._node

    def __enter__(self) -> EmbeddedWorker:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()


class _Lane:
    """A thread that runs tasks, and the helper that looks after it."""

    def __init__(self, worker: EmbeddedWorker, number: int) -> None:
        self._app = app = worker.app
        self._hostname = worker.hostname
        self.page = page = Page.private()
        self._ours, self._theirs = socket.socketpair()
        self._child = Child(
            app,
            worker.queues,
            worker.hostname,
            os.getpid(),
            page,
            lambda: worker.attach(page),
            worker.limits,
        )
        self._helper = Helper(self._child, page, self._theirs, app.clock, self._give_up)
        # A context of its own: a worker does not run within the task, or the app, of who started it.
        self._thread = threading.Thread(
            target=contextvars.Context().run,
            args=(self._run,),
            name=f"umbel-worker-{number}",
            daemon=True,
        )
        self.ready = threading.Event()
        self.error: BaseException | None = None

    def start(self) -> None:
        """Start both threads."""
        self._helper.start()
        self._thread.start()

    @property
    def doing(self) -> str:
        """What it runs, in words."""
        waiting = self._child.current
        call = None if waiting is None else waiting.prepared.call
        return "something" if call is None else f"{call.task}[{call.id}]"

    def tell_to_stop(self) -> None:
        """Let it end after its current task."""
        with contextlib.suppress(OSError):  # it has ended
            self._ours.send(b"stop")

    def join(self, timeout: float) -> bool:
        """Wait for its end; True when it has come, and nothing is left of it."""
        self._thread.join(timeout)
        if self._thread.is_alive():
            return False
        if self._ours.fileno() >= 0:
            self._helper.end()
            self._ours.close()
            self._theirs.close()
            self.page.close()
        return True

    def _run(self) -> None:
        current.set_current_app(self._app)
        try:
            signals.worker_process_init.send(self._hostname)
            self._child.attach()
            if not self._child.stopping.is_set():
                self.ready.set()
            self._child.run()
        except BaseException as error:  # noqa: BLE001 - the thread's last frame: `stop` raises it
            self.error = error
            with contextlib.suppress(*_UNANSWERED):  # what it held goes back
                self._child.consumer.close()

    def _give_up(self, code: int) -> None:
        """End without a helper, which has failed: nobody would hear of the end of the worker."""
        self._child.stopping.set()
        self._child.interrupt()


class _Keeper:
    """A thread that renews the leases of an embedded worker, and reclaims those that ended."""

    def __init__(self, worker: EmbeddedWorker) -> None:
        self._worker = worker
        app = worker.app
        self._broker, self._ttl = app.broker, app.conf.snapshot.worker_lease_ttl
        self._recovery = Recovery(app, app.broker, worker.attach)
        queues = [app.amqp.queues[name] for name in worker.queues]
        admin = app.engine(app.broker_url).queues
        self._listening = listening(queues, app.engines.state_store, admin, self._ttl)
        self._watch = RevocationWatch(self._state, lambda: worker.pages)
        url, tells = app.engines.state_url, app.broker.features.tells_revocations
        #: Where the state is elsewhere, and may be silent, nobody who renews leases waits for it.
        self._looks = url == app.broker_url and tells
        self._is_kept = url is not None
        self._ended = threading.Event()
        self._silent = False
        self._thread = threading.Thread(target=self._run, name="umbel-leases", daemon=True)

    def _state(self) -> StateStore | None:
        engines = self._worker.app.engines
        return None if engines.state_url is None else engines.state_store()

    def start(self) -> None:
        """Start the thread; publishers know of the worker's own queues when this returns."""
        if self._listening is not None:
            self._listening.renew()
        self._thread.start()
        if self._is_kept and not self._looks:
            self._watch.start()

    def stop(self) -> None:
        """End the thread, and what it holds."""
        self._ended.set()
        self._watch.end()
        self._thread.join()
        with contextlib.suppress(*_UNANSWERED):
            self._recovery.close()
            if self._listening is not None:
                self._listening.leave()

    def _renew(self) -> None:
        self._broker.renew(self._worker.node, self._ttl)
        if self._listening is not None:
            self._listening.renew()
        self._recovery.settle_undecided()
        self._recovery.expired(self._worker.node)

    def _run(self) -> None:
        clock = self._worker.app.clock
        renewal = Timer(self._ttl / 3, clock.monotonic() + self._ttl / 3)
        while not self._ended.wait(min(self._ttl / 3, LOOK)):
            try:
                if renewal.is_due(clock.monotonic()):
                    self._renew()
                if self._looks:
                    self._watch.step()
                self._silent = False
            except LeaseLost:
                self._recovery.start_over()
            except OperationalError as error:
                if not self._silent:
                    logger.warning("The broker does not answer; leases are not renewed. %s", error)
                self._silent = True


def _consumed(app: Umbel, queues: Sequence[str], exclude: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the queues to consume from; the app's own selection stays as it is."""
    known = app.amqp.queues
    try:
        chosen = [known[name].name for name in queues] if queues else list(known.consume_from)
    except QueueNotFound as error:
        raise ImproperlyConfigured(f"The worker cannot consume from a queue: {error}") from None
    left = [name for name in chosen if name not in exclude]
    if not left:
        raise ImproperlyConfigured(f"No queue is left to consume from without {list(exclude)}.")
    return tuple(left)
