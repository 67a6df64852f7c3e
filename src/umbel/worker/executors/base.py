"""What a child asks of an executor, and what an executor asks of the child."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol

from umbel.worker.outcome import Waiting


class Works(Protocol):
    """Who takes a delivery from its start to its outcome. Nothing raises from either."""

    def work(self, item: Waiting) -> None:
        """Run a delivery, in any thread."""

    async def work_async(self, item: Waiting) -> None:
        """Run a delivery of an async task, on an event loop."""

    def freed(self) -> None:
        """Note that a slot is free again: a moment ago the executor still said that it is taken."""


class Executor(ABC):
    """Runs deliveries in a number of slots. What is more than these waits here.

    One thread submits; any thread may withdraw. Who works says what became of each.
    """

    slots: int

    @abstractmethod
    def drive(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine to its end for a thread that runs a task."""

    @abstractmethod
    def host(self, works: Works, desk: Callable[[], None]) -> None:
        """Run until `desk` returns, which submits. What it raises is raised."""

    @abstractmethod
    def submit(self, items: Sequence[Waiting]) -> None:
        """Run deliveries as soon as there are slots."""

    @abstractmethod
    def withdraw(self) -> list[Waiting]:
        """Take back all that has not started."""

    @abstractmethod
    def cancel(self) -> None:
        """Cancel the coroutines that run, without waiting for their end."""

    @abstractmethod
    def cancel_call(self, item: Waiting) -> None:
        """Cancel the coroutine of a delivery, if it still runs, without waiting for its end."""

    @property
    @abstractmethod
    def waiting(self) -> int:
        """How many deliveries have not started, about."""

    @abstractmethod
    def full(self) -> set[bool]:
        """Return of which kinds, on the event loop or not, deliveries wait for others to end.

        Others just wait for their turn.
        """

    @abstractmethod
    def taken(self) -> set[bool]:
        """Return of which kinds all slots are taken, whether others wait or not."""

    @abstractmethod
    def when_loop_goes_on(self, act: Callable[[], None]) -> None:
        """Call `act` on the event loop that deliveries run on, if there is one, in its turn."""

    @abstractmethod
    def runs_async(self, item: Waiting) -> bool:
        """Tell whether a delivery runs on the event loop, and not in a thread."""
