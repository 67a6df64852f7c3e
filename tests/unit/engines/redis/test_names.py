"""Names: what belongs to a queue is never guessed from one that looks like another's list; and prefixes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from tests.redis_servers import PrivateServer
from tests.unit.engines.redis.support import QUEUE, attach, publish
from umbel.engines.redis import RedisEngine
from umbel.engines.redis.calls import Calls
from umbel.engines.redis.keys import names
from umbel.engines.redis.leftovers import Leftovers
from umbel.engines.redis.server import Server
from umbel.ports import Action, FetchRequest, QueueDepth, Settlement
from umbel.testing.conformance.support import LONG, PATIENCE, fetch, ids, in_thread, now, until

pytestmark = pytest.mark.engine

#: As Celery's documentation has it.
OPTIONS: dict[str, Any] = {"sep": ":", "priority_steps": list(range(10))}
#: By its name it could be the third list of the queue "shop".
SHOP = "shop:2"


@pytest.fixture(params=["", "app:"])
def prefix(request: pytest.FixtureRequest) -> str:
    """What all keys begin with."""
    return str(request.param)


@pytest.fixture
def options(prefix: str) -> dict[str, Any]:
    """The broker_transport_options."""
    return {**OPTIONS, "global_keyprefix": prefix}


@pytest.fixture
def colons(engine: RedisEngine, private: PrivateServer, options: Any) -> Iterator[RedisEngine]:
    """An engine with a separator that is in names, too; `engine` closes what is attached to it."""
    made = RedisEngine(private.url, options)
    yield made
    made.close()


def test_a_delivery_has_the_queue_that_was_asked_for(colons: RedisEngine) -> None:
    publish(colons, "1", queue=SHOP)
    publish(colons, "2", queue=SHOP, priority=5)
    consumer = attach(colons)
    found = fetch(consumer, queues=[SHOP])
    assert [(item.queue, item.priority) for item in found] == [(SHOP, 0), (SHOP, 5)]


def test_it_keeps_its_queue_through_hands_and_places(
    colons: RedisEngine, admin: Any, prefix: str
) -> None:
    publish(colons, "1", queue=SHOP, priority=5)
    first, second = attach(colons), attach(colons)
    assert fetch(first, queues=[SHOP])
    [found] = colons.queues.find("1")
    assert (found.queue, found.where) == (SHOP, "leased")
    [handed] = second.reclaim(first.owner.id, [])
    assert (handed.queue, handed.priority) == (SHOP, 5)
    second.settle([Settlement(handed, Action.PARK, due=now() + 0.05)])
    [raw] = admin.hvals(f"{prefix}unacked")
    assert json.loads(raw)[1:] == ["", SHOP]  # where kombu would put it
    assert colons.queues.depths() == {SHOP: QueueDepth(scheduled=1)}
    again = until(lambda: fetch(second, queues=[SHOP]))
    assert [(item.queue, item.priority) for item in again] == [(SHOP, 5)]
    second.settle([Settlement(item, Action.DEAD_LETTER, reason="x") for item in again])
    assert [letter.queue for letter in colons.queues.dead_letters(1)] == [SHOP]
    assert colons.queues.depths() == {SHOP: QueueDepth(dead=1)}
    assert colons.queues.retry_dead([again[0].key]) == 1
    assert [item.queue for item in colons.queues.peek(SHOP, 1)] == [SHOP]
    assert ids(fetch(second, queues=[SHOP])) == ["1"]


def test_what_waiting_brought_has_its_queue(colons: RedisEngine) -> None:
    consumer = attach(colons)
    with in_thread(lambda: fetch(consumer, queues=[SHOP], wait=LONG)) as found:
        until(consumer._waiter.inboxes)  # it waits, so it is BLMOVE that brings it
        publish(colons, "1", queue=SHOP)
        assert [item.queue for item in found.result(PATIENCE)] == [SHOP]


@pytest.mark.parametrize("queue", ["mail", SHOP])
def test_who_waits_is_rung_for(colons: RedisEngine, admin: Any, prefix: str, queue: str) -> None:
    consumer = attach(colons)
    with in_thread(lambda: consumer.fetch(FetchRequest([queue], 1), PATIENCE)):
        noted = until(lambda: admin.keys(f"{prefix}umbel:bell:*"))
        consumer.interrupt()
    assert noted == [f"{prefix}umbel:bell:{prefix}{queue}".encode()]
    assert until(lambda: admin.keys(f"{prefix}umbel:bell:*") == [])
    consumer.fetch(FetchRequest([queue], 1), 0.0)
    consumer.close()
    assert admin.keys(f"{prefix}umbel:bell:*") == []


def test_a_queue_is_known_by_kombus_table(colons: RedisEngine, admin: Any, prefix: str) -> None:
    admin.sadd(f"{prefix}_kombu.binding.{SHOP}", f"{SHOP}::{SHOP}")
    assert set(colons.queues.depths()) == {SHOP}


def test_leftovers_go_to_the_queue_that_is_bound(
    colons: RedisEngine, admin: Any, private: PrivateServer, prefix: str, options: Any
) -> None:
    publish(colons, "1", queue=SHOP, priority=5)
    raw = json.loads(admin.rpop(f"{prefix}{SHOP}:5"))
    admin.hset(f"{prefix}unacked", "tag", json.dumps([raw, "shop", SHOP]))
    admin.zadd(f"{prefix}unacked_index", {"tag": now() - 3700})
    admin.sadd(f"{prefix}_kombu.binding.shop", f"{SHOP}::{SHOP}")
    assert Leftovers(Calls(Server(private.url, options), names(options))).restore() == 1
    assert ids(fetch(attach(colons), queues=[SHOP])) == ["1"]


def test_a_prefix_in_the_query_of_the_url_is_before_every_key(
    engine: RedisEngine, private: PrivateServer, admin: Any
) -> None:
    with closing(RedisEngine(f"{private.url}?global_keyprefix=app:", {})) as made:
        publish(made, "1")
        consumer = attach(made)
        assert [key for key in admin.keys("*") if not key.startswith(b"app:")] == []
        with closing(RedisEngine(private.url, {"global_keyprefix": "app:"})) as same:
            assert [item.message.task_id for item in same.queues.peek(QUEUE, 2)] == ["1"]
        assert ids(fetch(consumer)) == ["1"]
