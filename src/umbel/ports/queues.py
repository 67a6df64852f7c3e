"""The port for looking into queues and mending them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection
from dataclasses import dataclass

from umbel.message import Message
from umbel.ports.broker import Owner


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """How many messages of a queue are where.

    `oldest` is when the first waiting one was published.
    """

    ready: int = 0
    scheduled: int = 0
    leased: int = 0
    dead: int = 0
    oldest: float | None = None


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A message found in a broker. `where` is ready, scheduled, leased or dead."""

    key: str
    queue: str
    where: str
    message: Message
    due: float | None = None
    consumer: str | None = None


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that could not be processed, kept with the reason.

    `died_at` in seconds since the epoch.
    """

    key: str
    queue: str
    message: Message
    reason: str
    died_at: float
    crashes: int = 0


@dataclass(frozen=True, slots=True)
class Holding:
    """How many messages an owner holds, and in how many seconds its leases end: 0 when they have."""

    owner: Owner
    held: int
    left: float


class QueueAdmin(ABC):
    """Looking into queues and mending them.

    Not the hot path: calls may take long on large queues.
    """

    @abstractmethod
    def depths(self) -> dict[str, QueueDepth]:
        """Return the depth of every queue that was ever used."""

    @abstractmethod
    def peek(self, queue: str, limit: int, offset: int = 0) -> list[StoredMessage]:
        """Return waiting messages in the order in which they will be delivered, without taking them."""

    @abstractmethod
    def find(self, task_id: str) -> list[StoredMessage]:
        """Return every message of a task, wherever it is."""

    @abstractmethod
    def holdings(self) -> list[Holding]:
        """Return every owner of leases, also one that holds nothing; the first to end come first.

        The server's clock decides. Without ``features.leases`` nobody knows who holds what: none.
        """

    @abstractmethod
    def purge(self, queue: str) -> int:
        """Delete what waits in a queue, ready or scheduled; return how many.

        Leased messages stay.
        """

    @abstractmethod
    def dead_letters(self, limit: int, offset: int = 0) -> list[DeadLetter]:
        """Return dead letters, the latest first."""

    @abstractmethod
    def retry_dead(self, keys: Collection[str]) -> int:
        """Put dead letters back on their queues, with no crash counted; return how many."""

    @abstractmethod
    def drop_dead(self, keys: Collection[str]) -> int:
        """Delete dead letters for good; return how many."""
