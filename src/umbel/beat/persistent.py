"""The scheduler whose state is kept in the app's state store, where all beats of a fleet have it in common.

A run is decided on from the state of its entry, and sent in the step that changes this state, if it is still
the same. So each is sent once: whoever is late, was frozen, or died and is started again finds another one.
Where broker and state store are not the same place, a run is sent first, under a tag by which the broker
knows it again, and noted then.
"""

from __future__ import annotations

import heapq
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from umbel.beat.definitions import merged
from umbel.beat.entries import LiveEntry
from umbel.beat.pace import AT_ONCE, RETRY_AFTER, Pace
from umbel.beat.runs import Runs, due_anew, interval, is_asked, jitter, mark, next_due
from umbel.beat.scheduler import LOOK_EVERY, Scheduler
from umbel.beat.sending import TIMEOUT, Prepared, Sender
from umbel.beat.shelf import take_over
from umbel.beat.store import Store, fields_of
from umbel.clock import utc
from umbel.exceptions import ImproperlyConfigured, OperationalError
from umbel.loggers import get_logger
from umbel.periodic import require_name
from umbel.schedules import maybe_schedule, schedule

if TYPE_CHECKING:
    from umbel.app import Umbel

logger = get_logger(__name__)

#: How many names of entries a line of the log has.
NAMED = 5
#: Looking for changes of the settings takes no more than this part of the time.
LOOKING = 0.01
#: Seconds by which a clock may go back before it counts as set.
SET_BACK = 1.0


@dataclass(slots=True, eq=False)
class Place:
    """Where an entry stands: its state as it is stored, and when to look at it; None for never."""

    raw: str | None
    at: float | None = None

    @property
    def runs(self) -> Runs:
        """The state, read each time: of 100,000 entries few are due, and texts are small."""
        return Runs.load(self.raw)


class PersistentScheduler(Scheduler):
    """Keeps the state of its entries in the state store; the default. Celery's, of that name, has a file.

    Of Celery's file at `schedule_filename` the last runs are taken over, once.
    """

    Entry = LiveEntry

    def __init__(
        self, app: Umbel, *args: Any, schedule_filename: str | None = None, **kwargs: Any
    ) -> None:
        self.schedule_filename = schedule_filename
        self._places: dict[str, Place] = {}
        #: (when to look, name), of which some may be out of date.
        self._order: list[tuple[float, str]] = []
        #: Those that entries have in common, by what they were given as: of 100,000 entries many are alike.
        self._intervals: dict[float | timedelta, schedule] = {}
        self._said: dict[str, str] = {}
        self._version: int | None = None
        #: Entries to be looked at again: they have changed, or were paused and resumed between two looks.
        self._changed: set[str] = set()
        self._pace = Pace()
        self._offset: float | None = None
        super().__init__(app, *args, **kwargs)

    # The schedule

    def setup_schedule(self) -> None:
        """Take the entries of the settings and of the store, and where each stands."""
        self.store = Store.of(self.app)
        self.sender = Sender(self.app, self.store, self.apply_entry)
        self.install_default_entries(self.data)
        given = self.app.conf.beat_schedule
        self._taken = dict(given)
        self._version = self.store.version()
        self._said = self.store.entries()
        self._defined_at = utc(self._now())
        for name in {**given, **self._said}:
            self._define(name)
        raw = self.store.runs()
        if self.schedule_filename:
            new = set(self.data) - raw.keys()
            raw |= take_over(str(self.schedule_filename), self.store, new, self._keep)
        self._place_all(list(self.data), raw)
        if logger.isEnabledFor(logging.DEBUG):
            lines = "\n".join(repr(entry) for entry in self.data.values())
            logger.debug("Current schedule:\n%s", lines)

    def _keep(self, found: dict[str, Runs]) -> dict[str, str]:
        """Store the runs of entries whose state is not known, and return what is stored of each."""
        prepared = [Prepared(name, None, runs) for name, runs in found.items()]
        made = self.sender.make(prepared)
        return {one.name: one.text for one, is_made in zip(prepared, made, strict=True) if is_made}

    def _define(self, name: str) -> None:
        """Make an entry what settings and store say of it."""
        given, said = self.app.conf.beat_schedule.get(name), fields_of(self._said.get(name))
        try:
            require_name(name)
            fields = merged(given, said, self.app)
            if fields is not None and "schedule" in said:
                fields.pop("relative", None)
            entry = None if fields is None else self._made(name, fields)
        except (AttributeError, ImproperlyConfigured, TypeError, ValueError) as error:
            logger.error("The periodic task %s does not run: %s", name, error)
            entry = None
        if entry is None:
            self._drop(name)
        elif name in self.data:
            self.data[name].update(entry)
        else:
            self.data[name] = entry

    def _made(self, name: str, fields: dict[str, Any]) -> Any:
        """Return an entry; those that are due every so often share their schedule and the time of now."""
        every = fields.get("schedule")
        if isinstance(every, int | float | timedelta) and not fields.get("relative"):
            known = self._intervals.get(every)
            if known is None:
                known = self._intervals[every] = maybe_schedule(every, app=self.app)
            fields["schedule"] = known
            fields.setdefault("last_run_at", self._defined_at)
        return self._maybe_entry(name, fields)

    def _drop(self, name: str) -> None:
        self._pace.forget(name)
        self.data.pop(name, None)
        self._places.pop(name, None)

    def _look(self) -> None:
        """Take over what has changed in the settings and in the store."""
        now = self._monotonic()
        if now < self._look_at:
            return
        changed = self._changed
        changed |= self._changed_settings()
        changed |= self._changed_entries()
        self._defined_at = utc(self._now())
        for name in changed:
            self._define(name)
        if len(self.data) != len(self._places):  # somebody has added to the schedule, or taken away
            for name in self._places.keys() - self.data.keys():
                self._drop(name)
            changed |= self.data.keys() - self._places.keys()
        present = [name for name in changed if name in self.data]
        if present:
            raw = {name: self.store.runs_of(name) for name in present}
            self._changed = set()
            try:
                self._place_all(present, raw)
            except OperationalError:
                self._changed |= changed
                raise
        else:
            changed.clear()
        took = self._monotonic() - now
        self._look_at = now + max(LOOK_EVERY, took / LOOKING)

    def _changed_settings(self) -> set[str]:
        given, taken = self.app.conf.beat_schedule, self._taken or {}
        if given == taken:
            return set()
        names = {**given, **taken}
        self._taken = {
            name: dict(entry) if isinstance(entry, Mapping) else entry
            for name, entry in given.items()
        }
        return {name for name in names if given.get(name) != taken.get(name)}

    def _changed_entries(self) -> set[str]:
        version = self.store.version()
        if version == self._version:
            return set()
        before, self._said = self._said, self.store.entries()
        self._version = version
        names = {**before, **self._said}
        return {name for name in names if before.get(name) != self._said.get(name)}

    # Where each stands

    def _place_all(self, names: Iterable[str], raw: Mapping[str, str | None]) -> None:
        """Put entries where their states say; those that are new, or have changed, get a next time."""
        new = []
        for name in names:
            place = self._places[name] = Place(raw.get(name))
            entry = self.data[name]
            try:
                runs = self._renewed(entry, place)
            except Exception:  # noqa: BLE001 - a schedule of somebody's own; it is logged
                self._say_untellable(name)
                place.at = self._now() + self.max_interval
                self._push(name, place)
                continue
            if place.raw is None or runs != place.runs:
                new.append(Prepared(name, place.raw, runs))
                if len(new) == AT_ONCE:
                    self._store(new)
                    new.clear()
            else:
                self._arrange(name, place)
        self._store(new)

    def _renewed(self, entry: Any, place: Place) -> Runs:
        """Return an entry's state with the time at which it is due next, by the schedule that it has now."""
        now, runs = self._now(), place.runs
        by = mark(entry.schedule)
        if not entry.rules.enabled:
            return replace(runs, held=True, by=by)
        if place.raw is None:
            return replace(runs, due=self._first(entry, entry.last_run_at.timestamp()), by=by)
        if runs.held:
            return replace(runs, due=self._first(entry, now), by=by, held=False)
        if runs.by == by:
            return runs
        if is_asked(entry.schedule):
            due = self._first(entry, now if runs.last is None else runs.last)
        else:
            due = due_anew(entry.schedule, entry.rules, runs.last, now)
        return replace(runs, due=due, by=by)

    def _first(self, entry: Any, since: float) -> float | None:
        if not is_asked(entry.schedule):
            return next_due(entry.schedule, since, since)
        now = self._now()
        is_due, seconds = entry.schedule.is_due(utc(since))
        return now if is_due else round(now + (seconds or self.max_interval), 3)

    def _arrange(self, name: str, place: Place) -> None:
        """Work out when to look at an entry."""
        entry, runs = self.data[name], place.runs
        due = runs.due
        entry.total_run_count = runs.count
        if runs.sent is not None:
            entry.last_run_at = utc(runs.sent)
        if due is None or runs.held:
            place.at = None
            return
        at = due + jitter(self.store.scope, name, due, entry.rules.jitter)
        every = interval(entry.schedule)
        if every is not None:
            # However clocks are set: an interval is never longer than it is.
            at = min(at, self._now() + every + entry.rules.jitter)
        place.at = at
        self._push(name, place)

    def _push(self, name: str, place: Place) -> None:
        if place.at is not None:
            heapq.heappush(self._order, (place.at, name))

    def _store(self, new: list[Prepared]) -> None:
        """Store states that send nothing; where another beat has stored another one, that counts."""
        try:
            made = self.sender.make(new)
        except OperationalError:
            raise
        except Exception:
            if len(new) > 1:  # one of them, and not all
                for one in new:
                    self._store([one])
                return
            logger.exception(
                "The periodic task %r does not run: its state cannot be stored.", new[0].name
            )
            return
        for one, is_made in zip(new, made, strict=True):
            place = self._places[one.name]
            if is_made:
                place.raw = one.text
                self._arrange(one.name, place)
            else:
                self._read_again(one.name)

    def _read_again(self, name: str) -> None:
        raw = self.store.runs_of(name)
        self._changed.discard(name)
        place = self._places[name] = Place(raw)
        if raw is None:  # it was deleted meanwhile
            self._look_at = 0.0
            del self._places[name]
            return
        if place.runs.held:
            self._changed.add(name)
        self._arrange(name, place)

    def _now(self) -> float:
        return self.app.clock.time()

    # One step

    def tick(self) -> float:
        """Send what is due; return in how many seconds to do this again, at most `max_interval`."""
        self._look()
        self._notice_clock()
        if not self._pace.rest(self._monotonic()):
            prepared = self._prepared()
            if prepared:
                self._send(prepared)
        return self._wait()

    @property
    def takes_long(self) -> bool:
        """Whether the next step may take longer than a lease lasts: the broker was slow."""
        return self.sender.patience > TIMEOUT

    def look(self) -> float:
        """Take over what has changed; return in how many seconds something is due, at most `max_interval`."""
        self._look()
        self._notice_clock()
        return self._wait()

    def _prepared(self) -> list[Prepared]:
        now = self._now()
        found: list[Prepared] = []
        while self._order and self._order[0][0] <= now and len(found) < self._pace.at_once:
            if found and self._pace.is_apart(self._order[0][1]):
                break
            at, name = heapq.heappop(self._order)
            place = self._places.get(name)
            if place is None or place.at != at or name not in self.data:
                continue  # it has moved since
            place.at = None  # what was put here twice is prepared once
            one = self._prepare(name, place, now)
            if one is not None:
                found.append(one)
                if self._pace.is_apart(name):
                    break
        return found

    def _prepare(self, name: str, place: Place, now: float) -> Prepared | None:
        entry = self.data[name]
        try:
            if is_asked(entry.schedule):
                return self._ask(name, entry, place, now)
            return self.sender.prepare(name, entry, place.raw, place.runs, now)
        except OperationalError as error:
            logger.warning("%s It is tried again in %g s.", error, RETRY_AFTER)
            place.at = now + RETRY_AFTER
        except Exception:  # noqa: BLE001 - code of users; it is logged
            self._say_untellable(name)
            place.at = now + self.max_interval
        self._push(name, place)
        return None

    def _ask(self, name: str, entry: Any, place: Place, now: float) -> Prepared | None:
        """Prepare an entry whose schedule has to be asked whether it is due."""
        is_due, seconds = self._state(entry)
        if is_due:
            following = now + max(seconds, 0.001)
            return self.sender.prepare(name, entry, place.raw, place.runs, now, following)
        place.at = now + max(seconds, 0.001)
        self._push(name, place)
        return None

    def _say_untellable(self, name: str) -> None:
        logger.exception(
            "When the periodic task %s is due next cannot be told. It is asked again in %s seconds.",
            name,
            self.max_interval,
        )

    def _send(self, prepared: list[Prepared]) -> None:
        try:
            made = self.sender.make(prepared)
        except OperationalError as error:
            text = "Scheduler: %s could not be sent: %s It is tried again in %g s."
            logger.error(text, _named(prepared), error, self._put_off(prepared))
            return
        except Exception:  # what an engine cannot write, such as strange texts
            text = "Scheduler: %s could not be sent. It is tried again in %g s."
            logger.exception(text, _named(prepared), self._put_off(prepared))
            return
        self._pace.sent([one.name for one in prepared])
        others = []
        for one, is_made in zip(prepared, made, strict=True):
            place = self._places.get(one.name)
            if place is None:
                continue
            if is_made:
                place.raw = one.text
                self._arrange(one.name, place)
            else:
                logger.debug("Another beat has sent %s.", one.name)
                others.append(one.name)
        self._changed.update(others)  # until they are read: the store may go away now
        for name in others:
            self._read_again(name)

    def _put_off(self, prepared: list[Prepared]) -> float:
        """Try again what could not be sent, from the state that it has then; return in how many seconds."""
        wait = self._pace.failed([one.name for one in prepared], self._monotonic())
        for one in prepared:
            place = self._places.get(one.name)
            if place is not None:
                place.at = self._now() + wait
                self._push(one.name, place)
        return wait

    def _wait(self) -> float:
        rest = self._pace.rest(self._monotonic())
        most = LOOK_EVERY if self._changed else self.max_interval
        while self._order:
            at, name = self._order[0]
            place = self._places.get(name)
            if place is not None and place.at == at:
                return min(max(at - self._now(), rest), most)
            heapq.heappop(self._order)
        return most

    def _notice_clock(self) -> None:
        """Let intervals go on as time does when the clock is set back; the others go by the clock."""
        offset = self._now() - self._monotonic()
        before, self._offset = self._offset, offset
        if before is None or offset > before - SET_BACK:
            return
        logger.warning("The clock was set back by %.1f seconds.", before - offset)
        for name, place in self._places.items():
            if place.at is not None and interval(self.data[name].schedule) is not None:
                place.at += offset - before
                self._push(name, place)

    # As Celery's

    def add(self, **kwargs: Any) -> Any:
        """Add an entry, made of these arguments, for as long as this scheduler lives; return it."""
        self._look_at = 0.0
        return super().add(**kwargs)

    def is_due(self, entry: Any) -> Any:
        """Return whether an entry is due by its schedule, and in how many seconds to look again."""
        return entry.is_due()

    @property
    def info(self) -> str:
        """A line about where the state is stored."""
        url = self.app.engines.state_url
        return f"    . db -> {self.app.show_url(url)}" if url else "    . db -> none"


def _named(prepared: list[Prepared]) -> str:
    """Return a few names of entries for a line of the log."""
    names = ", ".join(one.name for one in prepared[:NAMED])
    return names if len(prepared) <= NAMED else f"{names} and {len(prepared) - NAMED} others"
