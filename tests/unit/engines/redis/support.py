"""Consumers and messages for the tests of the Redis engine."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from umbel.clock import SYSTEM, SystemClock, unique_id
from umbel.engines.redis import RedisEngine
from umbel.engines.redis.consumer import RedisConsumer
from umbel.message import Delivery
from umbel.ports import Owner
from umbel.testing.conformance.forks import forked
from umbel.testing.conformance.support import PATIENCE, fetch, in_thread, publication, until

#: The queue of most tests.
QUEUE = "queue"

#: All that a test has attached: they are closed at its end.
attached: list[RedisConsumer] = []


def attach(engine: RedisEngine, owner: str = "") -> RedisConsumer:
    """Attach a consumer, by default with an id of its own."""
    of = Owner(owner or unique_id(), "node", "host", os.getpid())
    consumer = engine.broker.consumer(of, 60.0)
    attached.append(consumer)
    return consumer


def publish(engine: RedisEngine, *task_ids: str, **options: Any) -> None:
    """Publish a message for each task id."""
    engine.broker.publish([publication(name, **options) for name in task_ids], PATIENCE)


def wait_for_list(consumer: RedisConsumer, admin: Any, queue: str = QUEUE) -> None:
    """Let a consumer wait for the list. A busy machine may leave it no time to do so at once."""
    deadline = SYSTEM.monotonic() + PATIENCE
    while not admin.exists(f"umbel:inboxes:{consumer.owner.id}"):
        assert SYSTEM.monotonic() < deadline
        assert fetch(consumer, wait=0.05, queues=[queue]) == []


def given_to_the_dead(engine: RedisEngine, admin: Any) -> tuple[RedisConsumer, RedisConsumer]:
    """Let a late move give a message to an owner that was taken for dead; return it, and its heir."""
    dead, heir = attach(engine), attach(engine)
    wait_for_list(dead, admin)
    heir.reclaim(dead.owner.id, None)
    publish(engine, "1")
    admin.lmove(QUEUE, f"umbel:inbox:{dead.owner.id}:{QUEUE}", "RIGHT", "LEFT")
    return dead, heir


@contextmanager
def given_while_waiting(
    engine: RedisEngine, admin: Any, consumer: RedisConsumer
) -> Iterator[list[Delivery]]:
    """Let a consumer wait, and a message come; give what it returns."""
    fetch(consumer)
    with in_thread(lambda: fetch(consumer, wait=PATIENCE)) as waiting:
        until(lambda: admin.exists(f"umbel:blocked:{QUEUE}") == 1)
        publish(engine, "1")
        yield waiting.result(PATIENCE)


class Movable(SystemClock):
    """A clock that a test can put on."""

    ahead = 0.0

    def monotonic(self) -> float:
        """Return the time, as far ahead as was said."""
        return super().monotonic() + self.ahead


def in_child(function: Callable[[], object]) -> None:
    """Run a function in a child of a fork, to its good end."""
    forked(function)()
