"""What follows a task and is leased by the call that publishes it: as if it had come back from the server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from tests.unit.engines.redis.support import QUEUE, attach, publish
from umbel.engines.redis import RedisEngine, envelope
from umbel.message import Delivery, Publication
from umbel.ports import Action, Consumer, FetchRequest, Settlement
from umbel.testing.conformance.support import PATIENCE, fetch, ids, now, publication

pytestmark = pytest.mark.engine

#: Longer than what is sent back as it is.
LONG_BODY = b'[[], {}, {"chain": "' + b"x" * 20_000 + b'"}]'


def with_body(item: Publication, body: bytes) -> Publication:
    return replace(item, message=replace(item.message, body=body))


def follow(
    consumer: Consumer,
    delivery: Delivery,
    publications: Sequence[Publication],
    limit: int,
    queues: Sequence[str] = (QUEUE,),
) -> Sequence[Delivery]:
    item = Settlement(delivery, Action.ACK, publish=tuple(publications))
    return consumer.settle([item], FetchRequest(tuple(queues), limit)).fetched


@pytest.fixture
def held(engine: RedisEngine) -> tuple[Consumer, Delivery]:
    publish(engine, "first")
    consumer = attach(engine)
    [delivery] = fetch(consumer)
    return consumer, delivery


@pytest.mark.parametrize("body", [b"[[], {}, {}]", LONG_BODY])
def test_it_is_what_somebody_else_would_be_given(
    engine: RedisEngine, admin: Any, held: tuple[Consumer, Delivery], body: bytes
) -> None:
    """Which is what lies on the list after a release."""
    item = with_body(publication("é next", priority=6), body)
    [found] = follow(*held, [item], 5)
    assert found.message.body == body
    held[0].release([found.key])
    [raw] = admin.lrange(f"{QUEUE}\x06\x166", 0, -1)
    assert raw.decode() == envelope.write(item)
    [other] = fetch(attach(engine))
    assert replace(other, key=found.key) == found


def test_what_has_no_room_or_its_time_to_come_waits_for_others(
    engine: RedisEngine, held: tuple[Consumer, Delivery]
) -> None:
    items = [
        publication("later", due=now() + 3600),
        publication("less urgent", priority=9),
        publication("a"),
        publication("elsewhere", queue="elsewhere"),
        with_body(publication("b", priority=9), LONG_BODY),
    ]
    assert ids(follow(*held, items, 2)) == ["a", "less urgent"]
    [found] = fetch(attach(engine))
    assert (found.message.task_id, found.message.body) == ("b", LONG_BODY)
    assert engine.queues.depths()["elsewhere"].ready == 1
    assert engine.queues.depths()[QUEUE].scheduled == 1


def test_what_waited_before_comes_first(
    engine: RedisEngine, held: tuple[Consumer, Delivery]
) -> None:
    publish(engine, "waited")
    assert ids(follow(*held, [publication("a")], 5)) == ["waited", "a"]


def test_what_was_published_before_is_not_leased(
    engine: RedisEngine, held: tuple[Consumer, Delivery]
) -> None:
    item = publication("a", tag="told before")
    engine.broker.publish([item], PATIENCE)
    [found] = fetch(attach(engine))
    assert found.message.task_id == "a"
    assert follow(*held, [item], 5) == ()


def test_those_of_a_refused_settlement_keep_their_numbers(
    engine: RedisEngine, held: tuple[Consumer, Delivery]
) -> None:
    consumer, delivery = held
    gone = replace(delivery, key=f"{delivery.key}9")
    items = [
        Settlement(gone, Action.ACK, publish=(publication("x"), publication("y"))),
        Settlement(delivery, Action.ACK, publish=(publication("a"), publication("b"))),
    ]
    settled = consumer.settle(items, FetchRequest((QUEUE,), 5))
    assert ids(settled.fetched) == ["a", "b"]
    assert settled.refused == (gone,)


def test_who_dies_with_it_leaves_it_to_others(
    engine: RedisEngine, held: tuple[Consumer, Delivery]
) -> None:
    item = with_body(publication("a"), LONG_BODY)
    consumer, _ = held
    [found] = follow(*held, [item], 5)
    heir = attach(engine)
    [taken] = heir.reclaim(consumer.owner.id, ())
    assert (taken.key, taken.message, taken.count) == (found.key, found.message, found.count)
