"""Batches of quorum queues are asked for on many channels: what each of these holds goes its own way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.rabbitmq_servers import connected, delete_queue, shared_space
from tests.unit.engines.rabbitmq.support import attach, dies, publish
from umbel.engines.rabbitmq import RabbitEngine
from umbel.engines.rabbitmq.consumer import RabbitConsumer
from umbel.entities import Queue
from umbel.ports import FetchRequest
from umbel.testing.conformance.support import QUEUE, ack, fetch, ids, until

pytestmark = pytest.mark.engine
NAMES = [f"{number:02}" for number in range(90)]


def quorum(name: str) -> Queue:
    return Queue(name, None, name, queue_arguments={"x-queue-type": "quorum"})


@pytest.fixture
def engine() -> Iterator[RabbitEngine]:
    with shared_space("asked.") as (url, prefix):
        options = {"queue_name_prefix": prefix, "declared_queue": quorum}
        with closing(RabbitEngine(url, options)) as made:
            publish(made, *NAMES)
            yield made
        with connected() as link:
            delete_queue(link, prefix + QUEUE)


def left(engine: RabbitEngine) -> list[str]:
    """Return what another consumer gets, until nothing is left."""
    heir = attach(engine)
    found: list[str] = []

    def all_came() -> bool:
        deliveries = heir.fetch(FetchRequest([QUEUE], 100), 0.2)
        found.extend(map(str, ids(deliveries)))
        ack(heir, deliveries)
        return not deliveries

    until(all_came)
    heir.close()
    return sorted(found)


def channels(consumer: RabbitConsumer) -> int:
    assert consumer._link is not None
    return consumer._link.channels


def test_a_batch_comes_in_the_order_of_the_queue(engine: RabbitEngine) -> None:
    consumer = attach(engine)
    assert ids(fetch(consumer, 70)) == NAMES[:70]
    assert ids(fetch(consumer, 70)) == NAMES[70:]
    assert channels(consumer) == 32
    consumer.close()


def test_few_messages_need_few_channels(engine: RabbitEngine) -> None:
    consumer = attach(engine)
    assert ids(fetch(consumer, 1)) == NAMES[:1]
    assert channels(consumer) == 1
    assert ids(fetch(consumer, 5)) == NAMES[1:6]
    assert channels(consumer) == 5
    consumer.close()


def test_what_was_not_settled_when_its_process_died_comes_back(engine: RabbitEngine) -> None:
    consumer = attach(engine)
    deliveries = fetch(consumer, 90)
    ack(consumer, [one for one in deliveries if one not in deliveries[::9]])
    consumer.release([one.key for one in deliveries[:60:9]])
    assert len(fetch(consumer, 90)) == 1  # alone; the others wait here for their turns
    dies(consumer)
    assert left(engine) == NAMES[::9]


def test_what_a_consumer_holds_when_it_ends_comes_back_at_once(engine: RabbitEngine) -> None:
    consumer = attach(engine)
    deliveries = fetch(consumer, 90)
    ack(consumer, deliveries[:80])
    consumer.close()
    assert left(engine) == NAMES[80:]


def test_what_has_begun_and_runs_only_once_says_so(engine: RabbitEngine) -> None:
    consumer = attach(engine)
    deliveries = fetch(consumer, 90)
    some = deliveries[3:50:15]
    consumer.mark_early(some)
    ack(consumer, [one for one in deliveries if one not in some])
    dies(consumer)
    heir = attach(engine)
    found = []
    for _ in some:
        [one] = until(lambda: heir.fetch(FetchRequest([QUEUE], 100), 0.2))
        assert one.early
        ack(heir, [one])
        found.append(one)
    assert sorted(map(str, ids(found))) == sorted(map(str, ids(some)))
    heir.close()
