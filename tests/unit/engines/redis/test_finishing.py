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
    ack,
    fetch,
    ids,
    in_thread,
    now,
    publication,
    record,
    until,
)

pytestmark = pytest.mark.engine


@pytest.fixture(params=[False, True], ids=["", "waits"])
def wanted(request: pytest.FixtureRequest) -> FetchRequest:
    """What is fetched with the settling, which may be waited for from then on."""
    return FetchRequest((QUEUE,), 100, waits=request.param)


#: What is waited for from its settling on.
WAITS = FetchRequest((QUEUE,), 100, waits=True)


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
    run, begin = consumer._calls.run, consumer._waiter._begin

    def noting(name: str, *arguments: Any, **more: Any) -> Any:
        found.append(name)
        return run(name, *arguments, **more)

    def noting_waits(name: str, *arguments: Any) -> Any:
        found.append(name)
        return begin(name, *arguments)

    monkeypatch.setattr(consumer._calls, "run", noting)
    monkeypatch.setattr(consumer._waiter, "_begin", noting_waits)
    return found


def success(delivery: Delivery) -> Settlement:
    return Settlement(delivery, result=record("1", "SUCCESS"))


def test_it_is_settled_and_its_result_is_told(
    engine: RedisEngine,
    admin: Any,
    consumer: RedisConsumer,
    delivery: Delivery,
    calls: list[str],
    wanted: FetchRequest,
) -> None:
    subscription = engine.results.subscribe()
    subscription.add(["1"])
    assert consumer.settle([success(delivery)], wanted) == Settled()
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
    engine: RedisEngine,
    admin: Any,
    consumer: RedisConsumer,
    delivery: Delivery,
    wanted: FetchRequest,
) -> None:
    consumer.settle([success(delivery)], wanted)
    keys = {delivery.key}
    for number in (2, 3):
        with in_thread(lambda: consumer.fetch(wanted, PATIENCE)) as waiting:
            until(lambda: admin.exists(f"umbel:blocked:{QUEUE}") == 1)
            publish(engine, str(number))
            [found] = waiting.result(PATIENCE)
        keys.add(found.key)
        assert consumer.settle([Settlement(found)], wanted) == Settled()
    publish(engine, "4")
    [last] = fetch(consumer)
    assert len(keys | {last.key}) == 4


def test_what_has_come_meanwhile_is_fetched_with_it(
    engine: RedisEngine,
    consumer: RedisConsumer,
    delivery: Delivery,
    calls: list[str],
    wanted: FetchRequest,
) -> None:
    publish(engine, "2", "3")
    calls.clear()
    settled = consumer.settle([success(delivery)], wanted)
    assert settled.refused == ()
    assert ids(settled.fetched) == ["2", "3"]
    assert calls == ["finish", "settle"]


def test_what_is_due_is_fetched_with_it(
    engine: RedisEngine, consumer: RedisConsumer, delivery: Delivery, wanted: FetchRequest
) -> None:
    due = now() + 0.3
    publish(engine, "2", due=due)
    until(lambda: now() > due + 0.002)  # the server keeps milliseconds
    assert ids(consumer.settle([success(delivery)], wanted).fetched) == ["2"]


def test_the_next_wait_ends_when_something_is_due(
    engine: RedisEngine, consumer: RedisConsumer, delivery: Delivery, wanted: FetchRequest
) -> None:
    due = now() + 1.0
    publish(engine, "2", due=due)
    assert consumer.settle([success(delivery)], wanted) == Settled()
    assert ids(consumer.fetch(wanted, PATIENCE)) == ["2"]
    assert -0.01 < now() - due < 1.0


def test_it_is_settled_once(
    engine: RedisEngine,
    admin: Any,
    consumer: RedisConsumer,
    delivery: Delivery,
    wanted: FetchRequest,
) -> None:
    given = consumer._given
    consumer.settle([success(delivery)])
    consumer._given = given  # as if the answer had been lost
    publish(engine, "2")
    admin.lmove(QUEUE, f"umbel:inbox:{consumer.owner.id}:{QUEUE}", "RIGHT", "LEFT")
    settled = consumer.settle([success(delivery)], wanted)
    assert settled.refused == (delivery,)
    assert ids(settled.fetched + tuple(fetch(consumer))) == ["2"]


def test_one_that_was_taken_for_dead_settles_nothing(
    engine: RedisEngine, consumer: RedisConsumer, delivery: Delivery, wanted: FetchRequest
) -> None:
    attach(engine).reclaim(consumer.owner.id, None)
    with pytest.raises(LeaseLost):
        consumer.settle([success(delivery)], wanted)
    assert engine.results.get(["1"]) == {}


def test_one_that_is_taken_for_dead_afterwards_has_settled_it(
    engine: RedisEngine,
    consumer: RedisConsumer,
    delivery: Delivery,
    monkeypatch: pytest.MonkeyPatch,
    wanted: FetchRequest,
) -> None:
    publish(engine, "2")
    finish = consumer._finish

    def lost(*arguments: Any) -> Any:
        answer = finish(*arguments)
        attach(engine).reclaim(consumer.owner.id, None)
        return answer

    monkeypatch.setattr(consumer, "_finish", lost)
    assert consumer.settle([success(delivery)], wanted) == Settled()
    assert "1" in engine.results.get(["1"])
    with pytest.raises(LeaseLost):
        consumer.fetch(wanted, 0.0)


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
    engine: RedisEngine,
    admin: Any,
    consumer: RedisConsumer,
    delivery: Delivery,
    wanted: FetchRequest,
) -> None:
    inbox = f"umbel:inbox:{consumer.owner.id}:{QUEUE}"
    admin.rename(inbox, "aside")
    admin.set(inbox, "no list")
    with pytest.raises(OperationalError):
        consumer.settle([success(delivery)], wanted)
    assert engine.results.get(["1"]) == {}
    admin.rename("aside", inbox)
    assert consumer.settle([success(delivery)], wanted).refused == ()
    assert "1" in engine.results.get(["1"])


# The wait that begins with it


def waiting(admin: Any) -> list[str]:
    """Return the connections that wait for a list."""
    clients: list[dict[str, str]] = admin.client_list()
    return [one["id"] for one in clients if one["cmd"] == "blmove" and "b" in one["flags"]]


def test_it_is_waited_from_the_settling_on(
    engine: RedisEngine, admin: Any, consumer: RedisConsumer, delivery: Delivery, calls: list[str]
) -> None:
    assert consumer.settle([success(delivery)], WAITS) == Settled()
    assert len(waiting(admin)) == 1
    assert admin.exists(f"umbel:blocked:{QUEUE}") == 1
    publish(engine, "2")
    [found] = consumer.fetch(WAITS, PATIENCE)
    assert ids([found]) == ["2"]
    assert admin.exists(f"umbel:blocked:{QUEUE}") == 0
    assert consumer.settle([Settlement(found)], WAITS) == Settled()
    assert calls == ["finish", "finish"]
    depth = engine.queues.depths()[QUEUE]
    assert (depth.ready, depth.leased) == (0, 0)


def test_other_queues_ring_for_it(
    engine: RedisEngine, consumer: RedisConsumer, delivery: Delivery
) -> None:
    both = FetchRequest((QUEUE, "other"), 100, waits=True)
    consumer.fetch(both, 0.0)
    for number, queue in enumerate([QUEUE, "other", "other", QUEUE], 2):
        with in_thread(lambda: consumer.fetch(both, PATIENCE)) as found:
            publish(engine, str(number), queue=queue)
            [delivery] = found.result(PATIENCE)
        assert ids([delivery]) == [str(number)]
        assert consumer.settle([Settlement(delivery)], both) == Settled()


def test_what_the_wait_brings_is_looked_after_also_where_nothing_could_be_settled(
    engine: RedisEngine, admin: Any, consumer: RedisConsumer, delivery: Delivery
) -> None:
    both = FetchRequest(("other", QUEUE), 100, waits=True)
    inbox = f"umbel:inbox:{consumer.owner.id}:{QUEUE}"
    consumer._waits = 1  # so that the other queue is next
    engine.broker.publish([publication("noted", queue="other")], PATIENCE)
    ack(attach(engine), fetch(attach(engine), queues=["other"]))
    consumer._calls.unnoted(both.queues)
    admin.rename(inbox, "aside")
    admin.set(inbox, "no list")
    with pytest.raises(OperationalError):
        consumer.settle([success(delivery)], both)
    noted = admin.smembers(f"umbel:inboxes:{consumer.owner.id}")
    assert {QUEUE, "other"} <= {
        each.decode() if isinstance(each, bytes) else each for each in noted
    }
    admin.rename("aside", inbox)
    assert consumer.settle([success(delivery)], both).refused == ()


def test_one_that_leaves_waits_no_more(
    engine: RedisEngine, admin: Any, consumer: RedisConsumer, delivery: Delivery
) -> None:
    consumer.settle([success(delivery)], WAITS)
    consumer.close()
    assert waiting(admin) == []
    publish(engine, "2")
    assert ids(fetch(attach(engine))) == ["2"]


def test_what_came_before_it_leaves_goes_back(
    engine: RedisEngine, admin: Any, consumer: RedisConsumer, delivery: Delivery
) -> None:
    consumer.settle([success(delivery)], WAITS)
    publish(engine, "2")
    until(lambda: waiting(admin) == [])
    consumer.close()
    assert ids(fetch(attach(engine))) == ["2"]


@pytest.mark.parametrize("comes", ["before", "after"])
def test_one_that_asks_for_something_else_first_keeps_what_came(
    engine: RedisEngine, admin: Any, consumer: RedisConsumer, delivery: Delivery, comes: str
) -> None:
    consumer.settle([success(delivery)], WAITS)
    if comes == "before":
        publish(engine, "2")
        until(lambda: waiting(admin) == [])
    other = FetchRequest(("other",), 100)
    found = consumer.fetch(other, 0.0)
    assert waiting(admin) == []
    if comes == "after":
        publish(engine, "2")
    assert ids([*found, *fetch(consumer)]) == ["2"]


def test_nothing_is_waited_for_where_there_is_no_time(
    admin: Any, consumer: RedisConsumer, delivery: Delivery
) -> None:
    consumer.settle([success(delivery)], WAITS)
    assert consumer.fetch(WAITS, 0.0) == []
    assert waiting(admin) == []


def test_it_can_be_interrupted(consumer: RedisConsumer, delivery: Delivery) -> None:
    consumer.settle([success(delivery)], WAITS)
    begun = now()
    consumer.interrupt()
    assert consumer.fetch(WAITS, PATIENCE) == []
    assert now() - begun < PATIENCE / 2


def test_one_that_lost_its_connection_meanwhile_loses_nothing(
    engine: RedisEngine, admin: Any, consumer: RedisConsumer, delivery: Delivery
) -> None:
    consumer.settle([success(delivery)], WAITS)
    [connection] = waiting(admin)
    admin.client_kill_filter(_id=connection)
    publish(engine, "2")
    with pytest.raises(OperationalError):
        consumer.fetch(WAITS, PATIENCE)
    assert ids(consumer.fetch(WAITS, PATIENCE)) == ["2"]


def test_a_server_that_forgot_the_script_is_told_it_again(
    engine: RedisEngine, admin: Any, consumer: RedisConsumer, delivery: Delivery, calls: list[str]
) -> None:
    consumer.settle([success(delivery)], WAITS)
    publish(engine, "2")
    [found] = consumer.fetch(WAITS, PATIENCE)
    admin.script_flush()
    calls.clear()
    assert consumer.settle([Settlement(found)], WAITS) == Settled()
    assert calls == ["finish", "settle"]
    assert waiting(admin) == []
    publish(engine, "3")
    assert ids(consumer.fetch(WAITS, PATIENCE)) == ["3"]


def test_what_comes_to_one_that_is_taken_for_dead_meanwhile_is_not_lost(
    engine: RedisEngine, consumer: RedisConsumer, delivery: Delivery
) -> None:
    consumer.settle([success(delivery)], WAITS)
    attach(engine).reclaim(consumer.owner.id, None)
    publish(engine, "2")  # which is moved to it all the same
    [found] = consumer.fetch(WAITS, PATIENCE)
    with pytest.raises(LeaseLost):
        consumer.settle([Settlement(found)], WAITS)
    assert ids(fetch(attach(engine))) == ["2"]
