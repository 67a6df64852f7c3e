"""What the engines of one name share: all data, under one lock, and the registry of names.

One lock makes every operation atomic, whichever ports it touches. A fork copies spaces in a
consistent state; the copy is the child's own.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from umbel.engines.memory.messages import Messages
from umbel.engines.memory.waiting import Waiters
from umbel.records import ResultRecord


@dataclass(slots=True)
class Group:
    """The parts of a group by call and place, how many there will be, and who claimed it when complete."""

    parts: dict[tuple[str, int | None], str | bytes] = field(default_factory=dict)
    size: int | None = None
    more: set[str] = field(default_factory=set)
    claimant: str | None = None
    closed: bool = False
    expires: float | None = None

    @property
    def is_complete(self) -> bool:
        """True when all parts are there."""
        return self.size is not None and len(self.parts) >= self.size + len(self.more)


@dataclass(slots=True)
class Hold:
    """A lease by name. It stays when it has ended, for its term, which may only grow."""

    owner: str
    term: int
    expires: float


@dataclass(slots=True)
class Entry:
    """A value of the state store."""

    value: str
    expires: float | None
    version: int = 0


@dataclass(slots=True)
class Bucket:
    """A token bucket as it was at `filled`."""

    tokens: float
    filled: float


class Listener(Protocol):
    """Where broadcasts arrive."""

    def wants(self, topic: str) -> bool:
        """Tell whether it listens to a topic."""

    def append(self, broadcasts: Sequence[tuple[str, bytes]]) -> None:
        """Keep broadcasts until they are received."""


class ResultListener(Protocol):
    """Where news of results arrive."""

    def tell(self, record: ResultRecord) -> None:
        """Hear of a record that was stored."""


class Space:
    """The data behind one name. Whoever touches it holds `lock`."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.waiters = Waiters(self.lock)
        self.messages = Messages(self.waiters)
        self.results: dict[str, ResultRecord] = {}
        self.groups: dict[str, Group] = {}
        #: Documents of groups, and when they expire.
        self.saved_groups: dict[str, tuple[str | bytes, float | None]] = {}
        self.holds: dict[str, Hold] = {}
        self.entries: dict[str, dict[str, Entry]] = {}
        self.versions: dict[str, int] = {}
        self.buckets: dict[str, Bucket] = {}
        self.subscriptions: weakref.WeakSet[Listener] = weakref.WeakSet()
        self.result_subscriptions: weakref.WeakSet[ResultListener] = weakref.WeakSet()


_registry_lock = threading.RLock()
_spaces: dict[str, Space] = {}


def named_space(name: str) -> Space:
    """Return the space of a name, made at its first use."""
    with _registry_lock:
        return _spaces.setdefault(name, Space())


def forget_space(name: str) -> None:
    """Let the next engine of a name begin with nothing; those that are open keep what is."""
    with _registry_lock:
        _spaces.pop(name, None)


def _before_fork() -> None:
    _registry_lock.acquire()
    for space in _spaces.values():
        space.lock.acquire()


def _after_fork_in_parent() -> None:
    for space in _spaces.values():
        space.lock.release()
    _registry_lock.release()


def _after_fork_in_child() -> None:
    for space in _spaces.values():
        # Their threads are not here.
        space.waiters.forget_all()
        space.result_subscriptions.clear()
    _after_fork_in_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )
