"""A client under way: it sends call after call while something is done to the server."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

from tests.faults.fleet import Fleet, wait_until
from umbel.clock import SYSTEM, unique_id
from umbel.exceptions import OperationalError, UmbelError


@dataclass(frozen=True)
class Refusal:
    """A call that was not accepted: after how many seconds, and what was said."""

    seconds: float
    error: UmbelError


class Load:
    """Sends a task of a few milliseconds about a hundred times a second, in a ``with`` statement.

    A call that fails may have been accepted all the same.
    """

    def __init__(
        self,
        fleet: Fleet,
        dice: random.Random,
        enough: int,
        retry: bool = True,
        refused: type[UmbelError] = OperationalError,
    ) -> None:
        """Send `enough` calls before anything is done, and each time after.

        Without `retry` no call is repeated whose answer was lost, for servers that would not recognize it.
        `refused` is what calls may raise.
        """
        self._retry, self._refused = retry, refused
        self._fleet = fleet
        self._dice = dice
        self._enough = enough
        self._ending = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)
        self.refusals: list[Refusal] = []
        self.accepted = 0
        #: The longest call that was accepted, in seconds.
        self.longest = 0.0
        self.error: BaseException | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        self.await_more()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join(30.0)
        assert not self._thread.is_alive(), "a call hangs"
        assert self.error is None, self.error

    def await_more(self) -> None:
        """Wait until enough more calls have been accepted."""
        goal = self.accepted + self._enough
        text = f"{self._enough} calls to be accepted"
        wait_until(lambda: self.accepted >= goal or self.error is not None, 60.0, text)
        assert self.error is None, self.error

    def until_accepted(self, since: float) -> float:
        """Return the seconds since a moment until a call is accepted that began after now."""
        goal = self.accepted + 2  # one may be under way
        wait_until(lambda: self.accepted >= goal, 60.0, "a call to be accepted")
        return SYSTEM.monotonic() - since

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let no call be under way."""
        with self._lock:
            yield

    def _run(self) -> None:
        try:
            while not self._ending.wait(0.005):
                with self._lock:
                    self._send()
        except BaseException as error:  # noqa: BLE001 - the thread's last frame: its end shows it
            self.error = error

    def _send(self) -> None:
        id, begun = unique_id(), SYSTEM.monotonic()
        self._fleet.ledger.sent(id, "unknown")
        try:
            task = self._fleet.app.tasks["work"]
            task.apply_async((self._dice.uniform(0.001, 0.02),), task_id=id, retry=self._retry)
        except self._refused as error:
            self.refusals.append(Refusal(SYSTEM.monotonic() - begun, error))
        else:
            self._fleet.ledger.sent(id, "ok")
            self.longest = max(self.longest, SYSTEM.monotonic() - begun)
            self.accepted += 1
