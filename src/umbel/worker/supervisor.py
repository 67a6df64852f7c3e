"""The supervisor: the main process of a node. It starts the parts, and stops them when told to (stops.py).

It imports the app, since it needs its settings and its receivers of signals, but it never runs a
task. Everything that tasks depend on, leases and children, is the keeper's, on a thread that runs
no code of users.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from umbel import signals
from umbel.app import Umbel
from umbel.clock import SYSTEM, unique_id
from umbel.entities import worker_direct
from umbel.exceptions import ImproperlyConfigured, QueueNotFound, SecurityError
from umbel.redirected import own_streams
from umbel.tracebacks import traceback_text
from umbel.worker.autoscale import Bounds
from umbel.worker.banner import banner
from umbel.worker.bootstrap import CONCURRENT, Orders, Source, set_up_logging
from umbel.worker.budget import too_few_connections
from umbel.worker.children import Nursery
from umbel.worker.content import check_content, this_user
from umbel.worker.daemon import pidfile_of
from umbel.worker.forkserver import make_child, make_helper
from umbel.worker.helper import stop_word
from umbel.worker.node import Node
from umbel.worker.pauses import pause_in_order
from umbel.worker.places import GaveUp
from umbel.worker.restart import start_again
from umbel.worker.stops import BrokenOff, Patience, Stops, heed_no_more_at_exit
from umbel.worker.timelimits import hard_limited
from umbel.worker.unheeded import unheeded

logger = logging.getLogger("umbel.worker")

CAN_FORK = hasattr(os, "fork")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the command line says of a node; what it leaves out is None, and the settings' to say."""

    hostname: str
    loglevel: str
    logfile: str | None = None
    queues: tuple[str, ...] = ()
    concurrency: int | None = None
    scale: Bounds | None = None
    executor: str | None = None
    exclude_queues: tuple[str, ...] = ()
    purge: bool = False
    quiet: bool = False
    pidfile: str | None = None
    #: What runs in the supervisor's process beside the node: beat.
    beside: Callable[[Umbel], AbstractContextManager[None]] | None = None


def run_worker(source: Source, wanted: Wanted, begun_in: str | None = None) -> int:
    """Run a node until it is stopped; return the exit code of the process.

    `begun_in` is the directory in which the program was started, if HUP may start it again.
    """
    _open_standard_streams()
    stops = Stops()
    stops.listen()
    heed_no_more_at_exit()
    with contextlib.ExitStack() as until_end:
        code = _run_in_order(source, wanted, stops, until_end)
        if stops.restart and begun_in is not None:
            print(f"Restarting the worker {wanted.hostname}", file=sys.stderr, flush=True)
            start_again(begun_in)
    return code


def _run_in_order(
    source: Source, wanted: Wanted, stops: Stops, until_end: contextlib.ExitStack
) -> int:
    """Run a node and say what was wrong, if anything was. `until_end` is left when the process ends."""
    forks = wanted.executor != "solo" and CAN_FORK
    nursery = Nursery(source, SYSTEM) if forks else None
    try:
        with own_streams():
            return _run(source, wanted, stops, nursery, until_end)
    except BrokenOff:
        return stops.exit_code
    except (ImproperlyConfigured, SecurityError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    except Exception as error:  # noqa: BLE001 - importing runs code of users, and may raise anything
        what = "failed" if stops.running else "could not start"
        text = traceback_text(error)
        print(f"{text}Error: the worker of {source.app} {what}.", file=sys.stderr)
        return 1
    finally:
        if nursery is not None:
            nursery.close()


def _run(
    source: Source,
    wanted: Wanted,
    stops: Stops,
    nursery: Nursery | None,
    until_end: contextlib.ExitStack,
) -> int:
    console = sys.stdout
    with stops.breakable():
        app = source.load()
        executor, in_children = _executor(app, wanted)
        if nursery is not None and in_children:
            nursery.fork(app)
        if wanted.pidfile is None:
            until_end.enter_context(pidfile_of(app.conf.snapshot, wanted.hostname))
        orders = _orders(app, source, wanted, executor)
        set_up_logging(app, orders)
        check_content(app.conf.snapshot, this_user(), os.environ)
        _check_places(app)
        signals.worker_init.send(None)
    with contextlib.suppress(OSError):  # nobody reads it
        if not wanted.quiet:
            print(banner(app, orders), file=console, flush=True)
    asked = wanted.executor or app.conf.snapshot.worker_pool
    for said in unheeded(app, asked, executor, os.environ, wanted.scale is not None):
        logger.warning("%s", said)
    urls = {app.broker_url, app.result_url or app.broker_url}
    # Two databases of one server say the same.
    for warning in sorted({text for url in urls for text in app.engine(url).warnings()}):
        logger.warning("%s", warning)
    for warning in too_few_connections(app, orders):
        logger.warning("%s", warning)
    if wanted.purge:
        deleted = sum(app.queues.purge(queue) for queue in orders.queues)
        logger.warning("Deleted %d waiting messages, as --purge says.", deleted)
    with contextlib.nullcontext() if wanted.beside is None else wanted.beside(app):
        if nursery is not None and in_children:
            return _run_children(app, orders, nursery, stops)
        return _run_alone(app, orders, stops)


def _check_places(app: Umbel) -> None:
    """Raise ImproperlyConfigured for a place that no waiting mends: children would die of it, one by one."""
    for url in dict.fromkeys(filter(None, (app.broker_url, app.result_url, app.engines.state_url))):
        problem = app.engine(url).problem()
        if problem is not None:
            raise ImproperlyConfigured(problem)


def _open_standard_streams() -> None:
    """Open those that were closed (``umbel worker >&-``): else what is opened next takes their numbers."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(number, True)
    os.close(number)
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115 - for the life of the process
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115


#: Names of Celery's that mean one of ours.
_MEANT = {"processes": "prefork", "gevent": "threads", "eventlet": "threads"}
#: Tasks at a time for ``asyncio``, where nothing else is said: they wait most of the time.
COROUTINES = 100


def _executor(app: Umbel, wanted: Wanted) -> tuple[str, bool]:
    """Return what is to run the tasks, and whether in child processes.

    Raises ImproperlyConfigured where it cannot run here.
    """
    name = wanted.executor or app.conf.snapshot.worker_pool
    executor = _MEANT.get(name, name)
    if executor == "custom":
        raise ImproperlyConfigured(
            "-P custom takes a class of Celery's pools, which umbel has no use for: its children fetch for"
            " themselves. Use -P prefork, threads, asyncio or solo."
        )
    shared = app.engine(app.broker_url).features.shared
    if executor in CONCURRENT:
        return executor, CAN_FORK and shared
    if executor == "prefork" and not CAN_FORK:
        if wanted.executor is not None:
            raise ImproperlyConfigured(
                "This system cannot fork processes. Use -P solo or -P threads."
            )
        executor = "solo"
    if executor == "prefork" and not shared:
        raise ImproperlyConfigured(
            f"{app.broker_url} lives in one process, which child processes cannot reach. Use -P solo, or"
            " another broker_url."
        )
    return executor, executor == "prefork"


def _orders(app: Umbel, source: Source, wanted: Wanted, executor: str) -> Orders:
    settings = app.conf.snapshot
    scale = wanted.scale if executor in ("prefork", *CONCURRENT) else None
    default = COROUTINES if executor == "asyncio" else os.cpu_count() or 1
    concurrency, processes = wanted.concurrency or settings.worker_concurrency, None
    if scale is not None and executor in CONCURRENT:
        concurrency = concurrency or scale.most
        scale = scale.divided(concurrency)
        processes = scale.fewest
    elif scale is not None:
        concurrency = scale.fewest
    return Orders(
        source=source,
        queues=consumed(app, wanted),
        hostname=wanted.hostname,
        node=unique_id(),
        concurrency=concurrency or default,
        loglevel=wanted.loglevel,
        logfile=wanted.logfile or settings.worker_logfile or None,
        executor=executor,
        processes=processes or settings.worker_processes or 1,
        most=None if scale is None else scale.most,
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


def patience(app: Umbel) -> Patience:
    """Return for how long the settings let running tasks go on when the node is stopped."""
    settings = app.conf.snapshot
    return Patience(settings.worker_shutdown_timeout, settings.worker_soft_shutdown_timeout)


def _run_children(app: Umbel, orders: Orders, nursery: Nursery, stops: Stops) -> int:
    node = Node(app, orders, nursery)
    try:
        with node.probed():
            with stops.breakable():
                node.set_up()
            stops.hand_over(node.keeper.stop, orders.hostname, patience(app))
            pause_in_order()
            with node.steps.running(lambda: stops.cold), node.kept():
                if node.wait_until_ready():
                    node.steps.start_consumer()
                    node.say_ready()
                node.wait()
    finally:
        node.leave()
    return _ended(node, stops)


def _say_what_solo_enforces(app: Umbel) -> None:
    concerned = hard_limited(app)
    if concerned:
        logger.warning(
            "-P solo enforces no hard time limits: tasks run in the worker's own process, which it cannot"
            " kill. Soft limits are enforced. It concerns %s.",
            ", ".join(concerned),
        )


def _run_alone(app: Umbel, orders: Orders, stops: Stops) -> int:
    """Run tasks in this very process: for debugging, and where there are no other processes."""
    node = Node(app, orders, nursery=None)
    node.set_up()
    if not orders.slots:
        _say_what_solo_enforces(app)
    page = node.directory.new_page(unique_id(), orders.slots)
    node.pages.append(page)
    child = make_child(app, orders, page, os.getpid())
    ours, theirs = socket.socketpair()
    helper = make_helper(child, page, theirs, app.clock, lambda: stops.exit_code)

    def stop(within: float | None = None) -> None:
        with contextlib.suppress(OSError):
            ours.send(stop_word(within))

    stops.hand_over(stop, orders.hostname, patience(app))
    pause_in_order()
    node.keeper.on_end = stop
    with node.probed(), node.steps.running(lambda: stops.cold), node.kept():
        node.listen()
        helper.start()
        signals.worker_process_init.send(orders.hostname)
        child.attach()
        if not child.stopping.is_set():
            node.steps.start_consumer()
            node.say_ready()
        child.run()
    node.leave()
    return _ended(node, stops)


def _ended(node: Node, stops: Stops) -> int:
    """Return the exit code, and say in the log, whatever its level is, what made the node end by itself."""
    error = node.keeper.error
    if error is None:
        return stops.exit_code
    if isinstance(error, GaveUp):
        logger.critical("The worker gives up: %s", error)
    else:
        logger.critical("The worker ends: what watches over its children failed.", exc_info=error)
    return 1
