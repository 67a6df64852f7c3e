"""The service: one beat, which sends what is due while it leads, and waits for its turn otherwise."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator
from importlib.metadata import entry_points
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from umbel import signals
from umbel.beat.definitions import problems
from umbel.beat.leader import PROLONG, Leadership
from umbel.beat.persistent import PersistentScheduler
from umbel.beat.store import Store, scope_of
from umbel.clock import unique_id
from umbel.dotted import named
from umbel.exceptions import ImproperlyConfigured, OperationalError
from umbel.loggers import get_logger
from umbel.periodic import Problem, check
from umbel.schedules.intervals import humanize_seconds

if TYPE_CHECKING:
    from umbel.app import Umbel

logger = get_logger(__name__)

#: Seconds after which a step that failed is made again.
PAUSE = 5.0


class _Wish:
    """The wish that a service ends. It is a handler's of signals, too, which come at any point of who waits.

    The lock of a threading.Event might be held just then, by the same thread, for ever.
    """

    def __init__(self) -> None:
        self._said = False
        self._news: SimpleQueue[None] = SimpleQueue()

    def set(self) -> None:
        """Say it."""
        self._said = True
        self._news.put(None)

    def is_set(self) -> bool:
        """Tell whether it was said."""
        return self._said

    def wait(self, seconds: float) -> None:
        """Wait for it, but not longer than this."""
        if not self._said:
            with contextlib.suppress(Empty):
                self._news.get(timeout=seconds)


class Service:
    """Celery's ``celery.beat.Service``: runs a scheduler, in one process of the fleet at a time.

    `max_interval` is the most seconds between two looks at the schedule, `schedule_filename` Celery's file of
    last runs, `scheduler_cls` the scheduler's class or its name; by default they are the settings'.
    """

    scheduler_cls: Any = PersistentScheduler

    def __init__(
        self,
        app: Umbel,
        max_interval: float | None = None,
        schedule_filename: str | None = None,
        scheduler_cls: Any = None,
    ) -> None:
        settings = app.conf.snapshot
        self.app = app
        self.max_interval = max_interval or settings.beat_max_loop_interval
        self.scheduler_cls = scheduler_cls or self.scheduler_cls
        self.schedule_filename = schedule_filename or settings.beat_schedule_filename
        self._scheduler: Any = None
        self._led: int | None = None
        self._tick_at = 0.0
        self._waits = False
        #: Whether it neither led nor waited yet.
        self._is_new = True
        self._shutdown = _Wish()
        self._stopped = threading.Event()
        self._leadership: Leadership | None = None

    # The scheduler

    @property
    def scheduler(self) -> Any:
        """The scheduler; it is made when it is first asked for, and anew when this beat begins to lead."""
        if self._scheduler is None:
            self._scheduler = self.get_scheduler()
        return self._scheduler

    def get_scheduler(
        self, lazy: bool = False, extension_namespace: str = "celery.beat_schedulers"
    ) -> Any:
        """Make a scheduler. With `lazy` it does not set up its schedule."""
        return scheduler_class(self.scheduler_cls, extension_namespace)(
            app=self.app,
            schedule_filename=self.schedule_filename,
            max_interval=self.max_interval,
            lazy=lazy,
        )

    # Running

    def start(self, embedded_process: bool = False) -> None:
        """Run until `stop` is called."""
        logger.info("beat: Starting...")
        try:
            self._report()
            signals.beat_init.send(sender=self)
            if embedded_process:
                signals.beat_embedded_init.send(sender=self)
            while not self._shutdown.is_set():
                self._shutdown.wait(self.step())
        finally:
            self.sync()

    def _report(self) -> None:
        for problem in self._problems():
            logger.log(logging.ERROR if problem.certain else logging.WARNING, "%s", problem)

    def _problems(self) -> list[Problem]:
        """Return what is wrong with entries: with those that were added, too, if the store answers."""
        if issubclass(scheduler_class(self.scheduler_cls), PersistentScheduler):
            with contextlib.suppress(ImproperlyConfigured, OperationalError):
                return problems(self.app, Store.of(self.app))
        return check(self.app)

    def step(self) -> float:
        """Do what is to be done now; return in how many seconds to do this again."""
        leadership = self._leadership = self._leadership or self._new_leadership()
        if not leadership.leads():
            self._wait_for_turn(leadership)
            return leadership.wait()
        now = self.app.clock.monotonic()
        try:
            if self._led != leadership.term:
                self._begin(leadership)
            self._look(now)
            if now >= self._tick_at:
                slow = isinstance(self.scheduler, PersistentScheduler) and self.scheduler.takes_long
                with leadership.kept() if slow else contextlib.nullcontext():
                    self._tick_at = self.app.clock.monotonic() + self._tick()
        except OperationalError as error:
            logger.error("beat: %s It is tried again in %g s.", error, PROLONG)
            self._tick_at = now + PROLONG
        except Exception:
            logger.exception("beat: This step failed; the next one is made in %g s.", PAUSE)
            self._tick_at = now + PAUSE
        return max(min(self._tick_at - self.app.clock.monotonic(), leadership.wait()), 0.0)

    def _new_leadership(self) -> Leadership:
        app, kind = self.app, scheduler_class(self.scheduler_cls)
        try:
            state = app.engines.state_store()
        except ImproperlyConfigured as error:
            if issubclass(kind, PersistentScheduler):
                raise
            logger.warning("%s Until then only one beat may run.", error)
            state = None
        return Leadership(state, f"beat:{scope_of(app)}", unique_id(), app.clock)

    def _wait_for_turn(self, leadership: Leadership) -> None:
        self._is_new, self._led = False, None
        if not self._waits and not leadership.is_away:
            self._waits = True
            logger.info("beat: Another one sends what is due. This one waits for its turn.")

    def _begin(self, leadership: Leadership) -> None:
        """Begin to lead, with a scheduler that knows what was sent meanwhile."""
        if not self._is_new:
            self._scheduler = None
        if self._waits:
            logger.info("beat: It is this one's turn to send what is due.")
        with leadership.kept():  # to read the state of very many entries takes its time
            scheduler = self.scheduler
        logger.debug(
            "beat: Ticking with max interval->%s", humanize_seconds(scheduler.max_interval)
        )
        self._led, self._waits, self._tick_at = leadership.term, False, 0.0
        self._is_new = False

    def _look(self, now: float) -> None:
        """Make the next step sooner than was said where somebody has changed the schedule."""
        if isinstance(self.scheduler, PersistentScheduler) and now < self._tick_at:
            self._tick_at = min(self._tick_at, now + self.scheduler.look())

    def _tick(self) -> float:
        scheduler = self.scheduler
        wait = scheduler.tick()
        if not wait or wait <= 0:
            return 0.0
        logger.debug("beat: Waking up %s.", humanize_seconds(wait, prefix="in "))
        if scheduler.should_sync():
            scheduler._do_sync()
        return float(wait)

    def sync(self) -> None:
        """Store the scheduler's state, and let another beat lead."""
        try:
            if self._scheduler is not None and self._led is not None:
                self._scheduler.close()
        finally:
            if self._leadership is not None:
                self._leadership.leave()
            self._stopped.set()

    def stop(self, wait: bool = False) -> None:
        """Let it end; with `wait` until it has."""
        if not self._shutdown.is_set():
            logger.info("beat: Shutting down...")
        self._shutdown.set()
        if wait:
            self._stopped.wait()


def scheduler_class(given: Any, group: str = "celery.beat_schedulers") -> Any:
    """Return a scheduler's class: itself, by where it is, or by a name that a package has given it.

    Raises ImproperlyConfigured when there is none.
    """
    if not isinstance(given, str):
        return given
    found = next(iter(entry_points(group=group, name=given)), None)
    path = found.value if found is not None else given
    if path.startswith("celery.beat"):  # Celery's names of what is umbel's here
        path = path.replace("celery.", "umbel.", 1)
    return named(path)


class EmbeddedService(threading.Thread):
    """A beat in a thread of another process, such as a worker's."""

    def __init__(self, app: Umbel, max_interval: float | None = None, **kwargs: Any) -> None:
        kwargs.pop("thread", None)  # Celery's may be a process, too
        super().__init__(name="Beat", daemon=True)
        self.app = app
        self.service = Service(app, max_interval=max_interval, **kwargs)

    def run(self) -> None:
        """Run until `stop` is called."""
        self.app.set_current()
        try:
            self.service.start(embedded_process=True)
        except Exception:
            logger.exception("beat: It ends. Periodic tasks are not sent from here any more.")

    def stop(self) -> None:
        """Let it end, and wait for that."""
        self.service.stop(wait=True)


@contextlib.contextmanager
def beside(app: Umbel, **options: Any) -> Iterator[None]:
    """Run a beat in a thread during this block, and end it as soon as a worker that stops says so.

    Raises ImproperlyConfigured when it cannot run here.
    """
    embedded = EmbeddedService(app, **options)
    # What keeps it from running shall be told here, and not in its thread.
    embedded.service._leadership = embedded.service._new_leadership()

    def end(**_: Any) -> None:
        embedded.service._shutdown.set()

    signals.worker_shutting_down.connect(end, weak=False)
    embedded.start()
    try:
        yield
    finally:
        signals.worker_shutting_down.disconnect(end)
        embedded.stop()
