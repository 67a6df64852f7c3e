"""The port of states and results."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence

from umbel.records import ResultRecord


class ResultStore(ABC):
    """States and results by task id."""

    @abstractmethod
    def put(self, records: Sequence[ResultRecord]) -> None:
        """Store results and wake whoever waits for them.

        A SUCCESS is never replaced by another state.
        """

    @abstractmethod
    def get(self, task_ids: Collection[str]) -> dict[str, ResultRecord]:
        """Return the records that exist and have not expired."""

    @abstractmethod
    def wait(self, task_ids: Collection[str], timeout: float) -> dict[str, ResultRecord]:
        """Return the records in a final state as soon as there is one, or what there is after `timeout`."""

    @abstractmethod
    def forget(self, task_ids: Collection[str]) -> None:
        """Delete results."""

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
    def cleanup(self) -> int:
        """Delete expired results and dead letters, a bounded number a call; return how many."""

    @abstractmethod
    def close(self) -> None:
        """Give back connections."""
