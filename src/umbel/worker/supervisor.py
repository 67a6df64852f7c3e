"""The supervisor: the main process of a node. It starts the parts, takes signals, and stops the parts.

It imports the app, since it needs its settings and its receivers of signals, but it never runs a
task. Everything that tasks depend on, leases and children, is the keeper's, on a thread that runs
no code of users.
"""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType

from umbel import signals
from umbel.app import Umbel
from umbel.broadcasts import Listening
from umbel.clock import SYSTEM, unique_id
from umbel.entities import Broadcast, worker_direct
from umbel.exceptions import ImproperlyConfigured, QueueNotFound, SecurityError, UmbelError
from umbel.ports import Owner
from umbel.tracebacks import traceback_text
from umbel.worker.banner import banner
from umbel.worker.bootstrap import Orders, Source, set_up_logging
from umbel.worker.children import Nursery, StartFailed
from umbel.worker.content import check_content, this_user
from umbel.worker.forkserver import make_child
from umbel.worker.helper import Helper
from umbel.worker.keeper import Keeper
from umbel.worker.nodes import NodeDirectory, runtime_directory
from umbel.worker.recovery import Recovery
from umbel.worker.settler import Settler

logger = logging.getLogger("umbel.worker")

CAN_FORK = hasattr(os, "fork")

Stop = Callable[[bool], None]


class Node:
    """What every node has, whatever runs its tasks.

    A place on its host, leases of its own, and a keeper.
    """

    def __init__(self, app: Umbel, orders: Orders, nursery: Nursery | None) -> None:
        self.app = app
        self.orders = orders
        # Connections of the keeper's own: it must never wait for one that user code is using.
        self._engines = {
            url: app.new_engine(url) for url in {app.broker_url, app.result_url} if url
        }
        broker = self._engines[app.broker_url].broker
        if broker is None:
            raise ImproperlyConfigured(f"broker_url names no broker: {app.broker_url}")
        results = self._engines[app.result_url].results if app.result_url else None
        self.directory = NodeDirectory(runtime_directory(app.show_url(app.broker_url)), orders.node)
        self.directory.enter("")

        def attach() -> Settler:
            owner = Owner(unique_id(), orders.node, platform.node(), os.getpid())
            # Written down first: whoever finds this node dead finds all that it may hold.
            self.directory.enter(owner.id)
            consumer = broker.consumer(owner, app.conf.snapshot.worker_lease_ttl)
            return Settler(broker, consumer, results)

        self._recovery = recovery = Recovery(app, broker, attach)
        self.nursery = nursery
        self.keeper = Keeper(
            app,
            orders,
            broker,
            results,
            recovery,
            self.directory,
            nursery,
        )
        self._listening = self._listen()
        if self._listening is not None:
            self.keeper.on_renewal = self._listening.renew

    def _listen(self) -> Listening | None:
        """Return what tells the publishers of broadcasts about this node's own queues, if it has any."""
        queues = [self.app.amqp.queues[name] for name in self.orders.queues]
        own = {
            queue.name: queue.exchange.name
            for queue in queues
            if isinstance(queue, Broadcast) and queue.is_unique and queue.exchange
        }
        if not own:
            return None
        engine = self._engines[self.app.broker_url]
        if engine.state is None:
            raise ImproperlyConfigured(
                f"This broker cannot broadcast to {', '.join(own.values())}."
            )
        ttl = self.app.conf.snapshot.worker_lease_ttl
        return Listening(engine.state, engine.queues, own, ttl)

    def say_set_up(self) -> None:
        """Say that the node is made, and about to start."""
        hostname = self.orders.hostname
        signals.celeryd_after_setup.send(hostname, instance=self, conf=self.app.conf)

    def say_ready(self) -> None:
        """Say that the node takes messages."""
        logger.info("%s ready.", self.orders.hostname)
        signals.worker_ready.send(self)

    def leave(self) -> None:
        """Give up the node's place; nothing of it is left behind."""
        if self.nursery is not None:
            self.nursery.close()
        try:
            self._recovery.close()
            if self._listening is not None:
                self._listening.leave()
        except UmbelError as error:
            logger.warning("Leaving without the broker's answer. %s", error)
        self.directory.leave()
        for engine in self._engines.values():
            engine.close()
        signals.worker_shutdown.send(self)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the command line says of a node; what it leaves out is None, and the settings' to say."""

    hostname: str
    loglevel: str
    queues: tuple[str, ...] = ()
    concurrency: int | None = None
    executor: str | None = None
    exclude_queues: tuple[str, ...] = ()
    purge: bool = False
    quiet: bool = False


def run_worker(source: Source, wanted: Wanted) -> int:
    """Run a node until it is stopped; return the exit code of the process."""
    nursery = None
    if wanted.executor != "solo" and CAN_FORK:
        # It imports the app while this process does: with two processors that takes half the time.
        nursery = Nursery(source, SYSTEM)
        nursery.launch()
    try:
        app = source.load()
        executor = _executor(app, wanted)
        orders = _orders(app, source, wanted)
        set_up_logging(app, orders.loglevel, "MainProcess")
        check_content(app.conf.snapshot, this_user(), os.environ)
        signals.worker_init.send(None)
        if not wanted.quiet:
            print(banner(app, orders, executor), file=sys.stdout, flush=True)
        if wanted.purge:
            deleted = sum(app.queues.purge(queue) for queue in orders.queues)
            logger.warning("Deleted %d waiting messages, as --purge says.", deleted)
        if nursery is None or executor == "solo":
            return _run_solo(app, orders)
        return _run_prefork(app, orders, nursery)
    except (ImproperlyConfigured, SecurityError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    except StartFailed as failure:
        print(f"{failure}\nError: importing the app {source.app} failed.", file=sys.stderr)
        return 1
    except Exception as error:  # noqa: BLE001 - importing runs code of users, and may raise anything
        text = traceback_text(error)
        print(f"{text}Error: the worker of {source.app} could not start.", file=sys.stderr)
        return 1
    finally:
        if nursery is not None:
            nursery.close()


def _executor(app: Umbel, wanted: Wanted) -> str:
    """Return what is to run the tasks. Raises ImproperlyConfigured where it cannot run here."""
    executor = wanted.executor or app.conf.snapshot.worker_pool
    if executor == "prefork" and not CAN_FORK:
        if wanted.executor is not None:
            raise ImproperlyConfigured("This system cannot fork processes. Use -P solo.")
        executor = "solo"
    if executor == "prefork" and not app.engine(app.broker_url).features.shared:
        raise ImproperlyConfigured(
            f"{app.broker_url} lives in one process, which child processes cannot reach. Use -P solo, or"
            " another broker_url."
        )
    return executor


def _orders(app: Umbel, source: Source, wanted: Wanted) -> Orders:
    settings = app.conf.snapshot
    return Orders(
        source=source,
        queues=consumed(app, wanted),
        hostname=wanted.hostname,
        node=unique_id(),
        concurrency=wanted.concurrency or settings.worker_concurrency or os.cpu_count() or 1,
        loglevel=wanted.loglevel,
    )


def consumed(app: Umbel, wanted: Wanted) -> tuple[str, ...]:
    """Return the queues to consume from: those asked for, else the declared ones, else the default."""
    queues = app.amqp.queues
    try:
        queues.select(wanted.queues)
    except QueueNotFound as error:
        raise ImproperlyConfigured(f"-Q {','.join(wanted.queues)}: {error}") from None
    queues.deselect(wanted.exclude_queues)
    if app.conf.snapshot.worker_direct:
        queues.select_add(worker_direct(wanted.hostname))
    if not queues.consume_from:
        raise ImproperlyConfigured(
            f"No queue is left to consume from: -X {','.join(wanted.exclude_queues)} excludes all there are."
        )
    return tuple(queues.consume_from)


def _run_prefork(app: Umbel, orders: Orders, nursery: Nursery) -> int:
    node = Node(app, orders, nursery)
    try:
        nursery.wait_until_ready()
    except StartFailed:
        node.leave()
        raise
    node.say_set_up()
    stops = _Stops(node.keeper.stop)
    stops.listen()
    node.keeper.start()
    node.keeper.ready.wait()
    if node.keeper.is_ready:
        node.say_ready()
    node.keeper.join()
    node.leave()
    return _ended(node, stops)


def _run_solo(app: Umbel, orders: Orders) -> int:
    """Run tasks in this very process: for debugging, and for systems without fork."""
    node = Node(app, orders, nursery=None)
    node.say_set_up()
    page = node.directory.new_page(unique_id())
    child = make_child(app, orders, page, os.getpid())
    ours, theirs = socket.socketpair()
    helper = Helper(child, page, theirs, app.clock)
    stops = _Stops(lambda cold: _stop_solo(ours, cold))
    stops.listen()
    node.keeper.on_end = lambda: _stop_solo(ours, cold=False)
    node.keeper.start()
    helper.start()
    signals.worker_process_init.send(None)
    node.say_ready()
    child.run()
    node.keeper.stop()
    node.keeper.join()
    node.leave()
    return _ended(node, stops)


def _stop_solo(control: socket.socket, cold: bool) -> None:
    if cold:
        # The page tells whoever takes over what was running; nothing is lost.
        os._exit(1)
    with contextlib.suppress(OSError):
        control.send(b"stop")


def _ended(node: Node, stops: _Stops) -> int:
    if node.keeper.error is not None:
        traceback.print_exception(node.keeper.error)
        return 1
    return stops.exit_code


class _Stops:
    """Celery's signals: TERM and the first INT stop warmly, QUIT and the second INT at once."""

    def __init__(self, stop: Stop) -> None:
        self._stop = stop
        self._asked = False
        self.exit_code = 0

    def listen(self) -> None:
        """Take the signals from here on."""
        signal.signal(signal.SIGTERM, self._warm)
        signal.signal(signal.SIGINT, self._interrupted)
        if hasattr(signal, "SIGQUIT"):
            signal.signal(signal.SIGQUIT, self._cold)

    def _warm(self, signum: int, frame: FrameType | None) -> None:
        self._asked = True
        _say("worker: Warm shutdown (MainProcess)")
        signals.worker_shutting_down.send(
            None, sig=signal.Signals(signum).name, how="Warm", exitcode=self.exit_code
        )
        self._stop(False)

    def _interrupted(self, signum: int, frame: FrameType | None) -> None:
        if self._asked:
            return self._cold(signum, frame)
        self.exit_code = 1
        _say(
            "worker: Hitting Ctrl+C again will initiate cold shutdown, terminating all running tasks!"
        )
        return self._warm(signum, frame)

    def _cold(self, signum: int, frame: FrameType | None) -> None:
        self._asked = True
        self.exit_code = 1
        _say("worker: Cold shutdown (MainProcess)")
        signals.worker_shutting_down.send(
            None, sig=signal.Signals(signum).name, how="Cold", exitcode=1
        )
        self._stop(True)


def _say(text: str) -> None:
    """Print from a signal handler, where buffered output might be in the middle of something."""
    os.write(1, f"\n{text}\n".encode())
