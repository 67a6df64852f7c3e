"""Consumers and messages for the tests of the Redis engine."""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Callable
from typing import Any

from umbel.clock import SYSTEM, unique_id
from umbel.engines.redis import RedisEngine
from umbel.engines.redis.consumer import RedisConsumer
from umbel.ports import Owner
from umbel.testing.conformance.support import PATIENCE, fetch, publication, until

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


def in_child(function: Callable[[], object]) -> None:
    """Run a function in a child of a fork, to its good end."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            function()
            status = 0
        except BaseException:  # noqa: BLE001 - the child must not go on as a second test run
            traceback.print_exc()
        finally:
            os._exit(status)
    try:
        ended = until(lambda: _ended(pid))
    except BaseException:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise
    assert ended == (pid, 0)


def _ended(pid: int) -> tuple[int, int] | None:
    found = os.waitpid(pid, os.WNOHANG)
    return found if found[0] else None
