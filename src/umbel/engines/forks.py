"""What threads share and must survive a fork: each such object gets ready, and begins anew in the child.

A child has only the thread that forked. A lock that another thread of the parent held would stay locked
there for ever, so all are taken before the fork, and are given back after it.
"""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections.abc import Iterator
from typing import Protocol


class Forking(Protocol):
    """What is told of forks."""

    def before_fork(self) -> None:
        """Take the locks, once no other thread has them."""

    def after_fork_in_parent(self) -> None:
        """Give the locks back."""

    def after_fork_in_child(self) -> None:
        """Begin anew: other threads are gone, and connections are the parent's."""


_told: weakref.WeakSet[Forking] = weakref.WeakSet()
#: Held across a fork: threads that fork at the same time do so one after the other.
_lock = threading.RLock()
#: Those that the fork under way has told.
_under_way: list[Forking] = []


def tell_of_forks(one: Forking) -> None:
    """Tell an object of forks for as long as it lives."""
    with _lock:
        _told.add(one)


@contextlib.contextmanager
def at_rest() -> Iterator[None]:
    """Keep all threads out of the engines, as for a fork: none is in the middle of a transaction then."""
    _before()
    try:
        yield
    finally:
        _after_in_parent()


def _before() -> None:
    _lock.acquire()
    for one in list(_told):
        one.before_fork()
        _under_way.append(one)


def _after_in_parent() -> None:
    for one in _under_way:
        one.after_fork_in_parent()
    _under_way.clear()
    _lock.release()


def _after_in_child() -> None:
    global _lock  # noqa: PLW0603 - other threads of the parent may have been waiting for it
    _lock = threading.RLock()
    for one in _under_way:
        one.after_fork_in_child()
    _under_way.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child
    )
