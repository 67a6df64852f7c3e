"""What goes wrong with a server: each with an error that says what to do, and work goes on by itself."""

from __future__ import annotations

import socket
import threading
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest

from tests.rabbitmq_servers import connected, delete_queue
from tests.unit.engines.rabbitmq.support import attach, dies, publish, unheard, waited_for
from umbel.engines.rabbitmq import RabbitEngine
from umbel.engines.rabbitmq.broadcast import RabbitSubscription
from umbel.engines.rabbitmq.consumer import RabbitConsumer
from umbel.engines.rabbitmq.wire import method
from umbel.exceptions import LeaseLost, OperationalError
from umbel.message import Delivery
from umbel.ports import Action, FetchRequest, Settlement
from umbel.testing.conformance.support import (
    PATIENCE,
    QUEUE,
    ack,
    at_most,
    fetch,
    ids,
    in_thread,
    now,
    publication,
    until,
)

pytestmark = pytest.mark.engine


def test_nobody_there_is_an_error_that_says_where() -> None:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
        with (
            closing(RabbitEngine(f"amqp://u:secret@127.0.0.1:{port}/v", {})) as engine,
            pytest.raises(OperationalError) as caught,
        ):
            engine.broker.publish([publication("1")], 2.0)
    assert f"127.0.0.1:{port}, virtual host 'v', cannot be reached" in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ("guest:wrong@127.0.0.1:5672//", "does not accept the user 'guest' or the password"),
        ("guest:guest@127.0.0.1:5672/nowhere", "Check the virtual host"),
    ],
)
def test_who_may_not_come_in_is_told_what_to_check(place: str, text: str) -> None:
    with connected():
        pass
    with (
        closing(RabbitEngine(f"amqp://{place}", {})) as engine,
        pytest.raises(OperationalError, match=text) as caught,
    ):
        engine.broker.publish([publication("1")], PATIENCE)
    assert not caught.value.passes


def test_a_server_of_the_cluster_that_is_away_is_passed_over(engine: RabbitEngine) -> None:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        url = f"amqp://127.0.0.1:{one.getsockname()[1]}//;{engine.url}"
        options = {"queue_name_prefix": engine.broker._core.topology.prefix}
        with closing(RabbitEngine(url, options)) as other:
            publish(other, "1")
    consumer = attach(engine)
    assert ids(fetch(consumer)) == ["1"]
    consumer.close()


def test_nothing_is_sent_that_there_is_no_time_to_confirm(engine: RabbitEngine) -> None:
    consumer = attach(engine)
    assert fetch(consumer) == []  # the queue is there
    declare = engine.broker._core.topology.ensure_parking
    with pytest.MonkeyPatch.context() as patch:

        def slowly(queues: Collection[str], timeout: float | None = None) -> None:
            declare(queues, timeout)
            threading.Event().wait(0.5)

        patch.setattr(engine.broker._core.topology, "ensure_parking", slowly)
        with pytest.raises(OperationalError, match="Nothing was sent"):
            engine.broker.publish([publication("1", due=now() + 0.05)], 0.4)
    engine.broker.publish([publication("2", due=now() + 0.05)], PATIENCE)
    assert waited_for(consumer).message.task_id == "2"
    assert fetch(consumer) == []
    consumer.close()


# Crashes


def test_what_ended_its_process_is_counted_and_its_neighbours_are_not(engine: RabbitEngine) -> None:
    publish(engine, "killer", "1", "2")
    consumer = attach(engine)
    assert ids(fetch(consumer)) == ["killer", "1", "2"]
    dies(consumer)
    # It may have been any of them: each runs alone from now on, and the first is the one that kills.
    consumer = attach(engine)
    suspect = waited_for(consumer)
    assert (suspect.message.task_id, suspect.redelivered, suspect.crashes) == ("killer", True, 0)
    dies(consumer)
    for crashes in (2, 3):
        consumer = attach(engine)
        found = [waited_for(consumer)]
        while found[-1].message.task_id != "killer":
            ack(consumer, found[-1:])
            found.append(waited_for(consumer))
        assert [one.crashes for one in found] == [*([0] * (len(found) - 1)), crashes]
        assert ids(found[:-1]) == (["1", "2"] if crashes == 2 else [])
        dies(consumer)


def test_a_copy_that_comes_after_its_claim_failed_is_not_taken_for_another(
    engine: RabbitEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(engine, "1", "2", "3")
    consumer = attach(engine)
    deliveries = fetch(consumer)
    publisher = engine.broker._core.publisher
    with monkeypatch.context() as patch:
        patch.setattr(publisher, "publish", unheard(publisher.publish))
        for one in deliveries[:2]:
            with pytest.raises(OperationalError):
                consumer.mark_early([one])
    consumer.mark_early(deliveries[1:])
    assert ack(consumer, deliveries).refused == ()
    consumer.close()
    heir = attach(engine)
    assert fetch(heir) == []
    heir.close()


def test_what_cannot_be_claimed_is_tried_again(
    engine: RabbitEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(engine, "1")
    consumer = attach(engine)
    [first] = fetch(consumer)
    dies(consumer)
    publisher = engine.broker._core.publisher
    with monkeypatch.context() as patch:
        patch.setattr(publisher, "publish", unheard(publisher.publish))
        with pytest.raises(OperationalError):
            until(lambda: fetch(consumer))
    again = waited_for(consumer)
    assert again.message == first.message
    ack(consumer, [again])
    consumer.close()
    heir = attach(engine)
    assert fetch(heir) == []
    heir.close()


@pytest.mark.parametrize("how", ["settled", "released"])
def test_what_is_moved_while_it_is_given_back_is_not_lost(
    engine: RabbitEngine, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    publish(engine, "1", "2")
    consumer = attach(engine)
    deliveries = fetch(consumer)
    consumer._move([consumer._held.by_key[deliveries[0].key]], [{}])
    core = engine.broker._core
    send = core.send

    def slowly(*arguments: Any) -> None:
        send(*arguments)
        consumer._move([consumer._held.by_key[deliveries[1].key]], [{}])

    with monkeypatch.context() as patch:
        patch.setattr(core, "send", slowly)
        if how == "settled":
            consumer.settle([Settlement(one, Action.REQUEUE) for one in deliveries])
        else:
            assert consumer.release([one.key for one in deliveries]) == 2
    heir = attach(engine)
    found = [waited_for(heir), waited_for(heir)]
    assert sorted(map(str, ids(found))) == ["1", "2"]
    ack(heir, found)
    assert fetch(heir) == []
    heir.close()
    consumer.close()


def test_who_has_a_consumer_for_a_moment_does_not_keep_it_from_saying_what_ends(
    engine: RabbitEngine,
) -> None:
    publish(engine, "1")
    consumer = attach(engine)
    [delivery] = fetch(consumer)
    with ThreadPoolExecutor(1) as executor:
        has, may_go = threading.Event(), threading.Event()

        class Watched:
            """The lock, which the other lets go of once somebody waits for it."""

            def __init__(self) -> None:
                self._lock = threading.RLock()
                self.release = self._lock.release

            def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
                if threading.current_thread() is threading.main_thread() and blocking:
                    may_go.set()
                    holding.result(PATIENCE)
                return self._lock.acquire(blocking, timeout)

        def hold() -> None:
            lock.acquire()
            has.set()
            may_go.wait(PATIENCE)
            lock.release()

        lock = Watched()
        consumer._fetching = lock  # type: ignore[assignment]
        holding = executor.submit(hold)
        assert has.wait(PATIENCE)
        consumer.expect_end(delivery, 2.5)
        may_go.set()
    dies(consumer)
    heir = attach(engine)
    assert waited_for(heir).over_time == 2.5
    heir.close()


def test_what_may_run_only_once_says_so_when_its_process_died(engine: RabbitEngine) -> None:
    publish(engine, "1")
    consumer = attach(engine)
    deliveries = fetch(consumer)
    assert [one.early for one in deliveries] == [False]
    consumer.mark_early(deliveries)
    dies(consumer)
    heir = attach(engine)
    found = waited_for(heir)
    assert (found.message.task_id, found.early) == ("1", True)
    assert ack(heir, [found]).refused == ()
    heir.close()


def test_what_is_killed_at_its_time_limit_says_so(engine: RabbitEngine) -> None:
    publish(engine, "1")
    consumer = attach(engine)
    [delivery] = fetch(consumer)
    consumer.expect_end(delivery, 2.5)
    dies(consumer)
    heir = attach(engine)
    found = waited_for(heir)
    assert (found.over_time, found.crashes) == (2.5, 0)
    heir.close()


def test_what_was_told_to_end_may_end_well(engine: RabbitEngine) -> None:
    publish(engine, "1")
    consumer = attach(engine)
    [delivery] = fetch(consumer)
    consumer.expect_end(delivery, 2.5)
    assert ack(consumer, [delivery]).refused == ()
    consumer.close()
    other = attach(engine)
    assert fetch(other) == []
    other.close()


def test_what_is_held_for_long_is_held_anew(engine: RabbitEngine) -> None:
    engine.broker._core.hold_after = 0.05
    publish(engine, "1")
    consumer = attach(engine)
    [delivery] = fetch(consumer)
    [held] = consumer._held.by_key.values()
    first = held.number

    def moved() -> bool:
        consumer.look_after(held.since + 1)
        return held.number != first

    until(moved)
    assert ack(consumer, [delivery]).refused == ()
    consumer.close()
    other = attach(engine)
    assert fetch(other) == []
    other.close()


# Connections and queues that go


def test_what_a_lost_connection_held_cannot_be_settled(engine: RabbitEngine) -> None:
    publish(engine, "1")
    consumer = attach(engine)
    [old] = fetch(consumer)
    dies(consumer)
    new = waited_for(consumer)
    assert new.key != old.key
    assert ack(consumer, [old]).refused == (old,)
    assert ack(consumer, [new]).refused == ()
    consumer.close()
    with pytest.raises(LeaseLost):
        fetch(consumer)


@pytest.mark.parametrize("lost", ["before it was settled", "with the acknowledgement"])
def test_what_was_done_is_not_done_again_by_the_same_process(
    engine: RabbitEngine, lost: str
) -> None:
    publish(engine, "1", "2")
    consumer = attach(engine)
    [done, _] = fetch(consumer)
    if lost == "before it was settled":
        dies(consumer)
        assert ack(consumer, [done]).refused == (done,)
    else:
        assert consumer._link is not None
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(consumer._link, "send", lambda *data: None)
            assert ack(consumer, [done]).refused == ()
        dies(consumer)
    last = waited_for(consumer)
    assert last.message.task_id == "2"
    ack(consumer, [last])
    consumer.close()
    other = attach(engine)
    assert fetch(other) == []
    other.close()


@pytest.mark.parametrize("early", [False, True])
def test_what_is_worked_on_and_comes_back_goes_on_as_what_it_was(
    engine: RabbitEngine, early: bool
) -> None:
    """Also when its process says that it has begun; and again, when another connection is lost."""
    publish(engine, "1")
    consumer = attach(engine)
    consumer.adopts = True
    [first] = fetch(consumer)
    if early:
        consumer.mark_early([first])
    for name in ("2", "3"):
        dies(consumer)
        until(lambda: _has_come_back(consumer, first))
        publish(engine, name)
        other = waited_for(consumer)
        assert other.message.task_id == name
        assert ack(consumer, [other]).refused == ()
    assert ack(consumer, [first]).refused == ()
    consumer.close()
    with closing(attach(engine)) as other_consumer:
        assert fetch(other_consumer) == []


def test_what_is_not_worked_on_any_more_is_as_good_as_new(engine: RabbitEngine) -> None:
    publish(engine, "1", "2")
    consumer = attach(engine)
    consumer.adopts = True
    given_back, put_back = fetch(consumer)
    dies(consumer)
    consumer.release([given_back.key])
    [refused] = consumer.settle([Settlement(put_back, Action.REQUEUE)]).refused
    assert refused == put_back
    found = [waited_for(consumer), waited_for(consumer)]
    assert set(ids(found)) == {"1", "2"}
    assert {one.key for one in found}.isdisjoint({given_back.key, put_back.key})
    consumer.close()


def test_what_is_put_back_after_it_came_back_has_its_own_counts(engine: RabbitEngine) -> None:
    publish(engine, "1")
    consumer = attach(engine)
    consumer.adopts = True
    [first] = fetch(consumer)
    dies(consumer)
    until(lambda: _has_come_back(consumer, first))
    settled = consumer.settle([Settlement(first, Action.REQUEUE, crashed=True)])
    assert settled.refused == ()
    consumer.adopts = False
    assert waited_for(consumer).crashes == 1
    consumer.close()


def _has_come_back(consumer: RabbitConsumer, delivery: Delivery) -> bool:
    """Let a consumer look, and tell whether it holds what was lost with a connection."""
    assert fetch(consumer, 1) == []
    return delivery.key in consumer._held.by_key


def test_what_goes_back_is_not_taken_for_done(engine: RabbitEngine) -> None:
    publish(engine, "1")
    consumer = attach(engine)
    [delivery] = fetch(consumer)
    consumer.settle([Settlement(delivery, Action.PARK, due=now())])
    dies(consumer)
    again = waited_for(consumer)
    consumer.settle([Settlement(again, Action.REQUEUE, crashed=True)])
    dies(consumer)
    assert waited_for(consumer).message.task_id == "1"
    consumer.close()


def test_a_queue_that_is_deleted_is_declared_again(engine: RabbitEngine) -> None:
    name = engine.broker._core.topology.name(QUEUE)
    publish(engine, "1")
    consumer = attach(engine)
    ack(consumer, fetch(consumer))
    with connected() as link:
        delete_queue(link, name)
    publish(engine, "2")  # comes back, and is sent again
    assert waited_for(consumer).message.task_id == "2"
    with connected() as link, in_thread(lambda: _until_there(consumer)) as found, at_most(PATIENCE):
        delete_queue(link, name)
        publish(engine, "3")
        assert found.result(PATIENCE).message.task_id == "3"
    consumer.close()


def test_large_headers_of_what_has_waited_are_read(engine: RabbitEngine) -> None:
    """The server adds to them where the message has waited, and makes one frame of it all the same."""
    one = publication("1", due=now() + 0.511)  # waits in nine queues
    headers = {**one.message.headers, "large": "x" * 130_500}
    engine.broker.publish([replace(one, message=replace(one.message, headers=headers))], PATIENCE)
    consumer = attach(engine)
    found = waited_for(consumer)
    assert found.message.headers["large"] == headers["large"]
    ack(consumer, [found])
    consumer.close()


def delete_exchange(name: str) -> None:
    with connected() as link:
        link.call(method((40, 20), "Bsbb", 0, name, False, False), (40, 21))


def test_an_exchange_that_is_deleted_is_declared_again(engine: RabbitEngine) -> None:
    """As where a server was replaced by an empty one while its clients live."""
    topology = engine.broker._core.topology
    consumer = attach(engine)
    engine.broker.publish([publication("1", due=now() + 0.01)], PATIENCE)
    ack(consumer, [waited_for(consumer)])
    for level in range(11):
        delete_exchange(topology.delays.level(level))
    engine.broker.publish([publication("2", due=now() + 0.01)], PATIENCE)
    assert waited_for(consumer).message.task_id == "2"
    consumer.close()


def test_broadcasts_are_heard_again_when_their_exchange_was_deleted(engine: RabbitEngine) -> None:
    exchange = f"{engine.broker._core.topology.prefix}umbel.broadcast"
    engine.broadcast.send("any", [b"declares it"])
    delete_exchange(exchange)
    engine.broadcast.send("any", [b"nobody listens"])
    listening = engine.broadcast.listen(["any"])
    delete_exchange(exchange)
    assert isinstance(listening, RabbitSubscription)
    listening._link.drop()  # so that it has to come back
    assert listening.receive(0.0) == []
    engine.broadcast.send("any", [b"heard"])
    assert until(lambda: listening.receive(0.1)) == [("any", b"heard")]
    listening.close()


def _until_there(consumer: RabbitConsumer) -> Delivery:
    """Fetch as a child does, which starts over when the server refuses something."""

    def one() -> list[Delivery]:
        try:
            return consumer.fetch(FetchRequest([QUEUE], 1), 1.0)
        except OperationalError:
            return []

    [delivery] = until(one)
    return delivery


@pytest.mark.slow
def test_who_vanishes_is_noticed_within_twenty_seconds(
    engine: RabbitEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(engine, "1")
    consumer, heir = attach(engine), attach(engine)
    waited_for(consumer)
    monkeypatch.setattr(consumer._link, "beat", lambda now: None)
    with at_most(20.0):
        ack(heir, until(lambda: heir.fetch(FetchRequest([QUEUE], 1), 1.0), 60.0))
    heir.close()
    consumer.close()
