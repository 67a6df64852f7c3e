"""The helper: a child's second thread, which looks after the batch while the main thread runs a long task.

It sleeps while nothing runs. During a batch it looks every few milliseconds. It sees to time limits, and
when a task has run for longer than that, it has what is finished settled and what waits given back, once, by
a third thread (courier.py): it never waits for the broker itself. It also listens to the supervisor: a word
to stop, or the end of the pipe, which means that the supervisor is dead.
"""

from __future__ import annotations

import logging
import math
import os
import select
import socket
import threading
from collections.abc import Callable

from umbel.clock import Clock
from umbel.exceptions import LeaseLost, OperationalError
from umbel.worker.child import Child
from umbel.worker.courier import Courier
from umbel.worker.page import Page

logger = logging.getLogger("umbel.worker")

#: Seconds after which a running task counts as long, and between two looks.
LONG = 0.01
#: Looks without a running batch before the helper goes to sleep, and once it was woken.
QUIET_LOOKS, LOOKS_AWAKE = 100, 10
#: Seconds that a running task is given to end after the supervisor died.
GRACE = 1.0


def stop_word(within: float | None = None) -> bytes:
    """Return the word that stops a child: its running task, too, after `within` seconds that are not None."""
    return b"stop " if within is None else f"stop:{within} ".encode()


class Helper:
    """Looks after a child; `run` is the thread's function."""

    def __init__(
        self,
        child: Child,
        page: Page,
        control: socket.socket,
        clock: Clock,
        leave: Callable[[int], None] = os._exit,
        exit_code: Callable[[], int] = lambda: 1,
    ) -> None:
        self._child = child
        self._page = page
        self._control = control
        self._clock = clock
        self._leave = leave
        #: What a process that is stopped before its task ends leaves with.
        self._exit_code = exit_code
        self._deadline = math.inf
        # A pair of sockets, because Windows cannot select on pipes.
        self._wake_out, self._wake_in = socket.socketpair()
        self._asleep = False
        #: Looks since something ran, or woke it.
        self._quiet = 0
        self._ending = False
        self._relieved: object = None
        self._courier = Courier(self.relieve, leave)
        self._thread = threading.Thread(target=self.run, name="umbel-helper", daemon=True)
        child.on_batch = self.wake
        child.on_leftovers = self._courier.call

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def wake(self) -> None:
        """Say that a batch begins; costs a system call only if the helper sleeps."""
        if self._asleep:
            self._asleep = False
            self._wake_in.send(b"!")

    def end(self) -> None:
        """End the thread, when its child has ended and the process goes on."""
        self._ending = True
        self._wake_in.send(b"!")
        self._thread.join()
        self._courier.end()
        for end in (self._wake_out, self._wake_in):
            end.close()

    def run(self) -> None:
        """Look, until the supervisor is gone or the process ends."""
        try:
            self._look_after()
        except BaseException:
            # Without its helper a child would hear neither its supervisor nor its end.
            logger.critical("The helper of a child failed; the child ends.", exc_info=True)
            self._leave(1)

    def _look_after(self) -> None:
        while not self._ending:
            self._quiet = 0 if self._child.is_busy() else self._quiet + 1
            self._asleep = self._quiet > QUIET_LOOKS
            # Said before looking: a batch that begins now either is seen here or sees that it must
            # wake us.
            if self._asleep and self._child.is_busy():
                self._asleep = False
            heard = self._listen(None if self._asleep else LONG)
            if heard is not None:
                if not heard:
                    return self._supervisor_died()
                self._stop()
                self._hasten(heard)
            self.step(self._clock.monotonic())

    def _listen(self, wait: float | None) -> bytes | None:
        """Wait for the supervisor or the main thread.

        Return what the supervisor said, if anything.
        """
        readable, _, _ = select.select([self._control, self._wake_out], [], [], wait)
        self._asleep = False
        if self._wake_out in readable:
            self._wake_out.recv(512)
            # Of short tasks no look sees one run: each would wake it again.
            self._quiet = max(QUIET_LOOKS - LOOKS_AWAKE, 0)
        if self._control in readable:
            try:
                return self._control.recv(64)
            except ConnectionError:
                return b""
        return None

    def step(self, now: float) -> None:
        """See to time limits, and whether the broker has to be told anything while a task runs."""
        self._page.beat(now)
        self._child.look(now)
        if now >= self._deadline:
            self._give_up()
        if self._is_wanted(now):
            self._courier.call()

    def _is_wanted(self, now: float) -> bool:
        """Tell whether the courier has anything to do."""
        return self._runs_long(now) or self._is_ending(now) or self._child.has_news(now)

    def _is_ending(self, now: float) -> bool:
        """Tell whether the broker is to hear that a hard time limit passes soon."""
        child = self._child
        return child.own_limits.is_ending(now - child.started_at, child.limits[0], child.current)

    def _runs_long(self, now: float) -> bool:
        """Tell whether a task that was not relieved yet runs long, or nothing more is to start."""
        current, stops = self._child.current, self._child.stopping.is_set()
        if current is None or (current is self._relieved and not stops):
            return False
        if now - self._child.started_at < LONG and not stops:
            return False
        child = self._child
        # Something to settle or to give back while a task runs.
        if len(child.finished) > child.holds or child.waiting or child.returning:
            return True
        self._relieved = current
        return False

    def relieve(self) -> None:
        """Do what the courier is for: settle, give back and tell of a hard time limit, as it is due."""
        child, current = self._child, self._child.current
        now = self._clock.monotonic()
        if not self._heed_news(now) or not (self._runs_long(now) or self._is_ending(now)):
            return
        if not child.lock.acquire(blocking=False):
            return
        try:
            ending = child.current
            if ending is not None and self._is_ending(now):
                child.own_limits.foretell(ending, child.limits[0], child.consumer)
            child.settle_finished(by_helper=True)
            child.release_waiting()
        except OperationalError:
            return  # the next look has it tried again
        except LeaseLost:
            pass  # the main thread meets the same, and says so
        finally:
            child.lock.release()
        self._relieved = current

    def _heed_news(self, now: float) -> bool:
        """Have the child heed what is revoked; False where that is to be tried again."""
        try:
            if self._child.has_news(now):
                self._child.heed_news()
        except (OperationalError, LeaseLost):
            return False
        return True

    def _stop(self) -> None:
        """Let the main thread end after its current task; what waits goes back at once."""
        self._child.stopping.set()
        self._child.interrupt()
        self._courier.call()

    def _hasten(self, words: bytes) -> None:
        """Note by when a running task is to end, if the words say so (`stop_word`)."""
        now = self._clock.monotonic()
        for word in words.split():
            within = word.partition(b":")[2]
            if within:
                self._deadline = min(self._deadline, now + float(within))

    def _give_up(self) -> None:
        """End the process without waiting for its task, which runs again elsewhere."""
        self._abandon("the worker was stopped before it ended", stopped=True)
        self._leave(self._exit_code())

    def _supervisor_died(self) -> None:
        """Hand back and quit; a running task has a moment to end by itself."""
        self._stop()
        logger.error("The supervisor is gone: handing back and leaving.")
        deadline = self._clock.monotonic() + GRACE
        while self._child.is_running() and self._clock.monotonic() < deadline:
            self._clock.sleep(LONG)
        if not self._child.is_running():
            # The main thread leaves by itself, unless the broker keeps it.
            self._clock.sleep(GRACE)
        self._abandon("its supervisor died")
        self._leave(1)

    def _abandon(self, reason: str, *, stopped: bool = False) -> None:
        if self._child.lock.acquire(timeout=GRACE):
            try:
                self._child.abandon(reason, stopped=stopped)
            except (OperationalError, LeaseLost) as error:
                logger.warning("Could not hand back; the leases end by themselves. %s", error)
