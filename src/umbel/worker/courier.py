"""The courier: a thread that talks to the broker for a child whose own threads are busy, or wait.

It is not the helper that does so, since a broker that has fallen silent is waited for, and time limits are to
be told of meanwhile. Most children of ``prefork`` never need it, so it starts with its first errand.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

logger = logging.getLogger("umbel.worker")


class Courier:
    """Runs an errand soon after each `call`, in a thread of its own; calls that come meanwhile are one.

    What the errand raises is a bug: it is logged, and `leave` ends the process.
    """

    def __init__(self, errand: Callable[[], None], leave: Callable[[int], None]) -> None:
        self._errand = errand
        self._leave = leave
        self._called = threading.Event()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._ending = False

    def call(self) -> None:
        """Have the errand run, from any thread."""
        if self._called.is_set():
            return
        self._called.set()
        if self._thread is None:
            self.start()

    def start(self) -> None:
        """Start the thread, if it does not run yet."""
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="umbel-courier", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        try:
            while self._called.wait() and not self._ending:
                self._called.clear()
                self._errand()
        except BaseException:
            logger.critical("The courier of a child failed; the child ends.", exc_info=True)
            self._leave(1)

    def end(self) -> None:
        """End the thread, after the errand that runs."""
        self._ending = True
        self._called.set()
        if self._thread is not None:
            self._thread.join()
