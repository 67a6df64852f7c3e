"""The five ports on which every engine stands.

An engine is a server, a file or a piece of memory behind a URL. It offers some or all of: a
`Broker` (messages, in batches), a `QueueAdmin` (looking into queues), a `ResultStore`, a
`StateStore` (what a fleet must agree on) and a `Broadcast` (remote control and events). These
classes are the contract; the suite in `umbel.testing.conformance` is its proof.

For all ports: calls take and return batches; times are seconds since the epoch, durations are
seconds; what fails raises OperationalError (`BrokerFull` when there is no room) and has then
changed nothing, unless it says otherwise; objects may be used by many threads at once; after a fork
the child may use them and gets connections of its own, the parent's stay untouched.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from umbel.message import Delivery, Message, Publication
from umbel.records import ResultRecord


@dataclass(frozen=True, slots=True)
class Features:
    """What engines differ in. Nothing else may ask which engine it is."""

    shared: bool
    """Other processes can reach the engine; False only for memory."""
    joint_results: bool
    """`settle` can store results in the same step (see `Broker.shares`)."""
    atomic_settle: bool
    """Acks, follow-ups and returns of one `settle` become true together."""
    scheduling: bool
    """`publish` keeps a message that is due later.

    Else `fetch` delivers early and the worker parks it.
    """
    fencing: bool
    """A consumer that lost its leases is refused when it settles."""
    leases: bool
    """The broker keeps who holds what.

    Else the connection is the claim, and its end gives all back.
    """
    dedupes: bool
    """A publication repeated with the same tag while the broker holds the first is recognized."""
    counts: bool
    """Deliveries are counted; else only "delivered before" is known."""
    batch: int
    """Most messages that one fetch or settle may name."""
    priorities: int
    """Number of priority levels that are kept apart; 1 means none."""
    peek: bool
    """Messages can be looked at without being taken."""
    find: bool
    """Messages can be found by task id."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Who holds leases: one process of a node. `id` is unique for ever, also across restarts."""

    id: str
    node: str
    host: str
    pid: int


@dataclass(frozen=True, slots=True)
class FetchRequest:
    """What to fetch: at most `limit` messages, from the first of `queues` before the others.

    More than ``features.batch`` messages are never given at a time.
    """

    queues: Sequence[str]
    limit: int


class Action(Enum):
    """How a delivery is settled."""

    ACK = "ack"
    """Done: the message goes."""
    REQUEUE = "requeue"
    """Back to its queue, at the place it came from where the engine can."""
    PARK = "park"
    """Kept until `due`, then back to its queue."""
    DEAD_LETTER = "dead-letter"
    """Kept apart with a reason, until it is retried, dropped or expires."""


@dataclass(frozen=True, slots=True)
class Settlement:
    """What becomes of one delivery.

    `result` is stored and `publish` is sent in the same step. `crashed` counts a crash on the
    message. `due` belongs to PARK, `reason` and `expires` (of the dead letter) to DEAD_LETTER.
    """

    delivery: Delivery
    action: Action = Action.ACK
    result: ResultRecord | None = None
    publish: tuple[Publication, ...] = ()
    due: float | None = None
    reason: str | None = None
    expires: float | None = None
    crashed: bool = False

    def __post_init__(self) -> None:
        """Refuse to park for ever."""
        if self.action is Action.PARK and self.due is None:
            raise ValueError("A delivery is parked until a time: give `due`.")


@dataclass(frozen=True, slots=True)
class Settled:
    """The answer to `settle`: what was refused because the lease was lost, and what was fetched."""

    refused: tuple[Delivery, ...] = ()
    fetched: tuple[Delivery, ...] = ()


class Broker(ABC):
    """Messages on queues, and who has leased which."""

    features: Features

    @abstractmethod
    def publish(self, publications: Sequence[Publication], timeout: float) -> None:
        """Put messages on their queues and return when they are as safe as the engine makes them.

        All or none with ``features.atomic_settle``. A queue exists from its first use. With
        ``features.dedupes`` a publication whose tag the broker still holds is taken as a repetition
        and changes nothing. Raises OperationalError after `timeout` seconds in total, with an unknown
        outcome: the caller may repeat with the same tags; EncodeError, before anything is sent, for
        headers that are not JSON and names that are not UTF-8.
        """

    @abstractmethod
    def consumer(self, owner: Owner, ttl: float) -> Consumer:
        """Let an owner take leases.

        They end `ttl` seconds after this call or its node's last `renew`.
        """

    @abstractmethod
    def shares(self, results: ResultStore) -> bool:
        """Tell whether `Consumer.settle` stores results in that store, so that one step does both."""

    @abstractmethod
    def renew(self, node: str, ttl: float) -> frozenset[str]:
        """Prolong the leases of all owners of a node; return the ids of those that still exist."""

    @abstractmethod
    def expired(self) -> list[Owner]:
        """Return the owners whose leases have ended. The server's clock decides."""

    @abstractmethod
    def take_back(self, owner: str, keys: Collection[str]) -> int:
        """Return deliveries of another owner that have not started, as `Consumer.release` does; how many.

        For a supervisor whose child is stuck; the caller makes sure that the child will not start
        them. What was marked early stays. Without ``features.leases`` it is impossible: 0.
        """

    @abstractmethod
    def ever_consumed(self) -> bool:
        """Tell whether any consumer was ever attached here; True where the engine cannot know."""

    @abstractmethod
    def close(self) -> None:
        """Give back connections. Leases stay until they are settled, released or expire."""


class Consumer(ABC):
    """One owner's hold on messages: the hot path.

    A key names one handing-over; an older key of the same message does nothing. So what was released
    and is fetched again has another key, and what comes late meets only what it meant. `reclaim`
    hands deliveries over with the keys they have.

    One thread at a time fetches; any thread may settle and release meanwhile. Every call but
    `interrupt` and `close` raises LeaseLost when the owner was taken for dead: all it held is then
    somebody else's.
    """

    owner: Owner

    @abstractmethod
    def fetch(self, request: FetchRequest, wait: float) -> list[Delivery]:
        """Take messages and lease them, in one step: there is no moment at which they are only in memory.

        The most urgent of a queue come first, equal ones in the order of their arrival. When there
        is none, wait up to `wait` seconds for one. It may return early with nothing. Of many
        waiting consumers an engine wakes as few as it can for a message.
        """

    @abstractmethod
    def interrupt(self) -> None:
        """Make a `fetch` that waits in another thread return soon, with nothing."""

    @abstractmethod
    def settle(
        self, settlements: Sequence[Settlement], fetch: FetchRequest | None = None
    ) -> Settled:
        """Settle deliveries and take the next ones, without waiting, in one round trip.

        With ``features.atomic_settle`` everything a settlement says becomes true in one step with
        its acknowledgement. A settlement whose lease is no longer this consumer's is refused as a
        whole: nothing of it becomes true. A result is allowed only if `Broker.shares` said so.
        """

    @abstractmethod
    def mark_early(self, deliveries: Sequence[Delivery]) -> None:
        """Note that deliveries are about to start and may not be delivered again (at most once)."""

    @abstractmethod
    def release(self, keys: Collection[str]) -> int:
        """Give back deliveries that were never started; return how many.

        They go to the place they came from, and it does not count as a delivery, where the engine
        keeps count of such things (``features.counts``). Keys that are not held are passed over.
        """

    @abstractmethod
    def reclaim(
        self, owner: str, unstarted: Collection[str] | None, only_expired: bool = False
    ) -> list[Delivery]:
        """Take away everything a dead owner holds and forget the owner; it can never settle again.

        `unstarted` are the keys of deliveries known not to have started: they go back to their
        queues. All others are handed over to this consumer and returned, for their fate to be
        decided. None means that nothing is known: then only those marked early are handed over, the
        others go back. With `only_expired` an owner that has been renewed in the meantime keeps
        everything. Of many who reclaim the same owner one succeeds, the others get nothing.
        """

    @abstractmethod
    def close(self) -> None:
        """End the owner's leases, who is leaving; what it still holds goes back to the queues.

        But for what was marked early: that may not be delivered again, and stays until the owner is
        reclaimed. The owner counts as expired from then on, and is not renewed any more.
        """


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


class StateStore(ABC):
    """What a fleet must agree on: who leads, what is revoked or paused, who is present."""

    @abstractmethod
    def hold(self, name: str, owner: str, ttl: float) -> int | None:
        """Take or prolong the lease `name`; return its term, or None while another owner holds it.

        The term grows with every change of owner, so that an old owner's late writes can be told
        apart.
        """

    @abstractmethod
    def let_go(self, name: str, owner: str) -> bool:
        """End a lease before its time; True if it was `owner`'s."""

    @abstractmethod
    def put(self, kind: str, key: str, value: str, ttl: float | None = None) -> None:
        """Store a value, for `ttl` seconds or for ever."""

    @abstractmethod
    def put_new(self, kind: str, key: str, value: str, ttl: float | None = None) -> bool:
        """Store a value if there is none; True if there was none (unique locks)."""

    @abstractmethod
    def get(self, kind: str, key: str) -> str | None:
        """Return a value that has not expired."""

    @abstractmethod
    def items(self, kind: str) -> dict[str, str]:
        """Return all values of a kind by key."""

    @abstractmethod
    def delete(self, kind: str, keys: Collection[str]) -> int:
        """Delete values; return how many there were."""

    @abstractmethod
    def version(self, kind: str) -> int:
        """Return a number that grows with every change of a kind: a cheap way to notice changes."""

    @abstractmethod
    def take(self, bucket: str, amount: float, rate: float, burst: float) -> float:
        """Take from a token bucket that refills by `rate` a second up to `burst`.

        Return 0.0 when it was taken, else the seconds after which it is worth asking again (limits
        of a fleet). The server's clock decides.
        """

    @abstractmethod
    def close(self) -> None:
        """Give back connections."""


class Subscription(ABC):
    """A place where broadcasts arrive, from its creation until `close`."""

    @abstractmethod
    def receive(self, wait: float) -> list[tuple[str, bytes]]:
        """Return (topic, payload) pairs in the order of sending.

        Wait up to `wait` seconds for the first.
        """

    @abstractmethod
    def close(self) -> None:
        """Stop listening."""

    def __iter__(self) -> Iterator[tuple[str, bytes]]:
        while True:
            yield from self.receive(1.0)


class Broadcast(ABC):
    """Messages to everyone who listens now: remote control and events. Lossy for slow listeners."""

    @abstractmethod
    def send(self, topic: str, payloads: Sequence[bytes]) -> None:
        """Send to all present subscriptions of a topic."""

    @abstractmethod
    def listen(self, topics: Collection[str]) -> Subscription:
        """Listen from now on. A topic that ends in ``*`` stands for all that begin so."""

    @abstractmethod
    def close(self) -> None:
        """Give back connections."""


class Engine(ABC):
    """What stands behind one URL. A port that the engine does not offer is None."""

    url: str
    features: Features

    @property
    @abstractmethod
    def broker(self) -> Broker | None:
        """The broker, the same object at each call."""

    @property
    @abstractmethod
    def queues(self) -> QueueAdmin | None:
        """The queue administration."""

    @property
    @abstractmethod
    def results(self) -> ResultStore | None:
        """The result store."""

    @property
    @abstractmethod
    def state(self) -> StateStore | None:
        """The state store."""

    @property
    @abstractmethod
    def broadcast(self) -> Broadcast | None:
        """The broadcast."""

    @abstractmethod
    def close(self) -> None:
        """Give back all connections."""


EngineOptions = Mapping[str, Any]
