"""The port of states and results."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from contextlib import closing
from time import monotonic
from typing import Any

from umbel.records import ResultRecord
from umbel.values import value


@value
class GroupPart:
    """The outcome of one call of a group.

    `part` is the call's id and `index` its place in the group; both together name the part. `claimant` is who
    wants to go on when the group is complete: it is the same when the same part is recorded again. `expires`
    is when the group is given up, in seconds since the epoch; None means never.
    """

    group: str
    part: str
    index: int | None
    document: str | bytes
    claimant: str
    expires: float | None = None


@value
class GroupOpening:
    """A group that begins: how many parts it has, when it is given up, and its document, if one is saved.

    `body` is the signature that gets its results, as a mapping. With a `size` of 0 it is a document alone, of
    which no parts are counted.
    """

    group: str
    size: int
    expires: float | None = None
    document: str | bytes | None = None
    body: Mapping[str, Any] | None = None


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

    #: Whether it counts the parts of groups; else the methods that do raise NotImplementedError, and the
    #: document of each group is saved when it is opened.
    counts_parts = True

    @property
    def reply_to(self) -> str | None:
        """Where results of calls of this process go, if their messages have to say it."""
        return None

    @abstractmethod
    def put(self, records: Sequence[ResultRecord]) -> None:
        """Store results and tell whoever listens for them.

        A SUCCESS is never replaced by another state, nor is any final state by PROGRESS
        (`umbel.states.stays`).
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
    def open_group(self, group: str, size: int, expires: float | None) -> None:
        """Say how many parts a group has; only then can it be complete.

        A group that was opened before stays as it is, and a closed one closed.
        """

    def open_groups(self, openings: Sequence[GroupOpening]) -> None:
        """Open groups, and save their documents; to do so twice does no harm."""
        for opening in openings:
            if opening.document is not None:
                self.save_group(opening.group, opening.document, opening.expires)
            if opening.size:
                self.open_group(opening.group, opening.size, opening.expires)

    def restart_groups(self, groups: Collection[str]) -> None:
        """Forget the parts of groups, and that they were closed: all their calls are sent once more.

        Where this is not there, such groups stay as they are.
        """
        del groups

    @abstractmethod
    def extend_group(self, group: str, part: str) -> None:
        """Let a group that is open have one part more, of a call by its id; once for each id."""

    @abstractmethod
    def add_parts(self, parts: Sequence[GroupPart]) -> list[bool]:
        """Record parts; for each: are all parts of its group there, and is the claim its claimant's?

        Of a part that is recorded again the first document counts. Of several claimants of a complete group
        one gets the claim, and keeps it until `close_group`, or for so long as the engine says: after that
        another may get it, so what is done with a claim has to be the same whoever does it. Parts of a closed
        group change nothing.
        """

    def pass_on(self, parts: Sequence[tuple[GroupPart, Mapping[str, Any]]]) -> None:
        """Be told of parts, each with its chord's body, where `counts_parts` is False.

        Their results are stored. It may be told of one again.
        """
        raise NotImplementedError

    @abstractmethod
    def parts(self, group: str) -> list[str | bytes]:
        """Return the documents recorded for a group, in the order of their places.

        Spaces may stand behind one.
        """

    @abstractmethod
    def close_group(self, group: str, claimant: str) -> bool:
        """Delete a group's parts if the claim is `claimant`'s; True if it was.

        It is remembered as closed for a day at least.
        """

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
