"""Copies that say more: of claims that fail, in queues that go, and while the server takes none."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from time import monotonic
from typing import Any

import pytest

from tests.rabbitmq_servers import PrivateServer, connected, delete_queue, private_server
from tests.unit.engines.rabbitmq.support import attach, dies, publish, unheard, waited_for
from umbel.engines.rabbitmq import RabbitEngine, envelope, wire
from umbel.engines.rabbitmq.claims import Claims
from umbel.engines.rabbitmq.consumer import RabbitConsumer
from umbel.engines.rabbitmq.envelope import Written
from umbel.engines.rabbitmq.publisher import Outgoing
from umbel.engines.rabbitmq.topology import depth
from umbel.engines.rabbitmq.wire import AROUND, FRAME_MAX, Event
from umbel.entities import Queue
from umbel.exceptions import BrokerFull, OperationalError
from umbel.message import Delivery
from umbel.ports import Action, FetchRequest, Settlement
from umbel.testing.conformance.support import QUEUE, ack, fetch, ids, publication, until

pytestmark = pytest.mark.engine


@pytest.mark.parametrize("how", ["settled", "released"])
def test_what_goes_back_just_when_its_copy_has_come_is_not_lost(
    engine: RabbitEngine, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    publish(engine, "1")
    consumer = attach(engine)
    [delivery] = fetch(consumer)
    claim = Claims.claim
    came: list[Event] = []

    def claimed(self: Claims, *arguments: Any) -> list[Event]:
        came.extend(copies := claim(self, *arguments))
        return copies

    class Contended:
        """The lock, which somebody else gets as soon as it is free for the first time after that."""

        def __init__(self) -> None:
            self._lock = threading.RLock()

        def __enter__(self) -> None:
            self._lock.acquire()

        def __exit__(self, *_: object) -> None:
            self._lock.release()
            if not came:
                return
            came.clear()
            if how == "settled":
                consumer.settle([Settlement(delivery, Action.REQUEUE)])
            else:
                consumer.release([delivery.key])

    with monkeypatch.context() as patch:
        patch.setattr(Claims, "claim", claimed)
        patch.setattr(consumer, "_lock", Contended())
        consumer.expect_end(delivery, 1.0)
    assert not came
    assert waited_for(consumer).message.task_id == "1"
    consumer.close()


def test_what_came_back_and_then_runs_for_long_counts_as_before(engine: RabbitEngine) -> None:
    publish(engine, "1")
    first = attach(engine)
    fetch(first)
    dies(first)
    second = attach(engine)
    waited_for(second)
    second.look_after(monotonic() + engine.broker._core.hold_after + 1)
    dies(second)
    heir = attach(engine)
    assert waited_for(heir).crashes == 2
    heir.close()


def test_copies_of_a_claim_that_failed_do_not_come_back_when_their_consumer_ends(
    engine: RabbitEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(engine, "1", "2")
    consumer = attach(engine)
    deliveries = fetch(consumer)
    fetch(consumer)
    channel = consumer._channel
    assert channel is not None
    receive = channel.receive_lasting
    came: list[Event] = []

    def only_one(timeout: float) -> Event | None:
        if came:
            return None
        event = receive(timeout)
        assert event is not None
        came.append(event)
        return event

    with monkeypatch.context() as patch:
        patch.setattr(channel, "receive_lasting", only_one)
        with pytest.raises(OperationalError, match="did not hand over"):
            consumer.mark_early(deliveries)
    channel.confirm_settled((1,))  # and the other one comes, for which nobody waits
    ack(consumer, deliveries)
    consumer.close()
    heir = attach(engine)
    assert fetch(heir, wait=0.5) == []
    heir.close()


def test_copies_of_a_claim_that_failed_are_not_held_for_ever(
    engine: RabbitEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(engine, "1")
    consumer = attach(engine)
    deliveries = fetch(consumer)
    publisher = engine.broker._core.publisher
    with monkeypatch.context() as patch:
        patch.setattr(publisher, "publish", unheard(publisher.publish))
        with pytest.raises(OperationalError):
            consumer.mark_early(deliveries)
    channel = consumer._channel
    assert channel is not None
    channel.confirm_settled((1,))
    ack(consumer, deliveries)
    consumer.look_after(0.0)
    dies(consumer)
    heir = attach(engine)
    assert fetch(heir, wait=0.5) == []
    heir.close()


@pytest.mark.parametrize("hears", [True, False])
def test_a_queue_of_copies_that_is_deleted_is_made_anew(engine: RabbitEngine, hears: bool) -> None:
    publish(engine, "1", "2")
    first = attach(engine)
    fetch(first)
    dies(first)
    consumer = attach(engine)
    ack(consumer, [waited_for(consumer)])
    claims, channel = consumer._claims, consumer._channel
    assert claims is not None
    assert channel is not None
    with connected() as link:
        for name in claims._own.values():
            delete_queue(link, name)
    if hears:
        channel.confirm_settled((1,))
    second = waited_for(consumer)
    assert second.message.task_id == "2"
    dies(consumer)
    heir = attach(engine)
    assert waited_for(heir).crashes == 2
    heir.close()


@pytest.mark.parametrize("adopts", [False, True])
def test_what_came_back_and_has_no_room_for_a_count_runs(
    engine: RabbitEngine, adopts: bool
) -> None:
    publish(engine, "1")
    one = publication("large")
    room = FRAME_MAX - AROUND - 12 - len(wire.written({"application_headers": {"large": ""}}))
    # As a client of Celery's may send it: it has no header of ours.
    data = wire.written({"application_headers": {"large": "x" * room}})
    core = engine.broker._core
    core.publisher.publish(
        [Outgoing(Written(one, data, b"[]"), "", core.topology.name(QUEUE), QUEUE)], 5.0
    )
    first = attach(engine, adopts)
    assert len(fetch(first)) == 2
    dies(first)
    consumer = attach(engine, adopts)
    found: list[Delivery] = []

    def all_there() -> bool:
        found.extend(some := fetched(consumer))
        ack(consumer, some)
        return len(found) >= 2

    until(all_there)
    assert [len(str(one.message.headers.get("large", ""))) for one in found] == [0, room]
    consumer.close()


def put(engine: RabbitEngine, **properties: Any) -> None:
    """Put a message into the queue as somebody may who is not of umbel."""
    core = engine.broker._core
    core.topology.ensure([QUEUE])
    data = wire.written({"delivery_mode": 2, **properties})
    written = Written(publication("other"), data, b"[[], {}, {}]")
    core.publisher.publish([Outgoing(written, "", core.topology.name(QUEUE), QUEUE)], 5.0)


def test_a_copy_goes_to_no_other_queue(engine: RabbitEngine) -> None:
    topology = engine.broker._core.topology
    topology.ensure(["other"])
    headers = {"id": "1", "CC": [topology.name("other")]}
    put(engine, application_headers=headers)
    first = attach(engine)
    fetch(first)
    dies(first)
    for crashes in (0, 2):
        consumer = attach(engine)
        found = waited_for(consumer)
        assert (found.message.headers, found.crashes) == (headers, crashes)
        dies(consumer)
    with connected() as link:
        assert depth(link, topology.name("other")) == 1


def test_what_a_user_has_sent_comes_back_to_another(engine: RabbitEngine) -> None:
    first = attach(engine)
    assert fetch(first) == []
    put(engine, application_headers={"id": "1"}, user_id="guest")
    fetch(first)
    dies(first)
    publications: list[dict[str, Any]] = []
    taken = wire.written

    def watched(properties: Any) -> bytes:
        publications.append(properties)
        return taken(properties)

    consumer = attach(engine)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("umbel.engines.rabbitmq.envelope.wire.written", watched)
        found = waited_for(consumer)
    assert found.message.properties["user_id"] == "guest"
    assert publications
    assert not any("user_id" in one for one in publications)  # the server compares it
    dies(consumer)
    heir = attach(engine)
    assert waited_for(heir).message.properties["user_id"] == "guest"
    heir.close()


def test_a_dead_letter_does_not_expire_with_what_it_was(engine: RabbitEngine) -> None:
    put(engine, application_headers={"id": "1"}, expiration="60000")
    consumer = attach(engine)
    [found] = fetch(consumer)
    consumer.settle([Settlement(found, Action.DEAD_LETTER, reason="why")])
    with connected() as link:
        dead = link.call(
            wire.method(wire.GET, "Bsb", 0, engine.broker._core.topology.dead, False),
            wire.GET_OK,
        )
    assert "expiration" not in dead.properties
    letter = envelope.read(dead, QUEUE, "", engine.broker._core)
    assert letter.message.properties["expiration"] == "60000"
    consumer.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateServer]:
    with private_server(tmp_path_factory.mktemp("rabbitmq")) as made:
        yield made


@pytest.mark.slow
@pytest.mark.parametrize("adopts", [False, True])
def test_what_came_back_runs_while_the_server_takes_no_messages(
    server: PrivateServer, adopts: bool
) -> None:
    names = [str(number) for number in range(10)]
    with closing(RabbitEngine(server.url, {"socket_timeout": 1.0})) as engine:
        publish(engine, *names)
        first = attach(engine, adopts)
        fetch(first)
        dies(first)
        server.control("set_vm_memory_high_watermark", "0")
        consumer = attach(engine, adopts)
        done: list[str | None] = []
        try:
            with pytest.raises(BrokerFull):
                engine.broker.publish([publication("refused")], 1.0)

            def drained() -> bool:
                done.extend(ids(some := fetched(consumer)))
                ack(consumer, some)
                return len(done) >= 10

            until(drained, 30.0)
        finally:
            server.control("set_vm_memory_high_watermark", "0.4")
        assert sorted(map(str, done)) == names
        assert set(ids(fetch(consumer, wait=2.0))) <= {"refused"}
        consumer.close()
        engine.queues.purge(QUEUE)


def fetched(consumer: RabbitConsumer) -> list[Delivery]:
    """Take what is there, and say that it starts."""
    found = fetch(consumer)
    consumer.expect_start(found)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("how", ["dies", "closes"])
def test_what_goes_back_to_a_full_queue_waits_for_room(server: PrivateServer, how: str) -> None:
    patience = "dead_letter_worker_publisher_confirm_timeout"
    server.control("eval", f"application:set_env(rabbit, {patience}, 500).")
    full = {"x-max-length": 2, "x-overflow": "reject-publish"}

    def declared(name: str) -> Queue:
        return Queue(name, queue_arguments=full if name == f"full-{how}" else None)

    name = f"full-{how}"
    options = {"declared_queue": declared, "delayed_queue_type": "quorum"}
    with closing(RabbitEngine(server.url, options)) as engine:
        engine.broker.publish([publication("1", name)], 60.0)
        first = attach(engine)
        first.fetch(FetchRequest([name], 1), 5.0)
        dies(first)
        consumer = attach(engine)
        [found] = until(lambda: consumer.fetch(FetchRequest([name], 1), 1.0))
        assert found.message.task_id == "1"
        others = [publication(str(number), name) for number in range(2, 9)]
        with pytest.raises(BrokerFull):
            engine.broker.publish(others, 5.0)
        if how == "dies":
            dies(consumer)
        else:
            consumer.close()
        heir = attach(engine)
        done: list[str | None] = []

        def is_there() -> bool:
            done.extend(ids(some := heir.fetch(FetchRequest([name], 1), 1.0)))
            ack(heir, some)
            return "1" in done

        until(is_there, 30.0)
        heir.close()
