"""How a node hears what is revoked: it asks for the version once a second, and says it on its pages.

What a child holds already is heard of by that, so are running tasks that are to be ended; and all that is
revoked, where broker and state store are not one. A child then reads what is new by itself.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterable

from umbel.exceptions import UmbelError
from umbel.ports import REVOKED, Broker, StateStore
from umbel.worker.page import Page

logger = logging.getLogger("umbel.worker")

#: Seconds between two looks.
LOOK = 1.0


class RevocationWatch:
    """Looks for one node, in a thread of its own where `start` is called: a state store may be silent."""

    def __init__(
        self,
        state: Callable[[], StateStore | None],
        pages: Callable[[], Iterable[Page]],
        broker: Broker | None = None,
    ) -> None:
        """Where a `broker` is given, its word counts, as far as it has one."""
        self._state = state
        self._pages = pages
        self._broker = broker
        self._version = 0
        self._silent = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="umbel-revocations", daemon=True)

    def step(self) -> None:
        """Ask, and say it. Raises OperationalError."""
        self._version = self._asked()
        if not self._version:
            return
        for page in self._pages():
            with contextlib.suppress(ValueError):  # its child was buried meanwhile
                page.tell_revocations(self._version)

    def _asked(self) -> int:
        """Return the version, which a broker may have told already; 0 where there is none."""
        told = None if self._broker is None else self._broker.revocations
        if told is not None:
            return told
        state = self._state()
        return 0 if state is None else state.version(REVOKED)

    def start(self) -> None:
        """Look until the end."""
        self._thread.start()

    def _run(self) -> None:
        while not self._ended.wait(LOOK):
            try:
                self.step()
                self._silent = False
            except UmbelError as error:
                if not self._silent:
                    logger.warning("What is revoked is not heard of: %s", error)
                self._silent = True

    def end(self) -> None:
        """End the thread, if it was started; a silent state store is waited for `LOOK` seconds at most."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(LOOK)
