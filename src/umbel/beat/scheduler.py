"""Which entry is due next, and sending it: Celery's `Scheduler`, of which other packages have subclasses."""

from __future__ import annotations

import copy
import heapq
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from umbel import producers
from umbel.beat.entries import ScheduleEntry, evaluated
from umbel.beat.pace import RETRY_AFTER
from umbel.exceptions import ImproperlyConfigured, OperationalError, SchedulingError
from umbel.localtimes import aware
from umbel.loggers import get_logger

if TYPE_CHECKING:
    from umbel.app import Umbel

logger = get_logger(__name__)

#: Most seconds between two looks at the schedule.
DEFAULT_MAX_INTERVAL = 300
#: Seconds between two looks at the settings while there is always something to send.
LOOK_EVERY = 1.0
_PRIORITY = 5


class event_t(NamedTuple):
    """When to look at an entry, as a timestamp."""

    time: float
    priority: int
    entry: Any


class Scheduler:
    """Keeps the entries of a schedule, and sends each when it is due.

    `schedule` is a mapping of entries to begin with, `max_interval` the most seconds between two looks, else
    the setting ``beat_max_loop_interval``, and `sync_every_tasks` else ``beat_sync_every``. With `lazy` the
    schedule is not set up. Others have no effect here. The time is that of each entry's schedule, which is
    the app's clock.
    """

    Entry: type[Any] = ScheduleEntry

    max_interval: float = DEFAULT_MAX_INTERVAL
    #: Seconds after which the schedule's state is stored, by `sync`.
    sync_every: float = 3 * 60
    #: Runs after which it is stored, 0 for no number.
    sync_every_tasks: int | None = None

    _last_sync: float | None = None
    _tasks_since_sync = 0
    #: The entries of ``beat_schedule`` that were taken, to see which have changed; None before that.
    _taken: dict[str, Any] | None = None
    #: When, on the monotonic clock, to look next for changes of the settings.
    _look_at = 0.0

    logger = logger

    def __init__(
        self,
        app: Umbel,
        schedule: Any = None,
        max_interval: float | None = None,
        Producer: Any = None,
        lazy: bool = False,
        sync_every_tasks: int | None = None,
        **kwargs: Any,
    ) -> None:
        self.app = app
        self.data: Any = {} if schedule is None else schedule
        settings = app.conf.snapshot
        self.max_interval = max_interval or settings.beat_max_loop_interval or self.max_interval
        self.Producer = Producer or producers.Producer
        self._heap: list[event_t] | None = None
        self.old_schedulers: Any = None
        every = settings.beat_sync_every if sync_every_tasks is None else sync_every_tasks
        self.sync_every_tasks = every
        if not lazy:
            self.setup_schedule()

    # One step

    def tick(self) -> float:
        """Send the entry that is due first, if it is due; return in how many seconds to do this again.

        At most one is sent, so 0 is returned after it. No wait is longer than `max_interval`.
        """
        now = self._monotonic()
        if now >= self._look_at:
            self._follow_settings()
            # Between entries that are due at once this would take longer than sending them.
            self._look_at = now + LOOK_EVERY
        wait = self._step()
        if wait > 0:
            self._look_at = 0.0
        return wait

    def _step(self) -> float:
        heap = self._present_heap()
        if not heap:
            return self.max_interval
        first = heap[0]
        wait = first.time - self._when(first.entry, 0)
        if wait > 0:
            return min(wait, self.max_interval)
        is_due, seconds = self._state(first.entry)
        heapq.heappop(heap)
        if is_due:
            heapq.heappush(heap, self._sent(first, seconds))
            return 0
        heapq.heappush(heap, self._event(first.entry, seconds))
        # Others may be due while this one is not yet.
        other = heap[0].entry is not first.entry
        return 0 if other else min(self.adjust(seconds), self.max_interval)

    def _present_heap(self) -> list[event_t]:
        """Return the entries by time, made anew when the schedule is another one."""
        schedule = self.schedule
        if self._heap is None or not self.schedules_equal(self.old_schedulers, schedule):
            self.old_schedulers = copy.copy(schedule)
            self.populate_heap()
        heap: list[event_t] = self._heap  # type: ignore[assignment] # populated
        return heap

    def _sent(self, event: event_t, seconds: float) -> event_t:
        """Send an entry; return when to look at it again."""
        following = self.reserve(event.entry)
        if isinstance(self.old_schedulers, dict):
            # Nothing that makes it another schedule; and what is the same object is compared at once.
            self.old_schedulers[event.entry.name] = following
        if self.apply_entry(event.entry, producer=self.producer) is False:
            # As it was before: it is still due.
            return self._event(event.entry, RETRY_AFTER)
        return self._event(following, seconds)

    def _event(self, entry: Any, seconds: float) -> event_t:
        return event_t(self._when(entry, seconds), _PRIORITY, entry)

    def _state(self, entry: Any) -> tuple[bool, float]:
        """Ask whether an entry is due. One that cannot tell must not stop the others."""
        try:
            is_due, seconds = self.is_due(entry)
        except Exception:
            logger.exception(
                "When the periodic task %s is due next cannot be told. It is asked again in %s seconds.",
                entry.name,
                self.max_interval,
            )
            return False, self.max_interval
        # Some say None for "I do not know".
        return is_due, seconds if isinstance(seconds, int | float) else self.max_interval

    def is_due(self, entry: Any) -> Any:
        """Return whether an entry is due, and in how many seconds to look again."""
        return entry.is_due()

    def adjust(self, n: float, drift: float = 0.0) -> float:
        """Return a wait in seconds as it is used; Celery's is 10 ms shorter, and spent asking again."""
        return n + drift if n and n > 0 else n

    def _when(self, entry: Any, next_time_to_run: float) -> float:
        """Return the timestamp of so many seconds from now."""
        return aware(entry.default_now()).timestamp() + (self.adjust(next_time_to_run) or 0)

    def populate_heap(self) -> None:
        """Order all entries by when they are due."""
        heap = []
        for entry in self.schedule.values():
            is_due, seconds = self._state(entry)
            heap.append(self._event(entry, 0 if is_due else seconds))
        heapq.heapify(heap)
        self._heap = heap

    def schedules_equal(self, old_schedules: Any, new_schedules: Any) -> bool:
        """Tell whether two schedules have equal entries under the same names."""
        if old_schedules is None or new_schedules is None:
            return old_schedules is new_schedules
        return dict(old_schedules) == dict(new_schedules)

    # Sending

    def reserve(self, entry: Any) -> Any:
        """Note a run of an entry, and return the entry as it is after it."""
        following = self.schedule[entry.name] = next(entry)
        return following

    def apply_entry(self, entry: Any, producer: Any = None) -> bool:
        """Send an entry that is due. What fails is logged, and False when it should be sent again soon."""
        logger.info("Scheduler: Sending due task %s (%s)", entry.name, entry.task)
        try:
            result = self.apply_async(entry, producer=producer, advance=False)
        except Exception as error:
            logger.exception("Scheduler: %s", error)
            return not isinstance(error.__cause__, OperationalError)
        logger.debug("%s sent. id->%s", entry.task, getattr(result, "id", None))
        return True

    def apply_async(self, entry: Any, producer: Any = None, advance: bool = True) -> Any:
        """Send an entry now, and return its result; with `advance` note that as a run.

        Its message has the header ``celery_beat_task``. Raises SchedulingError. `producer` has no effect.
        """
        entry = self.reserve(entry) if advance else entry
        try:
            if not entry.task:
                raise ImproperlyConfigured(f"It has {entry.task!r} as its task.")
            args = [evaluated(value) for value in entry.args or ()]
            kwargs = {name: evaluated(value) for name, value in (entry.kwargs or {}).items()}
            options = dict(entry.options or {})
            options["headers"] = {**(options.get("headers") or {}), "celery_beat_task": True}
            task = self.app.tasks.get(entry.task)
            if task is not None:
                return task.apply_async(args, kwargs, **options)
            return self.send_task(entry.task, args, kwargs, **options)
        except Exception as error:
            text = f"The periodic task {entry.name} could not be sent: {error}"
            raise SchedulingError(text) from error
        finally:
            self._tasks_since_sync += 1
            if self.should_sync():
                self._do_sync()

    def send_task(self, *args: Any, **kwargs: Any) -> Any:
        """Send a call of a task that this app does not know."""
        return self.app.send_task(*args, **kwargs)

    @property
    def connection(self) -> Any:
        """A way to the broker, to ask whether it is there."""
        return self.app.connection_for_write()

    @property
    def producer(self) -> Any:
        """What is given to `apply_entry` and has no effect: calls are sent by the app."""
        return producers.Producer(self.app)

    # The schedule

    def setup_schedule(self) -> None:
        """Take the entries of the setting ``beat_schedule``."""
        self.install_default_entries(self.data)
        self.merge_inplace(self.app.conf.beat_schedule)
        self._taken = _copied(self.app.conf.beat_schedule)

    def install_default_entries(self, data: Any) -> None:
        """Add the entries that there always are: none, since all result stores delete what has expired."""

    def _follow_settings(self) -> None:
        """Take over what has changed in ``beat_schedule`` since it was taken."""
        given, taken = self.app.conf.beat_schedule, self._taken
        if taken is None or given == taken:
            return
        for name in taken.keys() - given.keys():
            self.schedule.pop(name, None)
        for name, entry in given.items():
            if entry != taken.get(name):
                self._merge(name, entry)
        self._taken = _copied(given)
        self._heap = None

    def get_schedule(self) -> Any:
        """Return the entries by name."""
        return self.data

    def set_schedule(self, schedule: Any) -> None:
        """Set the entries by name."""
        self.data = schedule

    schedule = property(get_schedule, set_schedule)

    def add(self, **kwargs: Any) -> Any:
        """Add an entry, made of these arguments, and return it."""
        entry = self.Entry(app=self.app, **kwargs)
        self.schedule[entry.name] = entry
        return entry

    def update_from_dict(self, dict_: Mapping[str, Any]) -> None:
        """Add entries by name, or mappings of what they are made of."""
        self.schedule.update(
            {name: self._maybe_entry(name, entry) for name, entry in dict_.items()}
        )

    def merge_inplace(self, b: Mapping[str, Any]) -> None:
        """Make the schedule have these entries and no others; those that it has keep their runs."""
        for name in set(self.schedule) - set(b):
            self.schedule.pop(name, None)
        for name, entry in b.items():
            self._merge(name, entry)

    def _merge(self, name: str, given: Any) -> None:
        try:
            entry = self._maybe_entry(name, given)
        except (AttributeError, TypeError, ValueError) as error:
            logger.error("The periodic task %s does not run: %s", name, error)
            return
        known = self.schedule.get(name)
        if known:
            known.update(entry)
        else:
            self.schedule[name] = entry

    def _maybe_entry(self, name: str, entry: Any) -> Any:
        if isinstance(entry, self.Entry):
            entry.app = self.app
            return entry
        return self.Entry(**dict(entry, name=name, app=self.app))

    # Its state

    def should_sync(self) -> bool:
        """Tell whether the schedule's state is to be stored: enough time has passed, or enough has run."""
        if self._last_sync is None or self._monotonic() - self._last_sync > self.sync_every:
            return True
        return bool(self.sync_every_tasks) and self._tasks_since_sync >= (
            self.sync_every_tasks or 0
        )

    def _do_sync(self) -> None:
        try:
            logger.debug("beat: Synchronizing schedule...")
            self.sync()
        finally:
            self._last_sync = self._monotonic()
            self._tasks_since_sync = 0

    def _monotonic(self) -> float:
        return self.app.clock.monotonic()

    def sync(self) -> None:
        """Store the schedule's state; for subclasses, since this one has none outside of memory."""

    def close(self) -> None:
        """Store the schedule's state, for the last time."""
        self.sync()

    @property
    def info(self) -> str:
        """A line about where the state is stored, for beat's first lines."""
        return ""


def _copied(entries: Mapping[str, Any]) -> dict[str, Any]:
    """Return entries as they are now, to be compared with what becomes of them."""
    return {
        name: dict(entry) if isinstance(entry, Mapping) else entry
        for name, entry in entries.items()
    }
