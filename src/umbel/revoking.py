"""Which calls are revoked: what a client writes into the state store, and a worker reads there.

A revoked id is kept until no message of it can be left, as far as that can be known: a worker that has
discarded one lets it be forgotten some hours later, and what no worker ever meets is kept for a long time. It
may be a message that waits for its time, or for workers that are all down.
"""

from __future__ import annotations

import json
import math
import operator
import signal as signals_of_system
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from umbel.clock import Clock
from umbel.ports import REVOKED, TERMINATED, StateStore

#: Seconds for which an id is kept that no worker has met.
KEPT = 400 * 86400.0
#: Seconds for which it is kept after a worker has discarded a message of it: others may be on their way.
#: For so long Celery's workers remember it.
KEPT_DISCARDED = 10800.0
#: Seconds for which a running task is looked for that is to be ended.
KEPT_TERMINATED = 3600.0
#: What some signals mean by default: not the end of a process.
_ENDING_NOTHING = (
    *("SIGCHLD", "SIGCLD", "SIGCONT", "SIGSTOP", "SIGTSTP", "SIGTTIN", "SIGTTOU"),
    *("SIGURG", "SIGWINCH"),
)
#: Most values that are stored by one call.
BATCH = 1000


def signal_number(signal: str | int) -> int:
    """Return the number of a signal that ends a process, by its name: ``SIGTERM``, ``TERM`` or 15.

    Raises ValueError for what is none.
    """
    names = signals_of_system.Signals
    try:
        if isinstance(signal, str) and not signal.isdigit():
            name = signal.upper()
            found = names[name if name.startswith("SIG") else f"SIG{name}"]
        else:
            found = names(operator.index(int(signal) if isinstance(signal, str) else signal))
    except (KeyError, ValueError, TypeError):
        raise ValueError(
            f"signal is {signal!r}, which is no signal of this system. Give a name or a number, such as"
            " 'SIGTERM', 'SIGKILL' or 9."
        ) from None
    if found.name in _ENDING_NOTHING:
        raise ValueError(
            f"signal is {signal!r}, which does not end a process. Give one that does, such as 'SIGTERM' or"
            " 'SIGKILL'."
        )
    return int(found)


def signal_name(number: int) -> str:
    """Return a signal's name: ``SIGTERM``."""
    try:
        return signals_of_system.Signals(number).name
    except ValueError:
        return f"signal {number}"


def revoke(
    state: StateStore, task_ids: Collection[str], clock: Clock, signum: int | None = None
) -> None:
    """Let calls not run any more; with a signal, those that run are to be ended by it.

    When this returns it is as safe as the store keeps anything. What is stored by one of several calls stays
    when a later one raises OperationalError; to do it again does no harm.
    """
    for some in _batches(task_ids):
        if signum is not None:
            # First: whoever hears of the others finds these.
            _store(state, TERMINATED, some, clock, KEPT_TERMINATED, signal=signum)
        _store(state, REVOKED, some, clock, KEPT)


def keep_for_now(state: StateStore, task_ids: Collection[str], clock: Clock) -> None:
    """Let ids be forgotten some hours from now, of which messages were discarded."""
    for some in _batches(task_ids):
        _store(state, REVOKED, some, clock, KEPT_DISCARDED)


def _store(
    state: StateStore, kind: str, task_ids: Sequence[str], clock: Clock, seconds: float, **more: int
) -> None:
    value = json.dumps({"until": round(clock.time() + seconds, 3), **more})
    state.put_all(kind, dict.fromkeys(task_ids, value), seconds)


def _batches(task_ids: Iterable[str]) -> Iterator[list[str]]:
    """Yield each id once, as many at a time as are stored by one call."""
    ids = list(dict.fromkeys(task_ids))
    for first in range(0, len(ids), BATCH):
        yield ids[first : first + BATCH]


def until(value: str) -> float:
    """Return until when a stored id counts, in seconds since the epoch; for ever where nobody can read it."""
    found = _read(value).get("until")
    return float(found) if isinstance(found, int | float) else math.inf


def signum_of(value: str) -> int:
    """Return the number of the signal by which a task is to be ended."""
    found = _read(value).get("signal")
    return found if isinstance(found, int) else int(signals_of_system.SIGTERM)


def _read(value: str) -> Mapping[str, object]:
    try:
        found = json.loads(value)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
