"""Who of several beats sends: a lease in the state store.

    waits ── takes the lease ──> leads ── does not hear from the store in time ──> waits
      ^                            │
      └── another one has it <─────┴── leaves: gives the lease back

The leader prolongs its lease every second. It stops a second before the lease may end, counted on its own
monotonic clock from before it asked; so two lead at a time only if one was frozen at the wrong moment. Even
then a run is sent once, since sending does not stand on the lease (persistent.py). Who waits asks three times
a second: a leader that dies is replaced in less than five.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from umbel.clock import Clock
from umbel.exceptions import OperationalError
from umbel.loggers import get_logger
from umbel.ports import StateStore

logger = get_logger(__name__)

#: Seconds: how long a lease lasts, how often it is prolonged, and how often it is asked for.
LEASE, PROLONG, ASK = 4.0, 1.0, 0.3
#: Seconds before its end in which a lease is not relied on.
DISTRUST = 1.0


class Leadership:
    """One beat's part in that. `state` None: there is no store, and it always leads."""

    def __init__(self, state: StateStore | None, name: str, owner: str, clock: Clock) -> None:
        self._state = state
        self._name = name
        self._owner = owner
        self._clock = clock
        self._ask_at = clock.monotonic()
        self._trusted_until = self._ask_at
        self._was_away = False
        #: The term in which this one leads; it is another one each time it begins to.
        self.term: int | None = None if state is not None else 0

    def leads(self) -> bool:
        """Tell whether this one leads now, after asking the store if that is due."""
        if self._state is None:
            return True
        now, led = self._clock.monotonic(), self.term is not None
        if now >= self._ask_at:
            self._ask(self._state, now)
        if self.term is not None and self._clock.monotonic() >= self._trusted_until:
            if led:  # else it has just been said; and this answer came too late to stand on
                logger.warning("beat: The state store does not answer; another one may send.")
            self.term = None
        return self.term is not None

    @property
    def is_away(self) -> bool:
        """Whether the store did not answer when it was asked last."""
        return self._was_away

    def _ask(self, state: StateStore, now: float) -> None:
        try:
            term = state.hold(self._name, self._owner, LEASE)
        except OperationalError as error:
            if not self._was_away:
                logger.error("beat: %s Asking again until it answers.", error)
            self._was_away = True
            self._ask_at = self._clock.monotonic() + ASK
            return
        if self._was_away:
            logger.warning("beat: The state store answers again.")
        self._was_away = False
        self.term = term
        self._trusted_until = now + LEASE - DISTRUST
        self._ask_at = now + (ASK if term is None else PROLONG)

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Prolong the lease in a thread during this block, which may take longer than it lasts."""
        over = threading.Event()

        def prolong() -> None:
            while not over.wait(PROLONG):
                if self._state is not None:
                    self._ask(self._state, self._clock.monotonic())

        thread = threading.Thread(target=prolong, name="Beat's lease", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def wait(self) -> float:
        """Return in how many seconds the store has to be asked again."""
        if self._state is None:
            return PROLONG
        return max(self._ask_at - self._clock.monotonic(), 0.0)

    def leave(self) -> None:
        """Give the lease back, so that another one need not wait for its end."""
        if self._state is None or self.term is None:
            return
        self.term = None
        try:
            self._state.let_go(self._name, self._owner)
        except OperationalError as error:
            logger.warning("beat: Leaving without the answer of the state store. %s", error)
