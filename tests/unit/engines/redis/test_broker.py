"""What the broker on Redis promises beyond the contracts: kombu's keys, clean keys, late moves."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from tests.redis_servers import PrivateServer
from umbel.clock import SYSTEM, unique_id
from umbel.engines.redis import RedisEngine
from umbel.engines.redis.calls import Calls
from umbel.engines.redis.keys import names
from umbel.engines.redis.leftovers import Leftovers
from umbel.engines.redis.server import Server
from umbel.exceptions import LeaseLost, OperationalError
from umbel.ports import Action, Consumer, FetchRequest, Owner, Settlement
from umbel.testing.conformance.support import PATIENCE, fetch, ids, now, publication, until

QUEUE = "queue"


@pytest.fixture
def engine(private: PrivateServer) -> Iterator[RedisEngine]:
    made = RedisEngine(private.url, {})
    yield made
    made.close()


@pytest.fixture
def admin(private: PrivateServer) -> Any:
    return private.admin


@pytest.fixture(autouse=True)
def consumers(engine: RedisEngine) -> Iterator[list[Consumer]]:
    """All that a test attaches: they are closed at its end."""
    _attached.clear()
    yield _attached
    for consumer in _attached:
        consumer.close()


_attached: list[Consumer] = []


def _consumer(engine: RedisEngine) -> Consumer:
    attached = engine.broker.consumer(Owner(unique_id(), "node", "host", os.getpid()), 60.0)
    _attached.append(attached)
    return attached


def _publish(engine: RedisEngine, *task_ids: str, **options: Any) -> None:
    engine.broker.publish([publication(name, **options) for name in task_ids], PATIENCE)


def test_a_message_lies_on_kombus_list_in_kombus_envelope(engine: RedisEngine, admin: Any) -> None:
    _publish(engine, "1", priority=7)
    [raw] = admin.lrange("queue\x06\x166", 0, -1)
    data = json.loads(raw)
    assert list(data) == ["body", "content-encoding", "content-type", "headers", "properties"]
    assert data["properties"]["delivery_info"] == {"exchange": "", "routing_key": QUEUE}


def test_what_was_released_is_the_same_to_the_byte(engine: RedisEngine, admin: Any) -> None:
    _publish(engine, "1")
    before = admin.lrange(QUEUE, 0, -1)
    consumer = _consumer(engine)
    [delivery] = fetch(consumer)
    assert admin.llen(QUEUE) == 0
    consumer.release([delivery.key])
    assert admin.lrange(QUEUE, 0, -1) == before


def test_a_parked_message_lies_where_kombu_finds_it_when_it_is_due(
    engine: RedisEngine, admin: Any
) -> None:
    _publish(engine, "1", priority=3)
    consumer = _consumer(engine)
    [delivery] = fetch(consumer)
    due = now() + 100
    consumer.settle([Settlement(delivery, Action.PARK, due=due)])
    [(field, score)] = admin.zrange("unacked_index", 0, -1, withscores=True)
    assert score == pytest.approx(due - 3600, abs=0.01)
    envelope, exchange, key = json.loads(admin.hget("unacked", field))
    assert (exchange, key, envelope["headers"]["id"]) == ("", QUEUE, "1")
    assert envelope["umbel"] == [1, 0]


def test_a_scheduled_message_goes_to_its_list_when_nobody_would_return_it(
    engine: RedisEngine, admin: Any
) -> None:
    _publish(engine, "1", due=now() + 100)
    assert (admin.llen(QUEUE), admin.hlen("unacked")) == (1, 0)
    consumer = _consumer(engine)
    assert fetch(consumer) == []
    assert (admin.llen(QUEUE), admin.hlen("unacked")) == (0, 1)
    _publish(engine, "2", due=now() + 100)
    assert (admin.llen(QUEUE), admin.hlen("unacked")) == (0, 2)
    assert engine.queues.purge(QUEUE) == 2
    assert (admin.hlen("unacked"), admin.zcard("unacked_index")) == (0, 0)


def wait_for_list(consumer: Consumer, admin: Any) -> None:
    """Let a consumer wait for the list. A busy machine may leave it no time to do so at once."""
    deadline = SYSTEM.monotonic() + PATIENCE
    while not admin.exists(f"umbel:inboxes:{consumer.owner.id}"):
        assert SYSTEM.monotonic() < deadline
        assert fetch(consumer, wait=0.05) == []


def test_a_message_that_a_late_move_gave_to_the_dead_goes_back(
    engine: RedisEngine, admin: Any
) -> None:
    dead, heir = _consumer(engine), _consumer(engine)
    wait_for_list(dead, admin)
    heir.reclaim(dead.owner.id, None)
    _publish(engine, "1")
    admin.lmove(QUEUE, f"umbel:inbox:{dead.owner.id}:{QUEUE}", "RIGHT", "LEFT")
    assert fetch(heir) == []
    engine.broker.renew("node", 60.0)
    assert ids(fetch(heir)) == ["1"]


def test_a_dead_waiter_returns_what_it_was_given(engine: RedisEngine, admin: Any) -> None:
    dead, heir = _consumer(engine), _consumer(engine)
    wait_for_list(dead, admin)
    heir.reclaim(dead.owner.id, None)
    _publish(engine, "1")
    admin.lmove(QUEUE, f"umbel:inbox:{dead.owner.id}:{QUEUE}", "RIGHT", "LEFT")
    with pytest.raises(LeaseLost):
        fetch(dead)
    assert ids(fetch(heir)) == ["1"]


def test_what_waiting_brought_is_held_by_the_next_fetch(engine: RedisEngine, admin: Any) -> None:
    consumer, heir = _consumer(engine), _consumer(engine)
    wait_for_list(consumer, admin)
    _publish(engine, "1")
    admin.lmove(QUEUE, f"umbel:inbox:{consumer.owner.id}:{QUEUE}", "RIGHT", "LEFT")
    heir.reclaim(consumer.owner.id, None)  # also when it dies before that
    assert ids(fetch(heir)) == ["1"]


def test_a_wrong_kind_of_key_keeps_everything_back(engine: RedisEngine, admin: Any) -> None:
    admin.set("other", "no list")
    with pytest.raises(OperationalError):
        engine.broker.publish([publication("1"), publication("2", "other")], PATIENCE)
    assert admin.llen(QUEUE) == 0
    _publish(engine, "1")
    consumer = _consumer(engine)
    [delivery] = fetch(consumer)
    with pytest.raises(OperationalError):
        consumer.settle([Settlement(delivery, publish=(publication("2", "other"),))])
    assert consumer.settle([Settlement(delivery)]).refused == ()


def test_more_than_lua_can_unpack_is_fetched_and_given_back(
    engine: RedisEngine, admin: Any
) -> None:
    count = 20_000
    engine.broker.publish([publication(str(number)) for number in range(count)], PATIENCE)
    consumer = _consumer(engine)
    for _ in range(count // 1000):
        assert len(consumer.fetch(FetchRequest([QUEUE], 1000), 0.0)) == 1000
    consumer.close()
    assert admin.llen(QUEUE) == count
    assert ids(fetch(_consumer(engine), limit=2)) == ["0", "1"]


def test_forgotten_scripts_are_loaded_again(engine: RedisEngine, admin: Any) -> None:
    consumer = _consumer(engine)
    fetch(consumer, wait=0.01)
    admin.script_flush()
    assert fetch(consumer, wait=0.01) == []
    admin.script_flush()
    _publish(engine, "1")
    assert ids(fetch(consumer, wait=PATIENCE)) == ["1"]


def test_no_key_of_ours_stays_for_ever(engine: RedisEngine, admin: Any) -> None:
    consumer = _consumer(engine)
    _publish(engine, "1", "2", "3", "4")
    fetch(consumer, queues=["unused"], wait=0.01)
    done, again, dead, parked = fetch(consumer)
    end = now() + 60
    consumer.settle(
        [
            Settlement(done),
            Settlement(again, Action.REQUEUE),
            Settlement(dead, Action.DEAD_LETTER, reason="x", expires=end),
            Settlement(parked, Action.PARK, due=now()),
        ]
    )
    for _ in range(2):
        consumer.settle([Settlement(item) for item in until(lambda: fetch(consumer, limit=1))])
    consumer.close()
    keys = admin.keys("*")
    assert [key for key in keys if admin.ttl(key) < 0] == []


def test_dead_letters_leave_when_they_expire(engine: RedisEngine) -> None:
    consumer = _consumer(engine)
    _publish(engine, "1", "2")
    first, second = fetch(consumer)
    consumer.settle(
        [
            Settlement(first, Action.DEAD_LETTER, reason="x", expires=now() + 0.05),
            Settlement(second, Action.DEAD_LETTER, reason="x", expires=now() + 60),
        ]
    )
    until(lambda: len(engine.queues.dead_letters(10)) == 1)
    assert engine.queues.dead_letters(10)[0].message.task_id == "2"


# What Celery's workers left behind


def _leave_behind(admin: Any, score: float) -> None:
    """Hold a message as a Celery worker does."""
    raw = json.loads(admin.rpop(QUEUE))
    admin.hset("unacked", "tag", json.dumps([raw, "", QUEUE]))
    admin.zadd("unacked_index", {"tag": score})


def _leftovers(private: PrivateServer) -> Leftovers:
    return Leftovers(Calls(Server(private.url, {}), names({})))


def test_what_a_dead_celery_worker_held_is_returned_after_the_visibility_timeout(
    engine: RedisEngine, admin: Any, private: PrivateServer
) -> None:
    _publish(engine, "1")
    _leave_behind(admin, now() - 3500)
    assert _leftovers(private).restore() == 0
    admin.zadd("unacked_index", {"tag": now() - 3700})
    assert _leftovers(private).restore() == 1
    assert (admin.hlen("unacked"), admin.zcard("unacked_index")) == (0, 0)
    [delivery] = fetch(_consumer(engine))
    assert (delivery.message.task_id, delivery.redelivered) == ("1", True)


@pytest.mark.parametrize("why", ["a Celery worker", "kombu's mutex"])
def test_it_is_left_to_who_looks_after_it(
    engine: RedisEngine, admin: Any, private: PrivateServer, why: str
) -> None:
    _publish(engine, "1")
    _leave_behind(admin, now() - 3700)
    if why == "kombu's mutex":
        admin.set("unacked_mutex", "somebody")
        assert _leftovers(private).restore() == 0
        return
    with closing(Server(private.url, {}).dedicated()) as worker:
        worker.send("BRPOP", "elsewhere", 30)
        until(lambda: any(one["cmd"] == "brpop" for one in admin.client_list()))
        assert _leftovers(private).restore() == 0


def test_what_umbel_parked_is_no_leftover(
    engine: RedisEngine, admin: Any, private: PrivateServer
) -> None:
    consumer = _consumer(engine)
    _publish(engine, "1")
    consumer.settle([Settlement(item, Action.PARK, due=now() - 1) for item in fetch(consumer)])
    assert _leftovers(private).restore() == 0
    assert admin.hlen("unacked") == 1
