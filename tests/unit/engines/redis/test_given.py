"""What a waiting consumer is given: it runs that at once, and nothing is lost or doubled by it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.engines.redis.support import (
    QUEUE,
    Movable,
    attach,
    given_to_the_dead,
    given_while_waiting,
    publish,
    wait_for_list,
)
from umbel.engines.redis import RedisEngine
from umbel.exceptions import LeaseLost
from umbel.ports import FetchRequest, Settlement
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


def test_a_message_that_a_late_move_gave_to_the_dead_goes_back(
    engine: RedisEngine, admin: Any
) -> None:
    _, heir = given_to_the_dead(engine, admin)
    assert fetch(heir) == []
    engine.broker.renew("node", 60.0)
    assert ids(fetch(heir)) == ["1"]


def test_a_dead_waiter_returns_what_it_was_given(engine: RedisEngine, admin: Any) -> None:
    dead, heir = given_to_the_dead(engine, admin)
    with pytest.raises(LeaseLost):
        fetch(dead)
    assert ids(fetch(heir)) == ["1"]


def test_what_waiting_brought_is_held_by_the_next_fetch(engine: RedisEngine, admin: Any) -> None:
    consumer, heir = attach(engine), attach(engine)
    wait_for_list(consumer, admin)
    publish(engine, "1")
    admin.lmove(QUEUE, f"umbel:inbox:{consumer.owner.id}:{QUEUE}", "RIGHT", "LEFT")
    heir.reclaim(consumer.owner.id, None)  # also when it dies before that
    assert ids(fetch(heir)) == ["1"]


def test_what_comes_while_one_waits_is_run_without_another_call(
    engine: RedisEngine, admin: Any
) -> None:
    consumer = attach(engine)
    with given_while_waiting(engine, admin, consumer) as [delivery]:
        assert admin.hlen(f"umbel:held:{consumer.owner.id}") == 0
        assert engine.queues.depths()[QUEUE].leased == 1
        [found] = engine.queues.find("1")
        assert (found.where, found.key) == ("leased", delivery.key)
    assert consumer.settle([Settlement(delivery)]).refused == ()
    assert admin.exists(f"umbel:inbox:{consumer.owner.id}:{QUEUE}") == 0
    assert engine.queues.depths()[QUEUE].leased == 0


def test_what_comes_while_one_waits_is_settled_once(engine: RedisEngine, admin: Any) -> None:
    consumer = attach(engine)
    with given_while_waiting(engine, admin, consumer) as [delivery]:
        pass
    given = consumer._given
    assert consumer.settle([Settlement(delivery)]).refused == ()
    consumer._given = given  # as if the answer had been lost
    publish(engine, "2")
    admin.lmove(QUEUE, f"umbel:inbox:{consumer.owner.id}:{QUEUE}", "RIGHT", "LEFT")
    assert consumer.settle([Settlement(delivery)]).refused == (delivery,)
    assert ids(fetch(consumer)) == ["2"]


@pytest.mark.parametrize("waits", [True, False])
def test_what_the_server_has_lost_takes_nothing_else_with_it(
    engine: RedisEngine, admin: Any, waits: bool
) -> None:
    """A replica that became the master may not have heard of the last that the server did."""
    engine.broker.join(engine.results)
    consumer = attach(engine)
    with given_while_waiting(engine, admin, consumer) as [lost]:
        admin.delete(f"umbel:inbox:{consumer.owner.id}:{QUEUE}")
    publish(engine, "2")
    result = record("1", "SUCCESS")
    request = FetchRequest((QUEUE,), 1, waits=waits)
    settled = consumer.settle([Settlement(lost, result=result)], request)
    assert settled.refused == (lost,)
    assert engine.results.get(["1"]) == {}
    [other] = settled.fetched or consumer.fetch(request, PATIENCE)
    assert other.message.task_id == "2"
    assert other.key != lost.key
    assert engine.queues.depths()[QUEUE].leased == 1
    assert consumer.settle([Settlement(other)]).refused == ()


@pytest.mark.parametrize("how", ["a wait", "a fetch"])
def test_the_key_of_what_runs_is_given_to_nothing_else(
    engine: RedisEngine, admin: Any, how: str
) -> None:
    """Also where the server has lost that it was: several may run at once."""
    consumer = attach(engine)
    if how == "a wait":
        with given_while_waiting(engine, admin, consumer) as found:
            admin.delete(f"umbel:inbox:{consumer.owner.id}:{QUEUE}")
        consumer.release(())
    else:
        publish(engine, "1")
        found = fetch(consumer)
        admin.delete(f"umbel:held:{consumer.owner.id}")
        admin.hdel(f"umbel:owner:{consumer.owner.id}", "n")
    [lost] = found
    publish(engine, "2")
    [other] = fetch(consumer)
    assert other.key != lost.key
    assert consumer.settle([Settlement(lost)]).refused == (lost,)
    assert consumer.settle([Settlement(other)]).refused == ()


@pytest.mark.parametrize("how", ["given back", "marked", "followed by a fetch"])
def test_what_comes_while_one_waits_is_held_like_any_other(
    engine: RedisEngine, admin: Any, how: str
) -> None:
    consumer = attach(engine)
    with given_while_waiting(engine, admin, consumer) as [delivery]:
        pass
    if how == "given back":
        assert consumer.release([delivery.key]) == 1
        [again] = fetch(consumer)
        assert (again.message.task_id, again.count) == ("1", 1)
        return
    if how == "marked":
        consumer.mark_early([delivery])
        heir = attach(engine)
        [handed] = heir.reclaim(consumer.owner.id, None)
        assert (handed.key, handed.early) == (delivery.key, True)
        return
    publish(engine, "2")
    [second] = fetch(consumer)
    assert second.message.task_id == "2"
    assert consumer.settle([Settlement(second), Settlement(delivery)]).refused == ()


@pytest.mark.parametrize("what", ["started", "unstarted", "unknown"])
def test_what_a_waiter_was_given_is_taken_over(engine: RedisEngine, admin: Any, what: str) -> None:
    consumer, heir = attach(engine), attach(engine)
    with given_while_waiting(engine, admin, consumer) as [delivery]:
        pass
    known = {"started": [], "unstarted": [delivery.key], "unknown": None}[what]
    handed = heir.reclaim(consumer.owner.id, known)
    if what == "started":
        assert [one.key for one in handed] == [delivery.key]
        assert heir.settle([Settlement(one) for one in handed]).refused == ()
        assert fetch(heir) == []
    else:
        assert handed == []
        [again] = fetch(heir)
        assert again.count == (1 if what == "unstarted" else 2)
    with pytest.raises(LeaseLost):
        consumer.settle([Settlement(delivery)])
    assert engine.queues.depths()[QUEUE].ready == 0


def test_what_comes_after_the_leases_of_who_waits_have_ended_is_not_run(
    engine: RedisEngine, admin: Any
) -> None:
    consumer = attach(engine)
    clock = consumer._calls.clock = Movable()
    fetch(consumer)
    with in_thread(lambda: fetch(consumer, wait=PATIENCE)) as waiting:
        until(lambda: admin.exists(f"umbel:blocked:{QUEUE}") == 1)
        attach(engine).reclaim(consumer.owner.id, None)
        clock.ahead = 60.0  # as after a long sleep
        publish(engine, "1")
        with pytest.raises(LeaseLost):
            waiting.result(PATIENCE)
    assert ids(fetch(attach(engine))) == ["1"]


@pytest.mark.parametrize("name", [f"{QUEUE}\x06\x163", "other"])
def test_what_nobody_rings_for_is_looked_for_by_a_node(
    engine: RedisEngine, admin: Any, name: str
) -> None:
    consumer = attach(engine)
    queues = [QUEUE, "other"]
    fetch(consumer, queues=queues)
    consumer._waits = 1  # it waits for QUEUE
    engine.broker.expired()  # a node that is new wakes everybody
    with in_thread(lambda: fetch(consumer, wait=PATIENCE, queues=queues)) as waiting:
        until(lambda: admin.exists("umbel:bell:other") == 1)
        admin.lpush(name, b"{}")  # as Celery's clients do
        assert engine.broker.expired() == []
        assert len(waiting.result(PATIENCE)) == 1
    assert admin.keys("umbel:bell:*") == []


def test_who_waits_wakes_when_something_is_due(engine: RedisEngine, admin: Any) -> None:
    consumer = attach(engine)
    with in_thread(lambda: fetch(consumer, wait=PATIENCE)) as waiting:
        until(lambda: admin.exists(f"umbel:blocked:{QUEUE}") == 1)
        due = now() + 1.5
        publish(engine, "1", due=due)
        assert ids(waiting.result(PATIENCE)) == ["1"]
        assert -0.01 < now() - due < 1.0


def test_what_is_due_while_nobody_knows_of_it_is_returned_by_a_node(
    engine: RedisEngine, admin: Any
) -> None:
    consumer = attach(engine)
    engine.broker.expired()  # a node that is new wakes everybody
    with in_thread(lambda: fetch(consumer, wait=PATIENCE)) as waiting:
        until(lambda: admin.exists(f"umbel:blocked:{QUEUE}") == 1)
        bell = admin.zrange(f"umbel:bell:{QUEUE}", 0, -1)
        admin.delete(f"umbel:bell:{QUEUE}")  # as if its ring had been lost
        publish(engine, "1", due=now() + 0.2)
        admin.zadd(f"umbel:bell:{QUEUE}", {bell[0]: (now() + 60) * 1000})
        until(lambda: engine.broker.expired() == [] and waiting.done())
        assert ids(waiting.result(0)) == ["1"]


def test_what_waits_while_the_server_is_emptied_loses_nothing_that_comes_then(
    engine: RedisEngine, admin: Any
) -> None:
    consumer = attach(engine)
    with in_thread(lambda: fetch(consumer, wait=PATIENCE)) as waiting:
        until(lambda: admin.exists(f"umbel:blocked:{QUEUE}") == 1)
        admin.flushdb()
        publish(engine, "1")
        [delivery] = waiting.result(PATIENCE)
    with pytest.raises(LeaseLost):
        consumer.settle([Settlement(delivery)])
    [again] = fetch(attach(engine))
    assert (again.message.task_id, again.count) == ("1", 2)  # it is told that it may have run


def test_one_may_wait_for_thousands_of_queues(engine: RedisEngine) -> None:
    consumer, queues = attach(engine), tuple(f"queue{number}" for number in range(2100))
    request = FetchRequest(queues, 10)
    assert consumer.fetch(request, 0.3) == []
    with in_thread(lambda: consumer.fetch(request, PATIENCE)) as found:
        publish(engine, "1", queue="queue2099")
        assert ids(found.result(PATIENCE)) == ["1"]
