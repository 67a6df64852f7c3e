"""How what a wait brought is settled: by a script of its own, which does what the large one would."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.unit.engines.redis.support import (
    QUEUE,
    attach,
    given_while_waiting,
    publish,
)
from umbel.engines.redis import RedisEngine
from umbel.engines.redis.consumer import RedisConsumer
from umbel.exceptions import LeaseLost, OperationalError
from umbel.message import Delivery
from umbel.ports import Action, FetchRequest, Settled, Settlement
from umbel.testing.conformance.support import (
    PATIENCE,
    fetch,
    ids,
    in_thread,
    now,
    record,
    until,
)

pytestmark = pytest.mark.engine

REQUEST = FetchRequest((QUEUE,), 100)


@pytest.fixture
def consumer(engine: RedisEngine) -> RedisConsumer:
    """One that settles with the results of its engine."""
    engine.broker.join(engine.results)
    return attach(engine)


@pytest.fixture
def delivery(engine: RedisEngine, admin: Any, consumer: RedisConsumer) -> Delivery:
    """What it was given while it waited."""
    with given_while_waiting(engine, admin, consumer) as [found]:
        return found


@pytest.fixture
def calls(consumer: RedisConsumer, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the scripts that are run from here on."""
    found: list[str] = []
    run = consumer._calls.run

    def noting(name: str, *arguments: Any, **more: Any) -> Any:
        found.append(name)
        return run(name, *arguments, **more)

    monkeypatch.setattr(consumer._calls, "run", noting)
    return found


def success(delivery: Delivery) -> Settlement:
    return Settlement(delivery, result=record("1", "SUCCESS"))


def test_it_is_settled_and_its_result_is_told(
    engine: RedisEngine, admin: Any, consumer: RedisConsumer, delivery: Delivery, calls: list[str]
) -> None:
    subscription = engine.results.subscribe()
    subscription.add(["1"])
    assert consumer.settle([success(delivery)], REQUEST) == Settled()
    assert calls == ["finish"]
    assert subscription.receive(PATIENCE) == {"1": record("1", "SUCCESS")}
    subscription.close()
    assert engine.results.get(["1"]) == {"1": record("1", "SUCCESS")}
    depth = engine.queues.depths()[QUEUE]
    assert (depth.ready, depth.leased) == (0, 0)
    assert admin.exists(f"umbel:inbox:{consumer.owner.id}:{QUEUE}") == 0


def test_a_result_that_expires_does_so(
    engine: RedisEngine, admin: Any, consumer: RedisConsumer, delivery: Delivery
) -> None:
    ends = round(now()) + 100.0
    consumer.settle([Settlement(delivery, result=record("1", "SUCCESS", ends))])
    assert engine.results.get(["1"])["1"].expires == ends


def test_the_keys_of_those_that_follow_are_new(
    engine: RedisEngine, admin: Any, consumer: RedisConsumer, delivery: Delivery
) -> None:
    consumer.settle([success(delivery)], REQUEST)
    keys = {delivery.key}
    for number in (2, 3):
        with in_thread(lambda: consumer.fetch(REQUEST, PATIENCE)) as waiting:
            until(lambda: admin.exists(f"umbel:blocked:{QUEUE}") == 1)
            publish(engine, str(number))
            [found] = waiting.result(PATIENCE)
        keys.add(found.key)
        assert consumer.settle([Settlement(found)], REQUEST) == Settled()
    publish(engine, "4")
    [last] = fetch(consumer)
    assert len(keys | {last.key}) == 4


def test_what_has_come_meanwhile_is_fetched_with_it(
    engine: RedisEngine, consumer: RedisConsumer, delivery: Delivery, calls: list[str]
) -> None:
    publish(engine, "2", "3")
    calls.clear()
    settled = consumer.settle([success(delivery)], REQUEST)
    assert settled.refused == ()
    assert ids(settled.fetched) == ["2", "3"]
    assert calls == ["finish", "settle"]


def test_what_is_due_is_fetched_with_it(
    engine: RedisEngine, consumer: RedisConsumer, delivery: Delivery
) -> None:
    due = now() + 0.3
    publish(engine, "2", due=due)
    until(lambda: now() > due)
    assert ids(consumer.settle([success(delivery)], REQUEST).fetched) == ["2"]


def test_the_next_wait_ends_when_something_is_due(
    engine: RedisEngine, consumer: RedisConsumer, delivery: Delivery
) -> None:
    due = now() + 1.0
    publish(engine, "2", due=due)
    assert consumer.settle([success(delivery)], REQUEST) == Settled()
    assert ids(consumer.fetch(REQUEST, PATIENCE)) == ["2"]
    assert -0.01 < now() - due < 1.0


def test_it_is_settled_once(
    engine: RedisEngine, admin: Any, consumer: RedisConsumer, delivery: Delivery
) -> None:
    given = consumer._given
    consumer.settle([success(delivery)])
    consumer._given = given  # as if the answer had been lost
    publish(engine, "2")
    admin.lmove(QUEUE, f"umbel:inbox:{consumer.owner.id}:{QUEUE}", "RIGHT", "LEFT")
    settled = consumer.settle([success(delivery)], REQUEST)
    assert settled.refused == (delivery,)
    assert ids(settled.fetched + tuple(fetch(consumer))) == ["2"]


def test_one_that_was_taken_for_dead_settles_nothing(
    engine: RedisEngine, consumer: RedisConsumer, delivery: Delivery
) -> None:
    attach(engine).reclaim(consumer.owner.id, None)
    with pytest.raises(LeaseLost):
        consumer.settle([success(delivery)], REQUEST)
    assert engine.results.get(["1"]) == {}


def test_one_that_is_taken_for_dead_afterwards_has_settled_it(
    engine: RedisEngine,
    consumer: RedisConsumer,
    delivery: Delivery,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    publish(engine, "2")
    finish = consumer._finish

    def lost(*arguments: Any) -> Any:
        answer = finish(*arguments)
        attach(engine).reclaim(consumer.owner.id, None)
        return answer

    monkeypatch.setattr(consumer, "_finish", lost)
    assert consumer.settle([success(delivery)], REQUEST) == Settled()
    assert "1" in engine.results.get(["1"])
    with pytest.raises(LeaseLost):
        consumer.fetch(REQUEST, 0.0)


@pytest.mark.parametrize(
    "settlement",
    [
        lambda one: Settlement(one, result=record("1", "FAILURE")),
        lambda one: Settlement(one, Action.REQUEUE),
        lambda one: Settlement(one, Action.PARK, due=now() + 60),
        lambda one: Settlement(one, Action.DEAD_LETTER, reason="x"),
    ],
    ids=["failure", "requeue", "park", "dead letter"],
)
def test_all_else_is_for_the_large_script(
    consumer: RedisConsumer,
    delivery: Delivery,
    calls: list[str],
    settlement: Callable[[Delivery], Settlement],
) -> None:
    assert consumer.settle([settlement(delivery)]).refused == ()
    assert calls == ["settle"]


def test_what_the_server_refuses_stays_with_its_owner(
    engine: RedisEngine, admin: Any, consumer: RedisConsumer, delivery: Delivery
) -> None:
    inbox = f"umbel:inbox:{consumer.owner.id}:{QUEUE}"
    admin.rename(inbox, "aside")
    admin.set(inbox, "no list")
    with pytest.raises(OperationalError):
        consumer.settle([success(delivery)], REQUEST)
    assert engine.results.get(["1"]) == {}
    admin.rename("aside", inbox)
    assert consumer.settle([success(delivery)], REQUEST).refused == ()
    assert "1" in engine.results.get(["1"])
