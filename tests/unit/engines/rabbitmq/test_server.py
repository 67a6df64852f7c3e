"""A server that is restarted, killed, frozen, full, or out of patience. It is one for all of these tests."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from contextlib import closing
from time import monotonic
from typing import Any

import pytest

from tests.rabbitmq_servers import PrivateServer, private_server
from tests.unit.engines.rabbitmq.support import attach, publish, waited_for
from umbel.engines.rabbitmq import RabbitEngine
from umbel.engines.rabbitmq.delays import Delays
from umbel.entities import Queue
from umbel.exceptions import BrokerFull, OperationalError
from umbel.message import Delivery
from umbel.ports import Action, FetchRequest, Settlement
from umbel.testing.conformance.support import (
    PATIENCE,
    QUEUE,
    ack,
    at_most,
    ids,
    now,
    publication,
    until,
)

pytestmark = [pytest.mark.engine, pytest.mark.slow]
#: Seconds after which the server takes back what is held.
CONSUMER_TIMEOUT = 5.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateServer]:
    timeout = f"consumer_timeout = {int(CONSUMER_TIMEOUT * 1000)}"
    with private_server(tmp_path_factory.mktemp("rabbitmq"), timeout) as made:
        yield made


@pytest.fixture
def engine(server: PrivateServer) -> Iterator[RabbitEngine]:
    with closing(RabbitEngine(server.url, {"hold_after": 1.5})) as made:
        made.queues.purge(QUEUE)
        yield made


def published(engine: RabbitEngine, name: str) -> bool:
    try:
        publish(engine, name)
    except OperationalError:
        return False
    return True


def fetched(engine: RabbitEngine, count: int) -> list[str | None]:
    """Return the ids of so many messages, from a consumer that starts over like a child."""
    found: list[str | None] = []
    consumer = attach(engine)

    def enough() -> bool:
        try:
            deliveries = consumer.fetch(FetchRequest([QUEUE], 100), 0.2)
        except OperationalError:
            return False
        found.extend(ids(deliveries))
        ack(consumer, deliveries)
        return len(set(found)) >= count  # what was not acknowledged in time comes once more

    until(enough, 60.0)
    consumer.close()
    return found


@pytest.mark.parametrize("how", ["killed", "restarted"])
def test_what_was_confirmed_survives_the_server(
    server: PrivateServer, engine: RabbitEngine, how: str
) -> None:
    publish(engine, *(str(number) for number in range(50)))
    consumer = attach(engine)
    parked = waited_for(consumer)
    consumer.settle([Settlement(parked, Action.PARK, due=now() + 1)])
    held = waited_for(consumer)
    if how == "killed":
        server.kill()
        with pytest.raises(OperationalError), at_most(PATIENCE):
            engine.broker.publish([publication("lost")], 2.0)
        server.start()
    else:
        server.control("stop_app")
        server.control("start_app")
    until(lambda: published(engine, "after"), 60.0)
    found = fetched(engine, 51)
    assert sorted(set(found), key=str) == sorted([*map(str, range(50)), "after"])

    def refused() -> Sequence[Delivery]:
        try:
            return ack(consumer, [held]).refused
        except OperationalError:  # it hears of its connection's end by this
            return ()

    assert until(refused) == (held,)
    consumer.close()


def test_a_frozen_server_is_waited_for_no_longer_than_was_said(
    server: PrivateServer, engine: RabbitEngine
) -> None:
    publish(engine, "1")
    server.signal(signal.SIGSTOP)
    try:
        began = monotonic()
        with pytest.raises(OperationalError, match="did not confirm within"):
            engine.broker.publish([publication("2")], 1.0)
        assert monotonic() - began < 5.0
    finally:
        server.signal(signal.SIGCONT)
    until(lambda: published(engine, "3"), 60.0)
    found = fetched(engine, 2)
    assert {"1", "3"} <= set(found) <= {"1", "2", "3"}


def test_a_server_that_is_slow_to_declare_is_waited_for_no_longer_than_was_said(
    server: PrivateServer, engine: RabbitEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(engine, "1")
    declare = Delays.declare

    def frozen(*arguments: Any) -> None:
        server.signal(signal.SIGSTOP)
        declare(*arguments)

    monkeypatch.setattr(Delays, "declare", frozen)
    try:
        with at_most(4.0), pytest.raises(OperationalError, match="did not answer within"):
            engine.broker.publish([publication("2", due=now() + 60)], 1.0)
    finally:
        server.signal(signal.SIGCONT)
    until(lambda: published(engine, "3"), 60.0)
    assert set(fetched(engine, 2)) == {"1", "3"}


def test_a_server_without_room_says_so_and_lets_workers_go_on(
    server: PrivateServer, engine: RabbitEngine
) -> None:
    publish(engine, "1", "2")
    consumer = attach(engine)
    server.control("set_vm_memory_high_watermark", "0")
    try:
        # The server tells of its alarm with the first message that it does not take.
        with pytest.raises(BrokerFull, match="low on memory"):
            engine.broker.publish([publication("3")], 2.0)
        with pytest.raises(BrokerFull, match="Nothing was sent"):
            engine.broker.publish([publication("never")], 0.5)
        [first] = consumer.fetch(FetchRequest([QUEUE], 1), PATIENCE)
        assert ack(consumer, [first]).refused == ()
        [second] = consumer.fetch(FetchRequest([QUEUE], 1), PATIENCE)
        assert ack(consumer, [second]).refused == ()
    finally:
        server.control("set_vm_memory_high_watermark", "0.4")
    until(lambda: published(engine, "4"), 60.0)
    assert "4" in fetched(engine, 1) + fetched_rest(engine)
    consumer.close()


def fetched_rest(engine: RabbitEngine) -> list[str | None]:
    consumer = attach(engine)
    found = ids(consumer.fetch(FetchRequest([QUEUE], 100), 1.0))
    consumer.close()
    return found


def test_what_runs_for_longer_than_the_consumer_timeout_stays(
    server: PrivateServer, engine: RabbitEngine
) -> None:
    publish(engine, "long")
    consumer, other = attach(engine), attach(engine)
    delivery = waited_for(consumer)
    # Meanwhile the pulse moves it.
    ends = monotonic() + 3 * CONSUMER_TIMEOUT
    while monotonic() < ends:
        assert other.fetch(FetchRequest([QUEUE], 1), 0.5) == []
    assert ack(consumer, [delivery]).refused == ()
    consumer.close()
    assert other.fetch(FetchRequest([QUEUE], 1), 1.0) == []
    other.close()


def test_a_user_who_may_have_few_channels_gets_everything_by_one(
    server: PrivateServer, caplog: pytest.LogCaptureFixture
) -> None:
    def quorum(name: str) -> Queue:
        return Queue(name, None, name, queue_arguments={"x-queue-type": "quorum"})

    names = [str(number) for number in range(60)]
    options = {"queue_name_prefix": "quorum.", "declared_queue": quorum}
    server.control("set_user_limits", "guest", '{"max-channels": 20}')
    try:
        with closing(RabbitEngine(server.url, options)) as engine:
            publish(engine, *names)
            assert set(fetched(engine, len(names))) == set(names)
    finally:
        server.control("clear_user_limits", "guest", "max-channels")
    assert caplog.text.count("Quorum queues are asked on one channel now") == 1
