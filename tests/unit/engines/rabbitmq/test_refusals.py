"""What the server refuses of a batch (basic.nack) is sent again, by a new connection, and nothing else is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import closing, contextmanager
from time import monotonic
from typing import Any

import pytest

from tests.rabbitmq_servers import connected, delete_queue, shared_space
from tests.unit.engines.rabbitmq.support import attach, publish
from umbel.clock import SYSTEM
from umbel.engines.rabbitmq import RabbitEngine, publisher, refusals
from umbel.engines.rabbitmq.consumer import RabbitConsumer
from umbel.engines.rabbitmq.link import Link
from umbel.engines.rabbitmq.topology import plain_queue
from umbel.entities import Queue
from umbel.exceptions import BrokerFull, OperationalError
from umbel.message import Delivery
from umbel.ports import Action, Settlement
from umbel.testing.conformance.support import (
    PATIENCE,
    QUEUE,
    ack,
    at_most,
    fetch,
    ids,
    in_thread,
    publication,
    until,
)

pytestmark = pytest.mark.engine
#: How many messages the queue takes.
ROOM = 5
LIMITS: dict[str, Any] = {"x-max-length": ROOM, "x-overflow": "reject-publish"}
#: Seconds that a worker waits for what it publishes.
SHORT = 2.0


def limited(name: str) -> Queue:
    """Return the queue of most tests, which refuses what is too much, or another, which takes all."""
    if name != QUEUE:
        return plain_queue(name)
    return Queue(name, None, name, queue_arguments=dict(LIMITS))


@pytest.fixture
def engine() -> Iterator[RabbitEngine]:
    with shared_space("refusals.") as (url, prefix):
        options = {
            "queue_name_prefix": prefix,
            "declared_queue": limited,
            "delayed_queue_type": "classic",
            "socket_timeout": SHORT,
        }
        with closing(RabbitEngine(url, options)) as made:
            yield made


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let it not matter how soon somebody makes room."""
    monkeypatch.setattr(refusals, "FULL", PATIENCE)


def names(count: int, begin: str = "") -> list[str]:
    return [f"{begin}{number}" for number in range(count)]


def drained(consumer: RabbitConsumer, count: int) -> list[str]:
    """Return the ids of so many messages as they came, and of what else is there."""
    found: list[str] = []

    def enough() -> bool:
        deliveries = fetch(consumer)
        ack(consumer, deliveries)
        found.extend(map(str, ids(deliveries)))
        return len(found) >= count and not deliveries

    until(enough)
    return found


@contextmanager
def refused(engine: RabbitEngine, send: Callable[[], None]) -> Iterator[Future[None]]:
    """Send something in a thread, and wait until it was refused: its connection is left then."""
    link = engine.broker._core.publisher._link
    assert link is not None
    with in_thread(send) as sent:
        until(lambda: link.broken is not None)
        yield sent
        sent.result(PATIENCE)


@pytest.mark.usefixtures("patient")
def test_each_message_arrives_once_when_there_is_room(engine: RabbitEngine) -> None:
    publish(engine, "first")
    consumer = attach(engine)
    with refused(engine, lambda: publish(engine, *names(4 * ROOM))):
        assert sorted(drained(consumer, 4 * ROOM + 1)) == sorted(["first", *names(4 * ROOM)])
    assert drained(consumer, 0) == []
    consumer.close()


@pytest.mark.usefixtures("patient")
def test_what_was_not_sent_because_of_a_refusal_keeps_its_place(
    engine: RabbitEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher, "WINDOW", 3)
    publish(engine, *names(ROOM, "before "))
    consumer = attach(engine)
    with refused(engine, lambda: publish(engine, *names(ROOM))):
        assert drained(consumer, 2 * ROOM) == [*names(ROOM, "before "), *names(ROOM)]
    consumer.close()


def test_a_queue_that_stays_full_is_an_error_soon_that_says_so(engine: RabbitEngine) -> None:
    """However long the publish may take: a worker would do nothing else meanwhile."""
    text = (
        rf"did not take {ROOM} of {2 * ROOM} messages: it refuses those for {QUEUE}, where {ROOM} are ready\."
        r" The queue is full \(x-max-length or .* with x-overflow: reject-publish\)"
    )
    batch = [publication(name) for name in names(2 * ROOM)]
    publish(engine, "first")
    consumer = attach(engine)
    drained(consumer, 1)
    with at_most(4 * refusals.FULL), pytest.raises(BrokerFull, match=text):
        engine.broker.publish(batch, PATIENCE)
    # When all of it is repeated, what was taken is left out.
    with in_thread(lambda: engine.broker.publish(batch, PATIENCE)) as sent:
        assert sorted(drained(consumer, 2 * ROOM)) == sorted(names(2 * ROOM))
        sent.result(PATIENCE)
    assert drained(consumer, 0) == []
    consumer.close()


def test_a_quorum_queue_that_stays_full_is_an_error_soon_that_says_so(
    engine: RabbitEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes what is sent before it has said that it is full."""
    monkeypatch.setitem(LIMITS, "x-queue-type", "quorum")
    publish(engine, *names(2 * ROOM))
    with (
        at_most(4 * refusals.FULL),
        pytest.raises(BrokerFull, match=rf"1 of 1 messages: .*{QUEUE}, where {2 * ROOM} are ready"),
    ):
        publish(engine, "late")


@pytest.mark.parametrize("seen", [0, None])
def test_what_refuses_and_has_nothing_is_tried_for_as_long_as_there_is_time(
    engine: RabbitEngine, monkeypatch: pytest.MonkeyPatch, seen: int | None
) -> None:
    """A quorum queue without a leader says that it is empty, or does not answer."""
    monkeypatch.setattr(publisher, "depth", lambda link, name: seen)
    publish(engine, *names(ROOM))
    begun = monotonic()
    with pytest.raises(
        OperationalError, match=rf"1 of 1 messages within 2\.0 s.*{QUEUE}.*no leader"
    ) as caught:
        engine.broker.publish([publication("late")], SHORT)
    assert not isinstance(caught.value, BrokerFull)
    assert monotonic() - begun > SHORT / 2


def test_a_full_queue_is_tried_for_as_long_as_it_takes_something(
    engine: RabbitEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is emptied more slowly than its patience lasts, but all the time."""
    monkeypatch.setattr(refusals, "FULL", 0.4)
    publish(engine, "first")
    consumer = attach(engine)
    drained(consumer, 1)
    with refused(engine, lambda: publish(engine, *names(3 * ROOM))):
        begun, found = monotonic(), 0
        while found < 3 * ROOM:
            deliveries = fetch(consumer, limit=1)
            ack(consumer, deliveries)
            found += len(deliveries)
            SYSTEM.sleep(0.1)
    assert monotonic() - begun > 0.8
    consumer.close()


@pytest.mark.usefixtures("patient")
def test_others_publish_while_something_is_refused(engine: RabbitEngine) -> None:
    publish(engine, *names(ROOM))
    consumer = attach(engine)
    left = engine.broker._core.publisher._link
    with refused(engine, lambda: publish(engine, "late")) as sent:
        engine.broker.publish([publication("other", queue="other")], SHORT)
        assert not sent.done()
        assert engine.broker._core.publisher._link is not left
        assert sorted(drained(consumer, ROOM + 1)) == sorted([*names(ROOM), "late"])
    assert ids(fetch(consumer, queues=["other"])) == ["other"]
    consumer.close()


@pytest.mark.usefixtures("patient")
def test_a_server_that_is_away_meanwhile_is_waited_for(
    engine: RabbitEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(engine, "first")
    consumer = attach(engine)
    assert drained(consumer, 1) == ["first"]
    tries = []

    class Away(Link):
        """A connection that cannot be made at first."""

        def __init__(self, *arguments: Any) -> None:
            tries.append(arguments)
            if len(tries) < 3:
                raise OperationalError("Nobody is there.")
            super().__init__(*arguments)

    monkeypatch.setattr(publisher, "Link", Away)
    with in_thread(lambda: publish(engine, *names(2 * ROOM))) as sent:
        until(lambda: len(tries) > 1)
        assert sorted(drained(consumer, 2 * ROOM)) == sorted(names(2 * ROOM))
        sent.result(PATIENCE)
    consumer.close()


@pytest.mark.usefixtures("patient")
def test_what_has_no_queue_is_sent_again_beside_what_is_refused(engine: RabbitEngine) -> None:
    publish(engine, *names(ROOM - 1))
    engine.broker.publish([publication("first", queue="other")], PATIENCE)
    with connected() as link:
        delete_queue(link, engine.broker._core.topology.name("other"))
    consumer = attach(engine)
    batch = [publication(name, queue=name.split()[0]) for name in ("queue 1", "other 1", "queue 2")]
    with refused(engine, lambda: engine.broker.publish(batch, PATIENCE)):
        found = drained(consumer, ROOM + 1)
    assert sorted(found) == sorted([*names(ROOM - 1), "queue 1", "queue 2"])
    assert ids(fetch(consumer, queues=["other"])) == ["other 1"]
    consumer.close()


def held(engine: RabbitEngine, consumer: RabbitConsumer) -> list[Delivery]:
    """Hold two messages of a queue that has room for one more."""
    publish(engine, "a", "b")
    deliveries = fetch(consumer)
    assert ids(deliveries) == ["a", "b"]
    publish(engine, *names(ROOM - 1))
    return deliveries


@pytest.mark.parametrize("how", ["settled", "released"])
def test_a_settle_that_is_repeated_sends_only_what_was_refused(
    engine: RabbitEngine, how: str
) -> None:
    consumer, other = attach(engine), attach(engine)
    deliveries = held(engine, consumer)
    if how == "released":
        consumer._move(
            [consumer._held.by_key[one.key] for one in deliveries], [{}] * len(deliveries)
        )

    def go_back() -> None:
        if how == "released":
            consumer.release([one.key for one in deliveries])
        else:
            consumer.settle([Settlement(one, Action.REQUEUE, crashed=True) for one in deliveries])

    with pytest.raises(BrokerFull, match="did not take 1 of 2 messages"):
        go_back()
    found = drained(other, ROOM)
    go_back()
    found += drained(other, 1)
    assert sorted(found) == sorted([*names(ROOM - 1), "a", "b"])
    assert drained(consumer, 0) == []
    consumer.close()
    other.close()


def test_dead_letters_that_were_refused_stay_dead(engine: RabbitEngine) -> None:
    consumer = attach(engine)
    deliveries = held(engine, consumer)
    consumer.settle([Settlement(one, Action.DEAD_LETTER, reason="x") for one in deliveries])
    keys = [letter.key for letter in engine.queues.dead_letters(10)]
    assert len(keys) == 2
    with pytest.raises(BrokerFull, match="did not take 1 of 2"):
        engine.queues.retry_dead(keys)
    [left] = engine.queues.dead_letters(10)
    found = drained(consumer, ROOM)
    assert engine.queues.retry_dead(keys) == 1
    assert drained(consumer, 1) == [left.message.task_id]
    assert sorted(found) == sorted([*names(ROOM - 1), *({"a", "b"} - {left.message.task_id})])
    consumer.close()
