"""The port of states and results."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from contextlib import closing
from time import monotonic
from typing import Any

from umbel.records import ResultRecord


class ResultSubscription(ABC):
    """One process's ear for results: however many it waits for, one of these hears of all.

    One thread at a time uses it; only `interrupt` may be called by any other. It may lie idle for long.
    On a server it is one connection: to channels named after the tasks (Redis), to notifications
    (PostgreSQL), or to a reply queue (RabbitMQ). It connects again by itself, and looks after everything
    it was asked for when it has.
    """

    @abstractmethod
    def add(self, task_ids: Collection[str], timeout: float | None = None) -> None:
        """Listen for these too.

        What is stored of them already is received like what comes later: listening begins before
        looking, so nothing falls in between. Raises OperationalError after about `timeout` seconds, or
        when the engine's own patience is over.
        """

    @abstractmethod
    def discard(self, task_ids: Collection[str]) -> None:
        """Listen no more for these."""

    @abstractmethod
    def receive(self, timeout: float) -> dict[str, ResultRecord]:
        """Return what was stored, waiting up to `timeout` seconds for the first; nothing if interrupted.

        Of a task that changed more than once, the latest record, and no record twice. With a final one its
        task is no longer listened for.
        """

    @abstractmethod
    def interrupt(self) -> None:
        """Make `receive` return, now or at its next call."""

    @abstractmethod
    def close(self) -> None:
        """Listen no more. In a child of a fork: let go of the parent's, which goes on undisturbed."""


class ResultStore(ABC):
    """States and results by task id."""

    @abstractmethod
    def put(self, records: Sequence[ResultRecord]) -> None:
        """Store results and tell whoever listens for them.

        A SUCCESS is never replaced by another state.
        """

    def put_of(self, results: Sequence[tuple[ResultRecord, Any]]) -> None:
        """Store results, each with the request or the message's `Call` that it is of, or None.

        For stores that keep more of a call than its document says; others look at no more than that.
        """
        self.put([record for record, _ in results])

    @abstractmethod
    def get(
        self, task_ids: Collection[str], timeout: float | None = None
    ) -> dict[str, ResultRecord]:
        """Return the records that exist and have not expired.

        Raises OperationalError after about `timeout` seconds, or when the engine's own patience is over.
        """

    @abstractmethod
    def subscribe(self) -> ResultSubscription:
        """Return a subscription that listens for nothing yet."""

    def wait(self, task_ids: Collection[str], timeout: float) -> dict[str, ResultRecord]:
        """Return the records in a final state as soon as there is one, or what there is after `timeout`.

        For who waits once. Who waits often, or for many, keeps a subscription.
        """
        found = {name: record for name, record in self.get(task_ids).items() if record.ready}
        if found or timeout <= 0:
            return found
        deadline = monotonic() + timeout
        with closing(self.subscribe()) as subscription:
            subscription.add(task_ids)
            while not found and (left := deadline - monotonic()) > 0:
                news = subscription.receive(left)
                found = {name: record for name, record in news.items() if record.ready}
        return found

    @abstractmethod
    def forget(self, task_ids: Collection[str]) -> None:
        """Delete results, in one call however many."""

    @abstractmethod
    def add_part(self, group: str, part: str, document: str, size: int, claimant: str) -> bool:
        """Record one part of a group; True when all `size` parts are there and the claim is `claimant`'s.

        A part that is recorded again is counted once. The first claimant of a complete group keeps
        the claim, also when it asks again, until `close_group`.
        """

    @abstractmethod
    def parts(self, group: str) -> dict[str, str]:
        """Return the documents recorded for a group, by part."""

    @abstractmethod
    def close_group(self, group: str, claimant: str) -> bool:
        """Delete a group's parts if the claim is `claimant`'s; True if it was."""

    @abstractmethod
    def save_group(self, group: str, document: str | bytes, expires: float | None) -> None:
        """Store a document that says which tasks a group has, in place of any before.

        `expires` is in seconds since the epoch, None means never.
        """

    @abstractmethod
    def saved_group(self, group: str) -> str | bytes | None:
        """Return the document of a group, unless there is none or it has expired."""

    @abstractmethod
    def forget_group(self, group: str) -> None:
        """Delete the document of a group."""

    @abstractmethod
    def cleanup(self) -> int:
        """Delete what has expired, of results, documents of groups and dead letters; return how many.

        A bounded number a call.
        """

    @abstractmethod
    def close(self) -> None:
        """Give back connections."""
