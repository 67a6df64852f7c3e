"""The port of messages, in batches: the broker, and the consumers that lease from it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import Enum

from umbel.exceptions import LeaseLost
from umbel.message import Delivery, Publication
from umbel.ports.results import ResultStore
from umbel.records import ResultRecord
from umbel.values import value


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
    """The broker keeps who holds what, and what it is.

    A delivery that is settled or given back need not have its message any more. Else the connection is the
    claim, and its end gives all back.
    """
    dedupes: bool
    """A publication repeated with the same tag within `remembers` seconds of the first is recognized."""
    remembers: float
    """Seconds after a publish for which it is recognized, wherever the message is: it may wait, be leased,
    or be gone, settled by a quick worker. Later it may be taken as another message, also while the first
    is there.

    An engine behind a network remembers longer than any caller repeats. 0 where the answer to a publish
    cannot get lost, because the engine is part of the caller's process: it is recognized for as long as the
    first is there, and no longer.
    """
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
    accounts: bool = True
    """`QueueAdmin` knows all queues, and what of each is scheduled and leased.

    Else it tells what is ready and dead in the queues that its engine object has heard of, and `purge` leaves
    what is scheduled.
    """
    lowest_first: bool = False
    """Of priorities the lowest number is the most urgent, where a wire form has it so; else the highest."""
    queues_in_order: bool = True
    """`fetch` takes from the first of its queues before the others.

    Else the engine may take turns, and put the urgent messages of all before the others of any.
    """

    joint_state: bool = False
    """`StateStore.change` works, and can publish in the same step."""
    tells_revocations: bool = False
    """`Consumer.revocations` says with what was fetched whether the own state store knows more of them.

    Else a worker asks for that about once a second.
    """

    @property
    def most_urgent(self) -> int:
        """The priority that is delivered before all others."""
        return 0 if self.lowest_first else min(self.priorities, 256) - 1

    @property
    def least_urgent(self) -> int:
        """The priority that is delivered after all others."""
        return min(self.priorities, 256) - 1 if self.lowest_first else 0


@dataclass(frozen=True, slots=True)
class Owner:
    """Who holds leases: one process of a node. `id` is unique for ever, also across restarts."""

    id: str
    node: str
    host: str
    pid: int


@value
class FetchRequest:
    """What to fetch: at most `limit` messages, from the first of `queues` before the others.

    Without ``features.queues_in_order`` the engine chooses among them, so that none waits for ever.
    More than ``features.batch`` messages are never given at a time.
    """

    queues: Sequence[str]
    limit: int
    waits: bool = False
    """Where `Consumer.settle` finds nothing for it, `Consumer.fetch` or `Consumer.close` follows at once.

    So an engine may begin to wait as it settles. What comes meanwhile is leased.
    """


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


_PARK = Action.PARK  # which takes a tenth of the time to look up


@value
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
        if self.action is _PARK and self.due is None:
            raise ValueError("A delivery is parked until a time: give `due`.")


@value
class Settled:
    """The answer to `settle`: what was refused because the lease was lost, and what was fetched."""

    refused: tuple[Delivery, ...] = ()
    fetched: tuple[Delivery, ...] = ()


class WentBack(LeaseLost):
    """Deliveries have gone back because the connection was lost that held them; their consumer goes on."""


class Broker(ABC):
    """Messages on queues, and who has leased which."""

    features: Features
    revocations: int | None = None
    """The version of the kind `REVOKED` of the engine's own state store, as the last `expired` read it.

    None where that does not: who wants to know has to ask.
    """

    @abstractmethod
    def publish(self, publications: Sequence[Publication], timeout: float) -> None:
        """Put messages on their queues and return when they are as safe as the engine makes them.

        All or none with ``features.atomic_settle``. A queue exists from its first use. With
        ``features.dedupes`` a publication whose tag was published within the last
        ``features.remembers`` seconds is taken as a repetition and changes nothing. Raises
        OperationalError after `timeout` seconds in total, with an unknown outcome: the caller may
        repeat with the same tags, for so long; EncodeError, before anything is sent, for headers that
        are not JSON and names that are not UTF-8.
        """

    @abstractmethod
    def consumer(self, owner: Owner, ttl: float) -> Consumer:
        """Let an owner take leases.

        They end `ttl` seconds after this call or its node's last `renew`.
        """

    @abstractmethod
    def shares(self, results: ResultStore) -> bool:
        """Tell whether `Consumer.settle` can store results in that store, so that one step does both."""

    @abstractmethod
    def join(self, results: ResultStore) -> None:
        """Let `Consumer.settle` store results in that store, which the broker `shares`."""

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
    adopts: bool = False
    """Set by who works on other deliveries while it fetches. Where the connection is the claim, what comes
    back because one was lost, before it was settled or released, is not given a second time then: it goes on
    under the key that it had. With ``features.leases`` it means nothing.
    """
    patient: bool = False
    """Set by workers until they stop. Where the connection is the claim, no call fails then because a server
    is silent to all, as one is that is frozen: it waits until that goes on, and what is held stays held.
    With ``features.leases`` it means nothing.
    """
    revocations: int = 0
    """With ``features.tells_revocations``, the version of the kind `REVOKED` of the engine's own state store.

    0 where nothing was ever revoked. It is read in the step that takes messages, or after it. So of what was
    revoked before a delivery was taken, whoever has read the kind up to this version knows.
    """

    @abstractmethod
    def fetch(self, request: FetchRequest, wait: float) -> list[Delivery]:
        """Take messages and lease them, in one step: there is no moment at which they are only in memory.

        The most urgent of a queue come first, equal ones in the order of their arrival. When there
        is none, wait up to `wait` seconds for one. It may return early with nothing. Of many
        waiting consumers an engine wakes as few as it can for a message.

        A call that raises OperationalError may have leased messages of which the caller does not know. They
        are handed over to who reclaims the owner; without ``features.leases`` they have gone back.

        Where nobody counts deliveries (``features.counts``), what was handed over before may have been what
        ended its process: it may be given alone, after what it was fetched with.
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
        whole: nothing of it becomes true, but without ``features.atomic_settle`` it may have published what
        follows. A result is allowed only if `Broker.join` was given its store.
        """

    @abstractmethod
    def mark_early(self, deliveries: Sequence[Delivery]) -> None:
        """Note that deliveries are about to start and may not be delivered again (at most once).

        Raises WentBack where the connection is the claim and was lost: none of them may start then.
        """

    def expect_start(self, deliveries: Sequence[Delivery]) -> None:  # noqa: B027 - most need not
        """Note that deliveries are about to start that were handed over before, and are not marked early.

        Where nobody can take over from a dead process, they say from then on that they may have ended it.
        With ``features.leases`` there is nothing to do. Raises WentBack as `mark_early` does.
        """

    def expect_end(self, delivery: Delivery, limit: float) -> None:  # noqa: B027 - most need not
        """Note that the process is about to be killed because a delivery exceeds its hard time limit.

        Where nobody can take over from a dead process, the message comes back with that (`over_time`), if its
        process does not live to settle it. With ``features.leases`` there is nothing to do.
        """

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
