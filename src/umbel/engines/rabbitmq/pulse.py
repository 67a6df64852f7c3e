"""Signs of life: one thread of each process sends heartbeats on its connections while their users are busy.

A task may run for hours in the thread that reads its connection. Who consumes is looked after, too: what it
holds for long moves before the server takes it back (consumer.py).
"""

from __future__ import annotations

import logging
import threading
import weakref
from time import monotonic
from typing import Protocol

from umbel.engines.rabbitmq.link import Link

logger = logging.getLogger("umbel.rabbitmq")

#: Seconds between two looks.
STEP = 1.0


class Patient(Protocol):
    """Who is looked after."""

    def look_after(self, now: float) -> None:
        """Do what is due."""


class Pulse:
    """The thread, which begins with the first connection and ends with the last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._links: weakref.WeakSet[Link] = weakref.WeakSet()
        self._patients: weakref.WeakSet[Patient] = weakref.WeakSet()
        self._thread: threading.Thread | None = None
        self._woken = threading.Event()

    def add(self, link: Link) -> None:
        """Send heartbeats on a connection for as long as it is open."""
        with self._lock:
            self._links.add(link)
            self._begin()

    def look_after(self, patient: Patient) -> None:
        """Look after somebody, too, for as long as there is a connection."""
        with self._lock:
            self._patients.add(patient)

    def _begin(self) -> None:
        if self._thread is None:
            self._woken.clear()
            self._thread = threading.Thread(
                target=self._run, args=(self._woken,), name="umbel-rabbitmq-pulse", daemon=True
            )
            self._thread.start()

    def _run(self, woken: threading.Event) -> None:
        while not woken.wait(STEP):
            with self._lock:
                links = [link for link in self._links if link.broken is None]
                patients = list(self._patients)
                if not links:
                    self._thread = None
                    return
            now = monotonic()
            for link in links:
                link.beat(now)
            for patient in patients:
                try:
                    patient.look_after(now)
                except Exception:
                    logger.exception("What a consumer holds for long could not be looked after.")

    def stop(self) -> None:
        """End the thread; a new connection begins another."""
        with self._lock:
            thread, self._thread = self._thread, None
            self._woken.set()
            self._woken = threading.Event()
        if thread is not None and thread is not threading.current_thread():
            thread.join(5)

    # Forks

    def before_fork(self) -> None:
        """Wait until the thread has let go of its lock."""
        self._lock.acquire()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self._lock.release()

    def after_fork_in_child(self) -> None:
        """Begin with nothing: the thread is the parent's."""
        links = list(self._links)
        self.__init__()  # type: ignore[misc]
        for link in links:
            link.drop()
