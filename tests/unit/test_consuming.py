from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Any

import pytest

from tests.unit.worker.support import consumer_of, take
from umbel import Consumer, Exchange, Queue, Umbel
from umbel.exceptions import ContentDisallowed, ImproperlyConfigured, LeaseLost
from umbel.producers import Producer
from umbel.received import MessageStateError, ReceivedMessage
from umbel.testing.conformance.support import PATIENCE, until

LETTERS = Queue("letters", Exchange("post"), "letter")
Make = Callable[..., Consumer]


@pytest.fixture
def got() -> SimpleQueue[tuple[Any, ReceivedMessage]]:
    return SimpleQueue()


@pytest.fixture
def make(app: Umbel, got: SimpleQueue[Any]) -> Iterator[Make]:
    """Make a consumer that consumes; without callbacks of its own the test gets what it receives."""
    made: list[Consumer] = []

    def one(**options: Any) -> Consumer:
        options.setdefault("callbacks", [lambda body, message: got.put((body, message))])
        consumer = Consumer(app.connection_for_read(), queues=[LETTERS], **options)
        made.append(consumer)
        consumer.consume()
        return consumer

    yield one
    for consumer in made:
        consumer.cancel()


def post(app: Umbel, body: Any, **options: Any) -> None:
    """Send a message as Celery's documentation does."""
    options.setdefault("serializer", "json")
    with app.producer_or_acquire() as producer:
        producer.publish(
            body, exchange=LETTERS.exchange, routing_key="letter", declare=[LETTERS], **options
        )


def depth(app: Umbel) -> tuple[int, int, int]:
    """Return how many are ready, leased and dead."""
    found = app.queues.depths().get("letters")
    return (0, 0, 0) if found is None else (found.ready, found.leased, found.dead)


def reason(app: Umbel) -> str:
    """Return why the only dead letter is one."""
    (letter,) = app.queues.dead_letters(10)
    return letter.reason


def test_a_message_is_given_to_the_callbacks_and_goes_when_it_is_acknowledged(
    app: Umbel, make: Make, got: SimpleQueue[Any]
) -> None:
    make(accept=["json"])
    post(app, {"hello": "you"}, headers={"mine": 1}, correlation_id="c")
    body, message = got.get(timeout=PATIENCE)
    assert body == {"hello": "you"}
    assert (message.payload, message.decode()) == (body, body)
    assert message.body.replace(b" ", b"") == b'{"hello":"you"}'
    assert (message.headers["mine"], message.properties["correlation_id"]) == (1, "c")
    assert (message.content_type, message.content_encoding) == ("application/json", "utf-8")
    info = message.delivery_info
    assert (info["exchange"], info["routing_key"], info["queue"]) == ("post", "letter", "letters")
    assert not info["redelivered"]
    assert depth(app) == (0, 1, 0)
    message.ack()
    assert message.acknowledged
    assert depth(app) == (0, 0, 0)
    with pytest.raises(MessageStateError, match="before"):
        message.reject()
    message.ack_log_error(logging.getLogger("x"), MessageStateError)


def test_what_is_rejected_becomes_a_dead_letter(
    app: Umbel, make: Make, got: SimpleQueue[Any]
) -> None:
    make()
    post(app, 1)
    got.get(timeout=PATIENCE)[1].reject()
    assert depth(app) == (0, 0, 1)
    assert reason(app) == "Rejected by its consumer."


def test_what_is_requeued_comes_again(app: Umbel, make: Make, got: SimpleQueue[Any]) -> None:
    make()
    post(app, 1)
    got.get(timeout=PATIENCE)[1].requeue()
    _, again = got.get(timeout=PATIENCE)
    assert again.delivery_info["redelivered"]
    again.ack()


def test_a_callback_that_raises_keeps_nobody_busy(
    app: Umbel, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(body: Any, message: ReceivedMessage) -> None:
        raise ValueError("no")

    make(callbacks=[fail])
    post(app, 1)
    until(lambda: depth(app) == (0, 0, 1))
    assert reason(app) == "Its consumer failed: ValueError('no')"
    assert "A message of letters was not taken." in caplog.text


def test_what_may_not_be_read_is_told_or_a_dead_letter(app: Umbel, make: Make) -> None:
    told: SimpleQueue[Any] = SimpleQueue()
    first = make(accept=["json"], on_decode_error=lambda *what: told.put(what))
    post(app, 1, serializer="yaml")
    message, error = told.get(timeout=PATIENCE)
    assert isinstance(error, ContentDisallowed)
    message.requeue()
    message, _ = told.get(timeout=PATIENCE)
    message.ack()
    first.cancel()
    make(accept=["json"])
    post(app, 1, serializer="yaml")
    until(lambda: depth(app) == (0, 0, 1))
    assert "application/x-yaml" in reason(app)


def test_messages_may_be_had_unread_and_unasked(app: Umbel, make: Make) -> None:
    seen: SimpleQueue[ReceivedMessage] = SimpleQueue()
    make(on_message=seen.put, no_ack=True)
    post(app, b"raw", serializer=None)
    message = seen.get(timeout=PATIENCE)
    assert (message.body, message.acknowledged) == (b"raw", True)
    assert depth(app) == (0, 0, 0)


def test_no_more_are_held_than_it_is_told(app: Umbel, make: Make, got: SimpleQueue[Any]) -> None:
    make(prefetch_count=2)
    for number in range(3):
        post(app, number)
    (_, first), _ = got.get(timeout=PATIENCE), got.get(timeout=PATIENCE)
    assert depth(app) == (1, 2, 0)
    first.ack()
    assert got.get(timeout=PATIENCE)[0] == 2


def test_what_is_not_settled_goes_back_when_it_is_cancelled(
    app: Umbel, make: Make, got: SimpleQueue[Any]
) -> None:
    consumer = make()
    post(app, 1)
    _, message = got.get(timeout=PATIENCE)
    consumer.cancel()
    consumer.cancel()
    assert depth(app) == (1, 0, 0)
    with pytest.raises(LeaseLost):
        message.ack()
    consumer.consume()
    assert got.get(timeout=PATIENCE)[0] == 1


def test_a_consumer_that_was_taken_for_dead_begins_anew(
    app: Umbel, make: Make, got: SimpleQueue[Any]
) -> None:
    consumer = make()
    post(app, 1)
    _, message = got.get(timeout=PATIENCE)
    assert consumer._hold is not None
    consumer_of(app).reclaim(consumer._hold.owner.id, None)
    with pytest.raises(LeaseLost):
        message.ack()
    consumer._interrupt()
    assert got.get(timeout=PATIENCE)[0] == 1


def test_its_leases_are_renewed(
    app: Umbel, make: Make, got: SimpleQueue[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    app.conf.worker_lease_ttl = 1.0
    renewed: SimpleQueue[str] = SimpleQueue()
    renew = app.broker.renew

    def noted(node: str, ttl: float) -> Any:
        renewed.put(node)
        return renew(node, ttl)

    monkeypatch.setattr(app.broker, "renew", noted)
    consumer = make()
    post(app, 1)
    _, message = got.get(timeout=PATIENCE)
    nodes = {renewed.get(timeout=PATIENCE) for _ in range(2)}
    assert consumer._hold is not None
    assert nodes == {consumer._hold.owner.node}
    message.ack()


def test_queues_come_and_go(app: Umbel, make: Make, got: SimpleQueue[Any]) -> None:
    consumer = make()
    assert consumer.queues[0].name == "letters"
    consumer.add_queue("parcels")
    assert consumer.consuming_from("parcels")
    Producer(app).publish(2, routing_key="parcels", serializer="json")
    assert got.get(timeout=PATIENCE)[0] == 2
    consumer.cancel_by_queue("letters")
    assert not consumer.consuming_from(LETTERS)
    until(lambda: consumer._hold is not None)
    post(app, 3)
    assert len(take(app, queue="letters")) == 1


def test_a_consumer_that_would_call_nobody_is_refused(app: Umbel) -> None:
    with pytest.raises(ImproperlyConfigured, match="letters has neither callbacks nor on_message"):
        Consumer(app, queues=[LETTERS]).consume()
