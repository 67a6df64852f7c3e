"""A consumer on PostgreSQL: claims, settles and follows up by single calls of functions."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from umbel.engines.postgres import rows
from umbel.engines.postgres.errors import GONE, NOT_HELD, sqlstate
from umbel.engines.postgres.link import Row
from umbel.engines.postgres.messages import Messages
from umbel.engines.postgres.waiting import Waiter
from umbel.engines.texts import escaped
from umbel.exceptions import LeaseLost, OperationalError
from umbel.failpoints import fail_point
from umbel.message import Delivery
from umbel.ports import Action, Consumer, FetchRequest, Owner, Settled, Settlement

#: Most messages that one call fetches or settles.
BATCH = 1000

_ACK = Action.ACK
_CODES = {Action.REQUEUE: 1, Action.PARK: 2, Action.DEAD_LETTER: 3}


class PostgresConsumer(Consumer):
    """See `umbel.ports.Consumer`; how it waits is in waiting.py."""

    def __init__(self, messages: Messages, owner: Owner, number: int) -> None:
        self.owner = owner
        self._messages = messages
        self._server = messages.server
        self._sql = messages.sql
        self._number = number
        self._waiter = Waiter(messages, number)

    # Fetching

    def fetch(self, request: FetchRequest, wait: float) -> list[Delivery]:
        """Claim what is there; else be listed as waiting, in the same call."""
        self._messages.number_queues(request.queues)
        deadline = self._server.clock.monotonic() + wait
        with self._translating():
            queues = rows.numbers([self._messages.queues[name] for name in request.queues])
            limit = min(request.limit, BATCH)
            if wait <= 0:
                found = self._waiter.claim(queues, limit)
            else:
                found = self._waiter.wait_and_claim(queues, limit, deadline)
            if found:
                fail_point("postgres.fetch.after")
        return self._taken(found)

    def _taken(self, found: list[Row]) -> list[Delivery]:
        """Read what was claimed, and behind it what has been revoked, if anything was."""
        self.revocations = 0
        if found and found[-1][0] is None:
            self.revocations = int(found.pop()[1] or 0)
        return self._messages.deliveries(found)

    def interrupt(self) -> None:
        """Wake the waiting fetch."""
        self._waiter.interrupt()

    @contextlib.contextmanager
    def _translating(self) -> Iterator[None]:
        """Raise LeaseLost where the server says that the owner is gone."""
        try:
            yield
        except OperationalError as error:
            if sqlstate(error) == GONE:
                raise LeaseLost(
                    f"The process {self.owner.pid} was taken for dead (frozen for longer than"
                    " worker_lease_ttl?) and its leases were taken over."
                ) from error
            raise

    def _run(self, name: str, *values: Any) -> list[Row]:
        with self._translating():
            return self._waiter.run(self._sql[name], values)

    # Settling

    def settle(
        self, settlements: Sequence[Settlement], fetch: FetchRequest | None = None
    ) -> Settled:
        """Settle and claim by one call, and so in one transaction.

        It settles all or nothing. Where something is not held any more, it is asked what still is.
        """
        followed = [item for item in settlements if item.publish]
        written = {
            id(item): [rows.publication_row(one) for one in item.publish] for item in followed
        }
        self._messages.number_queues(one.queue for item in followed for one in item.publish)
        queues, limit = None, 0
        if fetch is not None:
            self._messages.number_queues(fetch.queues)
            queues = rows.numbers([self._messages.queues[name] for name in fetch.queues])
            limit = min(fetch.limit, BATCH)
        kept, refused = _once_each(settlements)
        fail_point("postgres.settle.before")
        while True:
            try:
                found = self._settle_all(kept, written, queues, limit)
                break
            except OperationalError as error:
                if sqlstate(error) != NOT_HELD:
                    raise
            held = self._held(kept)
            refused += [one.delivery for one in kept if one.delivery.handle not in held]
            kept = [one for one in kept if one.delivery.handle in held]
        fail_point("postgres.settle.after")
        fetched = self._taken(found) if fetch is not None else ()
        return Settled(tuple(refused), tuple(fetched))

    def _held(self, settlements: Sequence[Settlement]) -> set[rows.Handle]:
        """Return which of these handings-over the owner still has."""
        wanted = [item.delivery.handle for item in settlements]
        found = self._run("held", self._number, *rows.handle_columns(wanted))
        return {(seq, lease) for seq, lease in found}

    def _settle_all(
        self,
        settlements: Sequence[Settlement],
        written: dict[int, list[rows.PublicationRow]],
        queues: str | None,
        limit: int,
    ) -> list[Row]:
        acked = [item.delivery.handle for item in settlements if item.action is _ACK]
        others = (
            [item for item in settlements if item.action is not _ACK]
            if len(acked) < len(settlements)
            else []
        )
        values = [
            self._number,
            *(rows.acked_columns(acked) if acked else (None, None)),
            *_columns(others),
        ]
        results = [item.result for item in settlements if item.result is not None]
        published = (
            [row for item in settlements for row in written.get(id(item), ())] if written else []
        )
        if not (results or published):
            return self._run("settle", *values, queues, limit)
        values += rows.result_columns(results) if results else rows.NO_RESULTS
        values += rows.columns_or_none(published, self._messages.queues)
        return self._run("settle_and_store", *values, queues, limit)

    def mark_early(self, deliveries: Sequence[Delivery]) -> None:
        """Mark the rows."""
        wanted = [delivery.handle for delivery in deliveries]
        fail_point("postgres.mark_early.before")
        self._run("mark_early", self._number, *rows.handle_columns(wanted))
        fail_point("postgres.mark_early.after")

    # Giving back and taking over

    def release(self, keys: Collection[str]) -> int:
        """Make rows ready again."""
        columns = rows.handle_columns(rows.handles(keys))
        fail_point("postgres.release.before")
        [(count,)] = self._run("release", self._number, *columns)
        fail_point("postgres.release.after")
        return int(count)

    def reclaim(
        self, owner: str, unstarted: Collection[str] | None, only_expired: bool = False
    ) -> list[Delivery]:
        """Give back and hand over in one transaction, and delete the owner: that is its fence."""
        columns: Sequence[str | None] = (None, None)
        if unstarted is not None:
            columns = rows.handle_columns(rows.handles(unstarted))
        fail_point("postgres.reclaim.before")
        found = self._run("reclaim", self._number, owner, *columns, only_expired)
        fail_point("postgres.reclaim.after")
        return self._messages.deliveries(found)

    def close(self) -> None:
        """Give back what is held, and delete the owner unless it holds what it may not give back."""
        fail_point("postgres.close.before")
        try:
            self._run("leave", self._number)
        finally:
            self._waiter.close()
        fail_point("postgres.close.after")
        with contextlib.suppress(OperationalError):
            if ghosts := self._messages.ghosts.names():
                self._server.call(self._sql["forget"], ghosts)


def _columns(settlements: Sequence[Settlement]) -> list[Any]:
    """Return settlements other than acknowledgements as columns."""
    if not settlements:
        return [None] * 7
    return [
        *rows.handle_columns([item.delivery.handle for item in settlements]),
        rows.numbers([_CODES[item.action] for item in settlements]),
        rows.numbers([int(item.crashed) for item in settlements]),
        rows.numbers([item.due if item.action is Action.PARK else None for item in settlements]),
        rows.texts([escaped(item.reason or "").replace("\0", "\\x00") for item in settlements]),
        rows.numbers([item.expires for item in settlements]),
    ]


def _once_each(settlements: Sequence[Settlement]) -> tuple[list[Settlement], list[Delivery]]:
    """Part the first settlement of each delivery from deliveries to refuse."""
    if len({item.delivery.handle for item in settlements}) == len(settlements):
        return list(settlements), []
    seen: set[rows.Handle] = set()
    kept, refused = [], []
    for item in settlements:
        if item.delivery.handle in seen:
            refused.append(item.delivery)
        else:
            seen.add(item.delivery.handle)
            kept.append(item)
    return kept, refused
