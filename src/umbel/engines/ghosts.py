"""Owners that nobody knows of: a call that attached one was not answered, so it may be there or not.

Nothing is leased to it, and its node would renew it for ever. So calls that attach another one forget it,
and so does whoever leaves, for as long as what was sent on a lost connection may still arrive.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from umbel.clock import Clock

#: Most that one call forgets. Each is one attempt at a server that may have been away.
GHOSTS = 1000
#: Seconds after which what was sent on a lost connection cannot arrive any more.
LATE = 60.0


class Ghosts:
    """Those of one broker. Threads may share it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        #: Their names, and when the calls failed.
        self._failed: deque[tuple[str, float]] = deque(maxlen=GHOSTS)
        #: Those that were attached: another call for one of them, which fails, makes no ghost of it.
        self._attached: deque[str] = deque(maxlen=GHOSTS)

    @contextmanager
    def attaching(self, name: str) -> Iterator[list[str]]:
        """Give the names to forget to a block that attaches an owner of this name; keep it if that fails."""
        known = list(self._failed)
        try:
            yield [one for one, _ in known if one != name]
        except BaseException:
            if name not in self._attached:
                self._failed.append((name, self._clock.monotonic()))
            raise
        self._attached.append(name)
        cannot_come = self._clock.monotonic() - LATE
        for ghost in self._failed.copy():
            if ghost[0] == name or ghost[1] < cannot_come:
                self._drop(ghost)

    def names(self) -> list[str]:
        """Return the names that may be there."""
        return [name for name, _ in self._failed.copy()]

    def _drop(self, ghost: tuple[str, float]) -> None:
        try:
            self._failed.remove(ghost)
        except ValueError:  # another thread's call has forgotten it, too
            return
