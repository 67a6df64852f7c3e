"""Looking into queues while messages move."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.engines.redis.support import QUEUE, attach, publish, wait_for_list
from umbel.engines.redis import RedisEngine
from umbel.engines.redis.keys import names
from umbel.engines.redis.queues import RedisQueues
from umbel.ports import QueueDepth
from umbel.testing.conformance.support import fetch


class Restless:
    """A server where a message is fetched in front of the command with a number."""

    def __init__(self, engine: RedisEngine, number: int) -> None:
        self._server = engine._server
        self._consumer = attach(engine)
        self._left = number

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._server, name)
        if name in ("call", "calls", "run", "script"):
            self._left -= 1
            if self._left == 0:
                assert len(fetch(self._consumer)) == 1
        return found


@pytest.mark.parametrize("number", range(1, 12))
def test_a_message_that_is_fetched_meanwhile_is_counted(engine: RedisEngine, number: int) -> None:
    publish(engine, "1")
    server: Any = Restless(engine, number)
    depth = RedisQueues(server, names({})).depths()[QUEUE]
    assert depth.ready + depth.leased >= 1


def test_what_was_given_to_a_waiting_consumer_is_leased(engine: RedisEngine, admin: Any) -> None:
    consumer, heir = attach(engine), attach(engine)
    wait_for_list(consumer, admin)
    publish(engine, "1")
    admin.lmove(QUEUE, f"umbel:inbox:{consumer.owner.id}:{QUEUE}", "RIGHT", "LEFT")
    assert engine.queues.depths() == {QUEUE: QueueDepth(leased=1)}
    heir.reclaim(consumer.owner.id, None)
    assert engine.queues.depths()[QUEUE].ready == 1
