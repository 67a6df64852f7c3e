"""A pool of connections that threads share, and that survives forks.

What is idle is lent to whoever asks next. A child of a fork closes its copies of all connections of its
parent, also of those that are in use there, or the server would think, after the parent's death, that it
still waits.
"""

from __future__ import annotations

import threading
import weakref
from typing import Generic, Protocol, TypeVar

from umbel.clock import Clock
from umbel.engines.forks import tell_of_forks

#: Seconds after which an idle connection is closed that was not needed, while others were.
SURPLUS = 10.0


class Pooled(Protocol):
    """A connection. It is `busy` when it cannot be used any more; `used` is when it was given back."""

    busy: bool
    used: float

    @property
    def is_fit(self) -> bool:
        """Tell whether it still works, as far as can be told without asking the server."""

    def close(self) -> None:
        """Close it."""

    def let_go(self) -> None:
        """Close the copy that a child of a fork has, without a word to the server."""


L = TypeVar("L", bound=Pooled)


class Pool(Generic[L]):
    """Idle connections, of which up to `kept` stay open, and a list of all that are open."""

    def __init__(self, clock: Clock, kept: int) -> None:
        self._clock = clock
        self._kept = kept
        self._lock = threading.RLock()
        self._idle: list[L] = []
        #: Every open connection, whoever uses it.
        self._open: weakref.WeakSet[L] = weakref.WeakSet()
        #: Those that were in use when the pool was closed, if it ever was: they are not kept.
        self._over: weakref.WeakSet[L] | None = None
        tell_of_forks(self)

    def __bool__(self) -> bool:
        """Tell whether a connection is idle."""
        return bool(self._idle)

    def add(self, link: L) -> L:
        """Note that a connection was opened; return it."""
        with self._lock:
            self._open.add(link)
        return link

    def take(self) -> L | None:
        """Return an idle connection that still works, the one that was used last; None if there is none."""
        while True:
            with self._lock:
                if not self._idle:
                    return None
                link = self._idle.pop()
            if link.is_fit:
                return link
            link.close()

    def give_back(self, link: L) -> None:
        """Let others use a connection, unless it is `busy`."""
        link.used = now = self._clock.monotonic()
        with self._lock:
            if link.busy or (self._over is not None and link in self._over):
                over = link
            else:
                idle = self._idle
                idle.append(link)
                # The first ones are those that were not needed for longest.
                if idle[0].used >= now - SURPLUS and len(idle) <= self._kept:
                    return
                over = idle.pop(0)
        over.close()

    def close_idle(self) -> None:
        """Close what is idle, and what is in use as soon as it is given back.

        The next use opens connections again.
        """
        with self._lock:
            idle, self._idle = self._idle, []
            self._over = weakref.WeakSet(self._open)
        for link in idle:
            link.close()

    # Forks

    def before_fork(self) -> None:
        """Wait until no other thread has the lock."""
        self._lock.acquire()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self._lock.release()

    def after_fork_in_child(self) -> None:
        """Begin with no connection; those of the parent are its own."""
        self._lock = threading.RLock()
        links, self._idle = list(self._open), []
        self._open = weakref.WeakSet()
        for link in links:
            link.let_go()
