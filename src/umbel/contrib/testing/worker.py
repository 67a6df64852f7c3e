"""A worker in the process of the tests: `start_worker`."""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module, reload
from types import MappingProxyType
from typing import Any

from umbel import current
from umbel.app import Umbel
from umbel.contrib.testing import tasks
from umbel.exceptions import ImproperlyConfigured
from umbel.loggers import base_logger, mlevel
from umbel.nearest import meant
from umbel.result import allow_join_result
from umbel.signals import Signal
from umbel.worker.embedded import EmbeddedWorker

#: The level of the log of workers that are given none; without it, levels stay as they are.
WORKER_LOGLEVEL = os.environ.get("WORKER_LOGLEVEL")

test_worker_starting = Signal("test_worker_starting")
test_worker_started = Signal("test_worker_started", ("worker", "consumer"))
test_worker_stopped = Signal("test_worker_stopped", ("worker",))

#: Celery's executors, and whether one of them is an executor here that a process of tests can have.
_POOLS = {
    **dict.fromkeys(("solo", "threads", "thread"), True),
    **dict.fromkeys(("prefork", "processes", "gevent", "eventlet", "asyncio"), False),
}
#: Arguments of Celery's worker that change nothing which a test could see.
_WITHOUT_EFFECT = frozenset(
    (
        *("without_heartbeat", "without_mingle", "without_gossip", "heartbeat_interval"),
        *("ready_callback", "optimization", "O", "task_events", "send_events", "pidfile"),
        *("consumer_cls", "timer_cls", "timer_precision", "pool_putlocks", "pool_restarts"),
        *("prefetch_multiplier", "initial_prefetch_count", "use_eventloop", "worker_lost_wait"),
        *("statedb", "state_db", "disable_rate_limits", "max_tasks_per_child", "quiet"),
        *("max_memory_per_child", "redirect_stdouts", "redirect_stdouts_level", "no_color"),
    )
)
#: Arguments that would change something, and which workers in tests do not have.
_MISSING = frozenset(
    (
        *("time_limit", "soft_time_limit", "task_time_limit", "task_soft_time_limit", "beat"),
        *("autoscale", "autoscaler_cls", "scheduler", "scheduler_cls", "schedule_filename"),
    )
)
_HEEDED = ("hostname", "queues", "exclude_queues", "include")


class TestWorkController(EmbeddedWorker):
    """A worker that runs tasks in threads of this process, with the arguments of Celery's."""

    #: pytest must not take it for a class of tests.
    __test__ = False

    def __init__(
        self,
        app: Umbel,
        concurrency: int = 1,
        pool: Any = "solo",
        loglevel: int | str | None = None,
        logfile: str | None = None,
        **kwargs: Any,
    ) -> None:
        options = _checked(kwargs)
        for module in _listed(options.get("include")):
            import_module(module)
        super().__init__(
            app,
            hostname=options.get("hostname"),
            queues=_listed(options.get("queues")),
            exclude_queues=_listed(options.get("exclude_queues")),
            concurrency=_threads(pool, concurrency),
        )
        self.pool_cls = pool
        self.loglevel = loglevel
        self.logfile = logfile

    def start(self, timeout: float = 10.0) -> None:
        """Start it, and return when it takes messages."""
        super().start(timeout)
        self.on_consumer_ready(self)

    def on_consumer_ready(self, consumer: object) -> None:
        """Tell that the worker takes messages; for subclasses, which should call it."""
        test_worker_started.send(self.app, worker=self, consumer=consumer)

    def ensure_started(self) -> None:
        """Return: `start` has waited for that."""

    def reload(
        self, modules: Sequence[str] | None = None, reload: bool = False, reloader: Any = None
    ) -> None:
        """Import modules, with `reload` once more. Tasks that were made since the start are known anyway."""
        for name in modules or ():
            module = import_module(name)
            if reload:
                (reloader or _reload)(module)


_reload = reload


@contextmanager
def start_worker(
    app: Umbel,
    concurrency: int = 1,
    pool: Any = "solo",
    loglevel: int | str | None = WORKER_LOGLEVEL,
    logfile: str | None = None,
    perform_ping_check: bool = True,
    ping_task_timeout: float = 10.0,
    shutdown_timeout: float = 10.0,
    **kwargs: Any,
) -> Iterator[TestWorkController]:
    """Run a worker in this process, until the end of the block.

    It runs tasks in a thread, or in `concurrency` threads with ``pool="threads"``. Of Celery's other
    arguments `hostname`, `queues`, `exclude_queues` and `include` count. With `perform_ping_check` a task is
    run first, where the app keeps results. Raises RuntimeError when a task still runs `shutdown_timeout`
    seconds after the end of the block.
    """
    test_worker_starting.send(app)
    worker = None
    try:
        with _start_worker_thread(
            app,
            concurrency,
            pool,
            loglevel,
            logfile,
            perform_ping_check=perform_ping_check,
            shutdown_timeout=shutdown_timeout,
            **kwargs,
        ) as worker:
            if perform_ping_check and app.results is not None:
                _ping(app, worker, ping_task_timeout)
            yield worker
    finally:
        test_worker_stopped.send(app, worker=worker)


@contextmanager
def _start_worker_thread(
    app: Umbel,
    concurrency: int = 1,
    pool: Any = "solo",
    loglevel: int | str | None = WORKER_LOGLEVEL,
    logfile: str | None = None,
    WorkController: type[TestWorkController] = TestWorkController,
    perform_ping_check: bool = True,
    shutdown_timeout: float = 10.0,
    **kwargs: Any,
) -> Iterator[TestWorkController]:
    """Do what `start_worker` does, without its signals and its ping, by a class of one's own."""
    with current.restored(), _logging(loglevel, logfile):
        setup_app_for_worker(app, None, None)
        worker = WorkController(
            app=app,
            concurrency=concurrency,
            pool=pool,
            loglevel=loglevel,
            logfile=logfile,
            **kwargs,
        )
        worker.start()
        try:
            yield worker
        finally:
            worker.stop(shutdown_timeout)


def setup_app_for_worker(
    app: Umbel, loglevel: int | str | None = None, logfile: str | None = None
) -> None:
    """Complete the app and make it current; set up its logging where a level or a file is given."""
    app.finalize()
    app.set_current()
    app.set_default()
    if loglevel is not None or logfile is not None:
        app.log.setup(loglevel, logfile)


def _ping(app: Umbel, worker: TestWorkController, timeout: float) -> None:
    name = tasks.ping.name
    with allow_join_result():
        answer = app.tasks[name].apply_async(queue=worker.queues[0]).get(timeout=timeout)
    if answer != "pong":
        raise RuntimeError(f"The task {name} answered {answer!r}. Is it a task of your own?")


@contextmanager
def _logging(level: int | str | None, file: str | None) -> Iterator[None]:
    """Give umbel's loggers a level, and the root logger one more handler, until the end of the block.

    Other handlers stay: the program that runs the tests collects what they get.
    """
    with contextlib.ExitStack() as stack:
        if level is not None:
            stack.callback(base_logger.setLevel, base_logger.level)
            base_logger.setLevel(mlevel(level))
        if file is not None:
            handler = logging.FileHandler(file, encoding="utf-8", errors="backslashreplace")
            handler.setFormatter(logging.Formatter("[%(asctime)s: %(levelname)s] %(message)s"))
            stack.callback(handler.close)
            stack.callback(logging.getLogger().removeHandler, handler)
            logging.getLogger().addHandler(handler)
        yield


def _threads(pool: Any, concurrency: int) -> int:
    """Return how many threads stand for an executor, which is a name or, in Celery, a class."""
    name = (pool if isinstance(pool, str) else pool.__module__).partition(":")[0].split(".")[-1]
    if name not in _POOLS:
        raise ImproperlyConfigured(
            f"There is no executor {name!r} for a worker in this process.{meant(name, list(_POOLS))}"
            " Use 'solo', or 'threads' with a concurrency."
        )
    if not _POOLS[name]:
        warnings.warn(
            f"A worker in the process of the tests has no executor {name!r}: it runs tasks in"
            f" {concurrency} threads. Use pool='threads', or start `umbel worker` as a process.",
            stacklevel=2,
        )
    return 1 if name == "solo" else concurrency


def _checked(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the arguments that count. Raises TypeError for those that Celery's worker does not have."""
    known = (*_HEEDED, *sorted(_WITHOUT_EFFECT), *sorted(_MISSING))
    for name, value in given.items():
        if name not in known:
            raise TypeError(f"A worker takes no argument {name!r}.{meant(name, known)}")
        if name in _MISSING and value:
            warnings.warn(
                f"{name}={value!r} has no effect: a worker in the process of the tests has no such thing.",
                stacklevel=2,
            )
    return MappingProxyType({name: given[name] for name in _HEEDED if name in given})


def _listed(given: object) -> list[str]:
    """Return names that were given as a list, or as one text with commas."""
    if not given:
        return []
    if isinstance(given, str):
        return [name.strip() for name in given.split(",") if name.strip()]
    return [getattr(one, "name", None) or str(one) for one in given]  # type: ignore[attr-defined]
