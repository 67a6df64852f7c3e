"""Which stamps are revoked: what a client writes into the state store, and a worker reads there.

Each value of a stamp is an entry of a kind of its own, `umbel.ports.STAMPED`. When they are stored, so is
`MARK`, among the ids that are revoked: workers look at the version of those anyway, and read stamps only
where that has changed. So as long as no stamp is revoked, stamps cost nothing.

Unlike an id, a stamp may be given to calls again and again. So what is sent long after it was revoked runs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Hashable, Iterator, Mapping
from typing import Any

from umbel.clock import Clock
from umbel.exceptions import DecodeError
from umbel.message import Call
from umbel.ports import REVOKED, STAMPED, StateStore
from umbel.revoking import BATCH, KEPT, KEPT_DISCARDED, KEPT_TERMINATED
from umbel.serialization import dumps, loads
from umbel.values import value as value_class

#: What is stored among the ids that are revoked, so that whoever reads these knows of news about stamps.
MARK = "stamps are revoked"
#: Seconds after which what is sent with a stamp runs, though that was revoked: what belongs to calls that
#: ran meanwhile, as their retries, is sent by then.
MEANT = KEPT_DISCARDED


@value_class
class RevokedStamp:
    """A value of a stamp, which was revoked `at` a time and counts `until` another.

    With a `signal` it says how calls that run are to be ended.
    """

    name: str
    value: Any
    at: float
    until: float
    signal: int | None = None

    def counts_for(self, call: Call, now: float) -> bool:
        """Tell whether it counts for a call that has it.

        Who does not say when it was sent, as Celery's clients, may have sent it before.
        """
        return now < self.until and (call.sent_at is None or call.sent_at <= self.at + MEANT)


def given_stamps(headers: Any) -> dict[str, list[Any]]:
    """Return the values of each stamp of ``{"name": value}``, or of a list of ``"name=value"``.

    A list, tuple or set is several values. Raises TypeError or ValueError for what names no stamps.
    """
    if isinstance(headers, list | tuple):
        return _read_words(headers)
    if not isinstance(headers, Mapping):
        raise TypeError(f"headers is {headers!r}: give the stamps, such as {{'tenant': 'a'}}.")
    found = dict[str, list[Any]]()
    for name, one in headers.items():
        if not isinstance(name, str):
            raise TypeError(f"{name!r} is no stamp's name: give a text.")
        found[name] = list(one) if isinstance(one, list | tuple | set | frozenset) else [one]
        if None in found[name]:
            raise ValueError(f"None is no value of the stamp {name!r}: give those that calls have.")
    return found


def _read_words(words: list[Any] | tuple[Any, ...]) -> dict[str, list[Any]]:
    found = dict[str, list[Any]]()
    for word in words:
        name, equals, one = word.partition("=") if isinstance(word, str) else ("", "", "")
        if not equals or not name:
            raise ValueError(f"{word!r} is no stamp: give its name and value, as in 'tenant=a'.")
        found.setdefault(name, []).append(one)
    return found


def revoke_stamps(
    state: StateStore, stamps: Mapping[str, list[Any]], clock: Clock, signum: int | None = None
) -> None:
    """Let calls with these stamps not run any more; with a signal, those that run are to be ended by it.

    When this returns it is as safe as the store keeps anything. Raises EncodeError for values that no
    message could have, and OperationalError, after which it may be done again.
    """
    now = clock.time()
    pairs = [(name, one) for name, values in stamps.items() for one in values]
    if not pairs:
        return
    kept = [_entry(name, one, now, KEPT) for name, one in pairs]
    if signum is not None:
        # First: whoever hears of the others finds these.
        ending = [_entry(name, one, now, KEPT_TERMINATED, signum) for name, one in pairs]
        _store(state, ending, KEPT_TERMINATED)
    _store(state, kept, KEPT)
    state.put(REVOKED, MARK, json.dumps({"until": round(now + KEPT, 3)}), KEPT)


def _entry(
    name: str, one: Any, now: float, seconds: float, signum: int | None = None
) -> tuple[str, str]:
    digest = hashlib.sha256(dumps([name, one, signum is None]).encode()).hexdigest()
    entry = {
        "name": name,
        "value": one,
        "at": round(now, 6),
        "until": round(now + seconds, 3),
        "signal": signum,
    }
    return digest, dumps(entry)


def _store(state: StateStore, entries: list[tuple[str, str]], seconds: float) -> None:
    for first in range(0, len(entries), BATCH):
        state.put_all(STAMPED, dict(entries[first : first + BATCH]), seconds)


def read_stamp(text: str) -> RevokedStamp | None:
    """Return what was stored of a stamp; None where nobody can read it."""
    try:
        found = loads(text)
        name, at, until, signal = (found[key] for key in ("name", "at", "until", "signal"))
        right = isinstance(name, str) and isinstance(signal, int | None)
        return (
            RevokedStamp(name, found["value"], float(at), float(until), signal) if right else None
        )
    except (DecodeError, LookupError, TypeError, ValueError):
        return None


def values_of(call: Call) -> Iterator[tuple[str, Any]]:
    """Yield the stamps of a call, each of several values by itself."""
    names = call.stamped_headers
    if not isinstance(names, list | tuple):
        return
    for name in names:
        if not isinstance(name, str):
            continue
        one = call.stamps.get(name)
        for each in one if isinstance(one, list | tuple) else (one,):
            yield name, each


def comparable(one: Any) -> Hashable:
    """Return what of a value is equal to that of another if they are, and can be looked up.

    Raises RecursionError for what is nested very deeply.
    """
    if isinstance(one, list | tuple):
        return tuple(comparable(each) for each in one)
    if isinstance(one, Mapping):
        return frozenset((name, comparable(each)) for name, each in one.items())
    return one if isinstance(one, Hashable) else repr(one)
