"""Owners that nobody knows of: a call that attached one was not answered, so it may be there or not.

Nothing is leased to it, and its node would renew it for ever; so the next call that attaches one forgets it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress

#: Most that one call forgets. Each is one attempt at a server that may have been away.
GHOSTS = 1000


class Ghosts:
    """Those of one broker. Threads may share it."""

    def __init__(self) -> None:
        self._names: deque[str] = deque(maxlen=GHOSTS)

    @contextmanager
    def attaching(self, name: str) -> Iterator[list[str]]:
        """Give the names to forget to a block that attaches an owner of this name; keep it if that fails."""
        found = list(self._names)
        try:
            yield [one for one in found if one != name]
        except BaseException:
            self._names.append(name)
            raise
        for one in found:
            with suppress(ValueError):  # another thread's call has forgotten it, too
                self._names.remove(one)
