"""Nobody sleeps beside work: rings that were lost, and servers that were emptied."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.redis_servers import PrivateServer
from tests.unit.engines.redis.support import QUEUE, attach, publish
from umbel.engines.redis import RedisEngine, consumer
from umbel.engines.redis.consumer import RedisConsumer
from umbel.exceptions import LeaseLost
from umbel.message import Delivery
from umbel.testing.conformance.support import LONG, PATIENCE, fetch, ids, in_thread, until

pytestmark = pytest.mark.engine

#: The queues of the tests. Who waits does so for the first list of QUEUE.
QUEUES = (QUEUE, "other")
#: Where a message may come to that no server moves to who waits for QUEUE: its queue, and its priority.
ELSEWHERE = [("other", 0), ("other", 9), (QUEUE, 9)]


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody wake up by itself."""
    monkeypatch.setattr(consumer, "LONGEST", LONG)


@contextmanager
def waiting_for(
    waiter: RedisConsumer, admin: Any, queues: tuple[str, ...] = QUEUES
) -> Iterator[Any]:
    """Let a consumer wait for QUEUE beside a node; give what it will return."""
    waiter._calls.run("expired")
    fetch(waiter, queues=queues)
    waiter._waits = len(queues) - 1

    def wait() -> list[Delivery]:
        return fetch(waiter, wait=LONG, queues=queues)

    with in_thread(wait) as waiting:
        until(lambda: admin.exists(f"umbel:blocked:{QUEUE}") == 1)
        try:
            yield waiting
        finally:
            waiter.interrupt()


@pytest.mark.parametrize(("queue", "priority"), ELSEWHERE)
def test_who_did_not_hear_a_ring_is_rung_for_again(
    engine: RedisEngine, admin: Any, monkeypatch: pytest.MonkeyPatch, queue: str, priority: int
) -> None:
    with waiting_for(attach(engine), admin) as waiting:
        with monkeypatch.context() as patch:
            patch.setattr(engine.broker._calls.server, "unblock", lambda *_: None)
            publish(engine, "1", queue=queue, priority=priority)
        assert admin.exists(f"umbel:bell:{queue}") == 0  # it was rung for
        assert engine.broker.expired() == []  # as each node asks once a second
        assert ids(waiting.result(PATIENCE)) == ["1"]


def test_of_two_the_one_is_rung_for_that_was_not(
    engine: RedisEngine, admin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rung: list[bytes] = []
    calls = engine.broker._calls
    with waiting_for(attach(engine), admin) as one, waiting_for(attach(engine), admin) as other:
        until(lambda: admin.zcard("umbel:bell:other") == 2)
        with monkeypatch.context() as patch:
            patch.setattr(calls.server, "unblock", lambda names, _: rung.extend(names))
            publish(engine, "1", queue="other")
            engine.broker.expired()
            assert len(set(rung)) == len(rung) == 2
            engine.broker.expired()
            assert len(rung) == 3  # and then anyone again: there is one message
        engine.broker.expired()
        until(lambda: one.done() or other.done())


@pytest.mark.parametrize("by_renewal", [False, True])
@pytest.mark.parametrize(("queue", "priority"), ELSEWHERE)
def test_who_waits_beside_a_server_that_was_emptied_begins_anew(
    engine: RedisEngine, admin: Any, queue: str, priority: int, by_renewal: bool
) -> None:
    with waiting_for(attach(engine), admin) as waiting:
        admin.flushall()
        publish(engine, "1", queue=queue, priority=priority)
        if by_renewal:
            engine.broker.renew("node", LONG)
        else:
            assert engine.broker.expired() == []
        with pytest.raises(LeaseLost):
            waiting.result(PATIENCE)
    assert ids(fetch(attach(engine), queues=QUEUES)) == ["1"]


def test_only_who_waits_for_a_broker_is_woken_where_a_server_was_emptied(
    engine: RedisEngine, private: PrivateServer, admin: Any
) -> None:
    with in_thread(lambda: admin.blmove("theirs", "others", PATIENCE)) as theirs:
        until(lambda: private.admin.info("clients")["blocked_clients"] == 1)
        with waiting_for(attach(engine), private.admin) as waiting:
            private.admin.flushall()
            engine.broker.expired()
            with pytest.raises(LeaseLost):
                waiting.result(PATIENCE)
        assert not theirs.done()
        private.admin.lpush("theirs", b"1")
        assert theirs.result(PATIENCE) == b"1"


def test_a_server_that_was_emptied_is_noticed_once_each_time(
    engine: RedisEngine, admin: Any
) -> None:
    for _ in range(2):
        admin.flushall()
        admin.config_resetstat()
        for _ in range(3):
            engine.broker.expired()
            engine.broker.renew("node", LONG)
        used = admin.info("commandstats")  # Redis 6.2 counts all of CLIENT as one
        assert used.get("cmdstat_client|list", used.get("cmdstat_client"))["calls"] == 1
