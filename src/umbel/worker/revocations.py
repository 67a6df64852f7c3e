"""What is revoked, as a process knows it that runs tasks.

Where broker and state store are one, each fetch tells the version of what is revoked:
`umbel.ports.Consumer.revocations`. A process that has not read the kind up to there does so before it starts
any of what it fetched. So what is taken after it was revoked never starts, and while nothing is revoked it
costs a comparison for each batch.
Else, and for what a process holds when it is revoked, the node looks once a second and says the version on
the page (`umbel.worker.revocation_watch`).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import replace

from umbel import revoking
from umbel.app import Umbel
from umbel.exceptions import ImproperlyConfigured, OperationalError
from umbel.message import Delivery
from umbel.ports import REVOKED, TERMINATED, Changes, StateStore
from umbel.stamped import MARK
from umbel.worker.outcome import Job, NotDue, Prepared, Revoked, Unknown
from umbel.worker.page import Page
from umbel.worker.revoked_stamps import RevokedStamps

logger = logging.getLogger("umbel.worker")

#: Most ids that a process keeps in mind. Where there are more, it asks for those of each batch.
MOST = 50_000
#: Seconds after which it is looked whether there are fewer again; and between two tries where the state store
#: does not answer.
CROWDED_FOR, AGAIN = 60.0, 1.0


class Revocations:
    """What is revoked, for one child. Any thread may ask and read."""

    def __init__(self, app: Umbel, page: Page) -> None:
        self._app = app
        self._clock = app.clock
        self._page = page
        self._lock = threading.Lock()
        #: Until when ids are revoked, of those that may be met.
        self.ids: dict[str, float] = {}
        self._stamps = RevokedStamps(app.clock, MOST)
        #: Whether anything is revoked, and `admit` is to be asked.
        self.heeds = False
        #: The signals by which running tasks are to be ended, and until when that counts.
        self._signals: dict[str, tuple[int, float]] = {}
        #: How often it was read, so that whoever ends running tasks sees that there may be more.
        self.reads = 0
        #: The version that the kind had when it was read, and that for which it was read last.
        self._version: int | None = None
        self._heard: int | None = None
        self._terminated_since = 0
        self._crowded_until: float | None = None
        self._not_before = 0.0
        self._silent = False
        #: The ids of what was discarded here, and may be forgotten once that is settled.
        self.discarded: list[str] = []
        self._place: tuple[StateStore | None, bool] | None = None

    # Knowing

    def learn(self, told: int, deliveries: Sequence[Delivery]) -> Sequence[Delivery]:
        """Know of all that was revoked before deliveries were taken, which are returned.

        `told` is their consumer's word.

        Raises OperationalError where the broker's own state store does not answer. Another one is asked again
        later, and its messages run meanwhile.
        """
        state, is_told = self._where()
        if state is None:
            return deliveries
        if not self._is_up_to_date(told, is_told):
            # While the store is silent the courier asks again: nothing that is to run waits for that.
            if is_told:
                self._read(state, told)
            else:
                self.follow()
        if self._crowded_until is not None:
            self._ask(state, deliveries, is_told)
        return deliveries

    def knows(self, told: int) -> bool:
        """Tell whether there is nothing to ask for before deliveries run of which `told` was said."""
        if self._place is None or self._crowded_until is not None:
            return False
        state, is_told = self._place
        return state is None or self._is_up_to_date(told, is_told)

    def _is_up_to_date(self, told: int, is_told: bool) -> bool:
        if is_told:
            return told in (self._version or 0, self._heard)
        if self._version is None:
            return False
        return self._silent or not self.is_behind(self._clock.monotonic())

    def is_behind(self, now: float) -> bool:
        """Tell whether the page says that more is revoked than this process knows."""
        said = self._page.revocations
        return said not in (0, self._version, self._heard) and now >= self._not_before

    def follow(self) -> None:
        """Read what the page speaks of, if the state store answers."""
        state, _ = self._where()
        if state is None:
            return
        try:
            self._read(state, self._page.revocations)
        except OperationalError as error:
            self._not_before = self._clock.monotonic() + AGAIN
            self._version = self._version or 0
            if not self._silent:
                text = "What is revoked cannot be read; asking again until it can. %s"
                logger.warning(text, error)
            self._silent = True
        else:
            self._silent = False

    def _where(self) -> tuple[StateStore | None, bool]:
        """Return the state store, and whether the broker tells of it."""
        if self._place is None:
            engines, broker = self._app.engines, self._app.broker
            url = engines.state_url
            try:
                state = None if url is None else engines.state_store()
            except ImproperlyConfigured:  # which whoever revokes is told
                state = None
            is_told = url == self._app.broker_url and broker.features.tells_revocations
            self._place = state, is_told
        return self._place

    def _read(self, state: StateStore, heard: int) -> None:
        with self._lock:
            if heard == self._version and heard:  # another thread was faster
                return
            now = self._clock.time()
            news = None
            if self._crowded_until is None or now >= self._crowded_until:
                news = state.changes(REVOKED, self._since(), MOST)
            # All is read before any counts as read: a store may be silent from one call to the next.
            stamps = self._stamps.changes(state) if _may_tell_of_stamps(news) else None
            ended = state.changes(TERMINATED, self._terminated_since, MOST)
            if stamps is not None:
                self._stamps.take_in(stamps)
            if news is not None:
                self._take_in(news, now)
            self._terminated_since = ended.version
            for key, value in (ended.values or {}).items():
                self._signals[key] = revoking.signum_of(value), revoking.until(value)
            self._signals = {key: one for key, one in self._signals.items() if one[1] > now}
            self.heeds = bool(self.ids or self._stamps)
            self.reads += 1
            # Last, since who sees them does not ask, and takes for known all that they speak of.
            if news is not None:
                self._version = news.version
            self._heard = heard

    def _since(self) -> int:
        return 0 if self._crowded_until is not None else self._version or 0

    def _take_in(self, news: Changes, now: float) -> None:
        was_crowded = self._crowded_until is not None
        if news.values is not None and (news.values or was_crowded):
            # A new mapping: other threads look into the one that there is.
            known = {} if was_crowded else self.ids  # which was all read anew
            ids = {key: until for key, until in known.items() if until > now}
            ids.update((key, revoking.until(value)) for key, value in news.values.items())
            ids.pop(MARK, None)
            self.ids = ids
        if news.values is None or len(self.ids) > MOST:
            self._crowded_until = now + CROWDED_FOR
        else:
            self._crowded_until = None

    def _ask(self, state: StateStore, deliveries: Sequence[Delivery], is_told: bool) -> None:
        """Ask for the ids of a batch, where there are too many to have them all."""
        asked = [one for item in deliveries if (one := item.message.task_id) is not None]
        try:
            found = state.pick(REVOKED, asked)
        except OperationalError:
            if is_told:
                raise
            return
        if not found:
            return
        with self._lock:
            before = [one for one in self.ids.items() if one[0] not in found]
            if len(before) + len(found) > 2 * MOST:  # what is known of late may be held still
                before = before[len(before) - MOST :]
            self.ids = {**dict(before), **{key: revoking.until(one) for key, one in found.items()}}
            self.heeds = True

    # Keeping to it

    def admit(self, prepared: Prepared) -> Prepared:
        """Return a delivery as it is, or revoked; asked just before it starts, where anything is revoked."""
        call, stamp = prepared.call, None
        if call is None:
            return prepared
        until = self.ids.get(call.id)
        if until is None or until <= self._clock.time():
            stamp = self._stamps.stamp_of(call) if call.stamps else None
            if stamp is None:
                return prepared
        if not isinstance(prepared.work, Job | NotDue | Unknown):
            return prepared
        if stamp is None:
            self.discarded.append(call.id)
        return replace(prepared, work=Revoked(stamp=stamp))

    def signal_for(self, prepared: Prepared) -> int | None:
        """Return the number of the signal by which a task that runs is to be ended, if it is."""
        if prepared.call is None:
            return None
        number, until = self._signals.get(prepared.call.id, (None, 0.0))
        if number is not None and until > self._clock.time():
            return number
        return self._stamps.signal_for(prepared.call)

    def let_go(self, settled: bool) -> None:
        """Let what was discarded, and is settled, be forgotten some hours from now, if the store answers."""
        if not settled or not self.discarded:
            return
        ids, self.discarded = self.discarded, []
        state, _ = self._where()
        soon = self._clock.time() + revoking.KEPT_DISCARDED
        ids = [one for one in ids if self.ids.get(one, 0.0) > soon]
        if state is None or not ids:
            return
        try:
            revoking.keep_for_now(state, ids, self._clock)
        except OperationalError as error:
            logger.debug("What was discarded as revoked is kept for longer. %s", error)
            return
        with self._lock:
            self.ids = {**self.ids, **dict.fromkeys(ids, soon)}


def _may_tell_of_stamps(news: Changes | None) -> bool:
    return news is None or news.values is None or MARK in news.values
