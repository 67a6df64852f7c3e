"""Which stamps are revoked, as a process knows it that runs tasks.

They are read with the ids that are revoked (`umbel.worker.revocations`), where these tell that there are any.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import Any

from umbel.clock import Clock
from umbel.message import Call
from umbel.ports import STAMPED, Changes, StateStore
from umbel.stamped import RevokedStamp, comparable, read_stamp, values_of

#: Revoked values by the names of their stamps.
_Known = Mapping[str, Mapping[Hashable, RevokedStamp]]


class RevokedStamps:
    """What is known of revoked stamps. Any thread may ask; one at a time reads."""

    def __init__(self, clock: Clock, most: int) -> None:
        self._clock = clock
        self._most = most
        self._since = 0
        #: What does not start, and what is ended where it runs.
        self._discarded: _Known = {}
        self._ended: _Known = {}

    def __bool__(self) -> bool:
        return bool(self._discarded)

    def changes(self, state: StateStore) -> Changes:
        """Return what was stored since it was last taken in. Raises OperationalError."""
        news = state.changes(STAMPED, self._since, self._most)
        if news.values is not None:
            return news
        return Changes(news.version, state.items(STAMPED))

    def take_in(self, news: Changes) -> None:
        """Know of what was stored."""
        self._since = news.version
        found = [one for text in (news.values or {}).values() if (one := read_stamp(text))]
        now = self._clock.time()
        # New mappings: other threads look into those that there are.
        starts, ends = (
            (one for one in found if one.signal is None),
            (one for one in found if one.signal),
        )
        self._discarded = _joined(self._discarded, starts, now)
        self._ended = _joined(self._ended, ends, now)

    def stamp_of(self, call: Call) -> Mapping[str, Any] | None:
        """Return a stamp of a call for which it is not to start, if it has any."""
        found = self._find(self._discarded, call)
        return None if found is None else {found.name: found.value}

    def signal_for(self, call: Call) -> int | None:
        """Return the number of the signal by which a call that runs is to be ended, if it is."""
        found = self._find(self._ended, call)
        return None if found is None else found.signal

    def _find(self, known: _Known, call: Call) -> RevokedStamp | None:
        if not known or not call.stamps:
            return None
        for name, one in values_of(call):
            if name not in known:
                continue
            found = known[name].get(one if type(one) is str else _looked_up(one))
            if found is not None and found.counts_for(call, self._clock.time()):
                return found
        return None


def _looked_up(one: Any) -> Hashable:
    try:
        return comparable(one)
    except RecursionError:  # which nobody could revoke either
        return None


def _joined(before: _Known, news: Iterable[RevokedStamp], now: float) -> _Known:
    found: dict[str, dict[Hashable, RevokedStamp]] = {}
    kept = (one for values in before.values() for one in values.values())
    for one in (*kept, *news):
        if one.until > now and one.value is not None:
            found.setdefault(one.name, {})[_looked_up(one.value)] = one
    return found
