"""A consumer on SQLite: claims, settles and follows up in single transactions."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress

from umbel.engines.sqlite import rows
from umbel.engines.sqlite.bell import RENEWAL, SLOW_CHECK, Bell, Ring, forget_listeners
from umbel.engines.sqlite.messages import MARKED, SQL, Messages, Row, counted
from umbel.engines.sqlite.results import store_results
from umbel.engines.texts import escaped
from umbel.exceptions import LeaseLost, OperationalError
from umbel.failpoints import fail_point
from umbel.message import Delivery
from umbel.ports import Action, Consumer, FetchRequest, Owner, Settled, Settlement

_ACK = Action.ACK
#: Most messages that one fetch gives.
BATCH = 10_000


class SqliteConsumer(Consumer):
    """See `umbel.ports.Consumer`; the protocol of waking is in bell.py."""

    def __init__(self, messages: Messages, owner: Owner, number: int) -> None:
        self.owner = owner
        self._messages = messages
        self._database = messages.database
        self._number = number
        self._bell: Bell | None = None
        self._interrupted = threading.Event()

    # Fetching

    def fetch(self, request: FetchRequest, wait: float) -> list[Delivery]:
        """Claim what is there; else wait for the bell, the next due message or the slow check."""
        self._messages.number_queues(request.queues)
        clock = self._database.clock
        deadline = clock.monotonic() + wait
        while True:
            with self._database.write(durable=False) as connection:
                fetched, ports = self._claim(connection, request)
                next_due = None
                if not fetched and wait > 0:
                    next_due = self._start_listening(connection, request)
                if fetched:
                    fail_point("sqlite.fetch.before_commit")
            if fetched:
                fail_point("sqlite.fetch.after_commit")
            self._messages.ringer.ring(ports)
            if fetched or wait <= 0:
                return fetched
            try:
                again = self._listen(request, deadline, next_due)
            except BaseException:
                self._stop_listening()
                raise
            if not again:
                return self._give_up(request)

    def _claim(
        self, connection: sqlite3.Connection, request: FetchRequest
    ) -> tuple[list[Delivery], list[int]]:
        """Lease messages, queue by queue, after returning those that are due; say whom to wake."""
        self._check_attached(connection)
        now = self._database.now
        ports: list[int] = []
        due, revocations = connection.execute(SQL["begin_claim"]).fetchone()
        self.revocations = revocations or 0
        if due is not None and due <= now:
            returned = connection.execute(SQL["return_due"], (now,)).fetchall()
            ports = self._messages.waiters(connection, counted(returned))
        fetched: list[Delivery] = []
        lease = self._messages.next_lease()
        for name in request.queues:
            left = min(request.limit, BATCH) - len(fetched)
            if left <= 0:
                break
            values = (self._number, lease, self._messages.queues[name], left)
            found = connection.execute(SQL["claim"], values).fetchall()
            found.sort(key=_order)
            fetched += [rows.delivery(row, name) for row in found]
        if fetched and self._bell is not None:
            self._bell.stop_listening(connection)
        return fetched, ports

    def _give_up(self, request: FetchRequest) -> list[Delivery]:
        """Stop waiting, so that the next message wakes somebody who does.

        Whoever is no longer listed was rung for a message just now, and takes it: nobody else was.
        """
        assert self._bell is not None  # noqa: S101 - made by _start_listening; for type checkers
        with self._database.write(durable=False) as connection:
            if self._bell.is_listening(connection):
                self._bell.stop_listening(connection)
                return []
            fetched, ports = self._claim(connection, request)
        self._messages.ringer.ring(ports)
        return fetched

    def _stop_listening(self) -> None:
        """Leave the file after an error, if that works: nobody would come for the bell."""
        bell = self._bell
        if bell is not None:
            with (
                suppress(OperationalError),
                self._database.write(durable=False, timeout=SLOW_CHECK) as connection,
            ):
                bell.stop_listening(connection)

    def _check_attached(self, connection: sqlite3.Connection) -> None:
        if connection.execute(SQL["is_attached"], (self._number,)).fetchone() is None:
            raise LeaseLost(
                f"The process {self.owner.pid} was taken for dead (frozen for longer than"
                " worker_lease_ttl?) and its leases were taken over."
            )

    def _start_listening(
        self, connection: sqlite3.Connection, request: FetchRequest
    ) -> float | None:
        """Ask to be woken; return when the next scheduled message is due."""
        if self._bell is None:
            self._bell = Bell()
        topics = [f"queue:{self._messages.queues[name]}" for name in request.queues]
        self._bell.listen(connection, topics, self._database.now, self._number)
        (due,) = connection.execute(SQL["first_due"]).fetchone()
        return rows.seconds(due)

    def _listen(self, request: FetchRequest, deadline: float, next_due: float | None) -> bool:
        """Wait until there may be something to claim (True), or it is time to give up (False)."""
        assert self._bell is not None  # noqa: S101 - made by _start_listening; for type checkers
        clock = self._database.clock
        renewal = clock.monotonic() + RENEWAL
        while not self._interrupted.is_set():
            left = deadline - clock.monotonic()
            if next_due is not None:
                left = min(left, max(next_due - clock.time(), 0.0))
            woken = self._bell.wait(min(left, SLOW_CHECK))
            if self._interrupted.is_set():
                break
            if woken or (next_due is not None and clock.time() >= next_due):
                return True
            if clock.monotonic() >= deadline:
                return False
            if clock.monotonic() >= renewal or self._slow_check(request):
                return True
        self._interrupted.clear()
        return False

    def _slow_check(self, request: FetchRequest) -> bool:
        """Look for messages whose bell was lost; a reading that disturbs nobody."""
        with self._database.read() as connection:
            if self._bell is None or not self._bell.is_listening(connection):
                return True
            (due,) = connection.execute(SQL["first_due"]).fetchone()
            if due is not None and due <= self._database.now:
                return True
            return any(
                connection.execute(SQL["any_ready"], (self._messages.queues[name],)).fetchone()
                for name in request.queues
            )

    def interrupt(self) -> None:
        """Wake the waiting fetch."""
        self._interrupted.set()
        bell = self._bell
        if bell is not None:
            self._messages.ringer.ring([bell.port])

    # Settling

    def settle(
        self, settlements: Sequence[Settlement], fetch: FetchRequest | None = None
    ) -> Settled:
        """Settle and claim in one transaction, which is on disk when this returns."""
        follow_ups = {
            id(item): self._messages.rows(item.publish) for item in settlements if item.publish
        }
        self._messages.number_queues(item.delivery.queue for item in settlements)
        self._messages.number_queues(one.queue for item in settlements for one in item.publish)
        if fetch is not None:
            self._messages.number_queues(fetch.queues)
        refused: list[Delivery] = []
        fetched: list[Delivery] = []
        ports: list[Ring] = []
        with self._database.write(durable=bool(settlements)) as connection:
            self._check_attached(connection)
            if settlements:
                refused, ports = self._apply(connection, settlements, follow_ups)
            if fetch is not None:
                fetched, others = self._claim(connection, fetch)
                ports += others
            fail_point("sqlite.settle.before_commit")
        fail_point("sqlite.settle.after_commit")
        self._messages.ringer.ring(ports)
        return Settled(tuple(refused), tuple(fetched))

    def _apply(
        self,
        connection: sqlite3.Connection,
        settlements: Sequence[Settlement],
        follow_ups: Mapping[int, Sequence[Row]],
    ) -> tuple[list[Delivery], list[Ring]]:
        """Make settlements true; return what was refused and whom to wake."""
        wanted = [item.delivery.handle for item in settlements]
        held = self._messages.held(connection, self._number, wanted)
        refused: list[Delivery] = []
        if len(held) < len(settlements):
            settlements, refused = _divided(settlements, held)
        ports: list[Ring] = []
        results = [item.result for item in settlements if item.result is not None]
        if results:
            ports += store_results(connection, self._messages.ringer, results, self._database.now)
        published = [row for item in settlements for row in follow_ups.get(id(item), ())]
        if published:
            ports += self._messages.insert(connection, published)
        leaving = [item.delivery.handle[0] for item in settlements if item.action is _ACK]
        if len(leaving) < len(settlements):
            requeued = [item for item in settlements if item.action is Action.REQUEUE]
            if requeued:
                ports += self._requeue(connection, requeued)
            parked = [item for item in settlements if item.action is Action.PARK]
            if parked:
                ports += self._park(connection, parked)
            buried = [item for item in settlements if item.action is Action.DEAD_LETTER]
            self._bury(connection, buried)
            leaving += [item.delivery.handle[0] for item in buried]
        if leaving:
            connection.execute(SQL["acknowledge"], (json.dumps(leaving), self._number))
        return refused, ports

    def _requeue(
        self, connection: sqlite3.Connection, settlements: Sequence[Settlement]
    ) -> list[int]:
        values = [(int(item.crashed), *item.delivery.handle, self._number) for item in settlements]
        connection.executemany(SQL["requeue"], values)
        return self._woken_for(connection, settlements)

    def _woken_for(
        self, connection: sqlite3.Connection, settlements: Sequence[Settlement]
    ) -> list[int]:
        """Return the ports of waiters to wake, as many of each queue as deliveries go back to it."""
        queues = self._messages.queues
        back = counted((queues[item.delivery.queue],) for item in settlements)
        return self._messages.waiters(connection, back)

    def _park(self, connection: sqlite3.Connection, settlements: Sequence[Settlement]) -> list[int]:
        values = [
            (rows.milliseconds(item.due), *item.delivery.handle, self._number)
            for item in settlements
        ]
        connection.executemany(SQL["park"], values)
        # Who waits has to know when to wake up.
        return self._woken_for(connection, settlements)

    def _bury(self, connection: sqlite3.Connection, settlements: Sequence[Settlement]) -> None:
        """Copy to the dead letters; the acknowledgement that follows deletes the originals."""
        now = self._database.now
        values = [
            (
                int(item.crashed),
                escaped(item.reason or ""),
                now,
                rows.milliseconds(item.expires),
                *item.delivery.handle,
                self._number,
            )
            for item in settlements
        ]
        connection.executemany(SQL["bury"], values)

    def mark_early(self, deliveries: Sequence[Delivery]) -> None:
        """Mark the rows."""
        wanted = [delivery.handle for delivery in deliveries]
        with self._database.write() as connection:
            self._check_attached(connection)
            held = self._messages.held(connection, self._number, wanted)
            numbers = json.dumps([seq for seq, _ in held])
            connection.execute(SQL["mark_early"], (numbers, self._number))
            fail_point("sqlite.mark_early.before_commit")
        fail_point("sqlite.mark_early.after_commit")

    # Giving back and taking over

    def release(self, keys: Collection[str]) -> int:
        """Make rows ready again."""
        wanted = rows.handles(keys)
        with self._database.write(durable=False) as connection:
            self._check_attached(connection)
            held = self._messages.held(connection, self._number, wanted)
            found = self._messages.release(connection, self._number, held)
            ports = self._messages.waiters(connection, Counter(found))
            fail_point("sqlite.release.before_commit")
        fail_point("sqlite.release.after_commit")
        self._messages.ringer.ring(ports)
        return len(found)

    def reclaim(
        self, owner: str, unstarted: Collection[str] | None, only_expired: bool = False
    ) -> list[Delivery]:
        """Give back and hand over in one transaction, and delete the owner: that is its fence."""
        with self._database.write() as connection:
            self._check_attached(connection)
            row = connection.execute(SQL["owner_number"], (owner,)).fetchone()
            if row is None or (only_expired and row[1] >= self._database.now):
                return []
            number = row[0]
            if unstarted is None:
                found = connection.execute(SQL["release_unmarked"], (number,))
                returned = [queue for (queue,) in found]
            else:
                held = self._messages.held(connection, number, rows.handles(unstarted))
                returned = self._messages.release(connection, number, held)
            rest = connection.execute(SQL["hand_over"], (self._number, number)).fetchall()
            connection.execute(SQL["forget_owner"], (number,))
            forget_listeners(connection, number)
            ports = self._messages.waiters(connection, Counter(returned))
            numbers = dict(connection.execute(SQL["all_queues"]))
            fail_point("sqlite.reclaim.before_commit")
        fail_point("sqlite.reclaim.after_commit")
        self._messages.ringer.ring(ports)
        self._messages.queues.update(numbers)
        names = {number: name for name, number in numbers.items()}
        rest.sort(key=_order)
        return [rows.delivery(row, names[row[11]], early=row[12] == MARKED) for row in rest]

    def close(self) -> None:
        """Give back what is held, and delete the owner unless it holds what it may not give back."""
        with self._database.write(durable=False) as connection:
            returned = connection.execute(SQL["release_all"], (self._number,)).fetchall()
            connection.execute(SQL["forget_empty_owner"], (self._number,))
            connection.execute(SQL["leave"], (self._number,))
            forget_listeners(connection, self._number)
            ports = self._messages.waiters(connection, counted(returned))
            fail_point("sqlite.close.before_commit")
        fail_point("sqlite.close.after_commit")
        self._messages.ringer.ring(ports)
        if self._bell is not None:
            self._bell.close()
            self._bell = None


def _order(row: tuple[int, ...]) -> tuple[int, int]:
    """Sort rows in the order of delivery, which RETURNING does not keep."""
    return row[2], row[0]


def _divided(
    settlements: Sequence[Settlement], held: Collection[rows.Handle]
) -> tuple[list[Settlement], list[Delivery]]:
    """Part settlements of what is held, each once, from deliveries to refuse."""
    left, kept, refused = set(held), [], []
    for item in settlements:
        if item.delivery.handle in left:
            left.discard(item.delivery.handle)
            kept.append(item)
        else:
            refused.append(item.delivery)
    return kept, refused
