"""The port of what a fleet must agree on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence

from umbel.message import Publication
from umbel.values import value as value_class

#: The kind of values that say which calls are revoked, by their ids, whose version `Consumer.revocations` is;
#: and the kind of those that say which are to be ended where they run.
REVOKED, TERMINATED = "revoked", "terminated"
#: The kind of values that say which stamps are revoked; who stores some changes the kind `REVOKED`, too.
STAMPED = "revoked_stamps"


@value_class
class Put:
    """A value to store, whatever was there."""

    kind: str
    key: str
    value: str


@value_class
class Change:
    """A change of one value, made only while that is what it `was`; None means that there is none.

    What is in `puts` and `publish` is stored and published in the same step, or not at all.
    """

    kind: str
    key: str
    was: str | None
    value: str | None
    puts: tuple[Put, ...] = ()
    publish: tuple[Publication, ...] = ()


@value_class
class Changes:
    """What was stored of a kind since an earlier version, and its version now.

    `values` is None where that is more than was asked for.
    """

    version: int
    values: Mapping[str, str] | None


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

    def put_all(self, kind: str, values: Mapping[str, str], ttl: float | None = None) -> None:
        """Store many values, at most ``features.batch``; engines do so in one step."""
        for key, value in values.items():
            self.put(kind, key, value, ttl)

    @abstractmethod
    def get(self, kind: str, key: str) -> str | None:
        """Return a value that has not expired."""

    @abstractmethod
    def items(self, kind: str) -> dict[str, str]:
        """Return all values of a kind by key."""

    def pick(self, kind: str, keys: Collection[str]) -> dict[str, str]:
        """Return those of these values that there are, by key; at most ``features.batch`` are asked for."""
        found = {key: self.get(kind, key) for key in keys}
        return {key: value for key, value in found.items() if value is not None}

    @abstractmethod
    def delete(self, kind: str, keys: Collection[str]) -> int:
        """Delete values; return how many there were."""

    @abstractmethod
    def version(self, kind: str) -> int:
        """Return a number that grows with every change of a kind: a cheap way to notice changes."""

    def changes(self, kind: str, since: int, most: int) -> Changes:
        """Return what was stored of a kind after its version was `since`, and what its version is.

        Whoever asks again from that version on misses nothing, and may be told of something twice. What was
        deleted, or has expired, is not told of. It is all that there is, where `since` is 0 or a version that
        never was, as when the server was emptied. More than `most` values are not told at all.
        """
        version = self.version(kind)
        values = self.items(kind)
        return Changes(version, values if len(values) <= most else None)

    def change(self, changes: Sequence[Change], timeout: float) -> list[bool]:
        """Make changes, each for itself, all in one step; tell of each whether it is made.

        Only with ``features.joint_state``: what they publish goes to the queues of this engine's broker.
        A change whose value is there already counts as made, and nothing of it is done again; so one whose
        answer was lost may be repeated. No two of them are about the same value, and there are at most
        ``features.batch``. Raises as `Broker.publish` does, and has changed nothing then, or its answer
        was lost.
        """
        raise NotImplementedError("This engine does not change values and publish in one step.")

    @abstractmethod
    def take(self, bucket: str, amount: float, rate: float, burst: float) -> float:
        """Take from a token bucket that refills by `rate` a second up to `burst`.

        Return 0.0 when it was taken, else the seconds after which it is worth asking again (limits
        of a fleet). The server's clock decides.
        """

    @abstractmethod
    def close(self) -> None:
        """Give back connections."""
