"""What the broker on Redis promises beyond the contracts: kombu's keys, clean keys, late moves."""

from __future__ import annotations

import gc
import json
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest

from tests.redis_servers import PrivateServer
from tests.unit.engines.redis.support import (
    QUEUE,
    attach,
    publish,
)
from umbel.clock import SystemClock, unique_id
from umbel.engines.redis import RedisEngine, calls, queues
from umbel.engines.redis.broker import RedisBroker
from umbel.engines.redis.calls import Calls
from umbel.engines.redis.keys import names
from umbel.engines.redis.server import Server
from umbel.exceptions import OperationalError
from umbel.ports import REVOKED, Action, FetchRequest, Owner, Settlement
from umbel.testing.conformance.support import (
    LONG,
    PATIENCE,
    fetch,
    ids,
    in_thread,
    now,
    publication,
    record,
    until,
)

pytestmark = pytest.mark.engine


def test_a_message_lies_on_kombus_list_in_kombus_envelope(engine: RedisEngine, admin: Any) -> None:
    publish(engine, "1", priority=7)
    [raw] = admin.lrange("queue\x06\x166", 0, -1)
    data = json.loads(raw)
    assert list(data) == ["body", "content-encoding", "content-type", "headers", "properties"]
    assert data["properties"]["delivery_info"] == {"exchange": "", "routing_key": QUEUE}


def test_what_was_released_is_the_same_to_the_byte(engine: RedisEngine, admin: Any) -> None:
    publish(engine, "1")
    before = admin.lrange(QUEUE, 0, -1)
    consumer = attach(engine)
    [delivery] = fetch(consumer)
    assert admin.llen(QUEUE) == 0
    consumer.release([delivery.key])
    assert admin.lrange(QUEUE, 0, -1) == before


def _told(admin: Any) -> object:
    """Return what Celery's workers show in ``request.delivery_info["redelivered"]`` of the first message."""
    data = json.loads(admin.lindex(QUEUE, -1))
    return data["properties"]["delivery_info"].get("redelivered")


def test_celery_is_told_that_a_message_was_delivered_before(
    engine: RedisEngine, admin: Any
) -> None:
    item = publication("1")
    lookalikes = {
        "properties": {"delivery_info": {"exchange": ""}},
        "text": '"properties": {"delivery_info": {',
    }
    headers = {**item.message.headers, **lookalikes}
    item = replace(item, message=replace(item.message, headers=headers))
    engine.broker.publish([item], PATIENCE)
    consumer, heir = attach(engine), attach(engine)
    [delivery] = fetch(consumer)
    consumer.settle([Settlement(delivery, Action.REQUEUE)])
    assert _told(admin) is True
    [delivery] = fetch(consumer)
    assert (delivery.message, delivery.count) == (item.message, 2)
    heir.reclaim(consumer.owner.id, None)
    assert _told(admin) is True
    [delivery] = fetch(heir)
    assert (delivery.message, delivery.count) == (item.message, 3)
    # What was buried begins anew.
    heir.settle([Settlement(delivery, Action.DEAD_LETTER, reason="because")])
    engine.queues.retry_dead([delivery.key])
    assert _told(admin) is None
    assert json.loads(admin.lindex(QUEUE, -1))["headers"]["properties"] == lookalikes["properties"]


def test_celery_is_told_nothing_of_what_never_started(engine: RedisEngine, admin: Any) -> None:
    publish(engine, "1")
    consumer, heir = attach(engine), attach(engine)
    [delivery] = fetch(consumer)
    heir.reclaim(consumer.owner.id, [delivery.key])
    assert _told(admin) is None


def test_a_parked_message_lies_where_kombu_finds_it_when_it_is_due(
    engine: RedisEngine, admin: Any
) -> None:
    publish(engine, "1", priority=3)
    consumer = attach(engine)
    [delivery] = fetch(consumer)
    due = now() + 100
    consumer.settle([Settlement(delivery, Action.PARK, due=due)])
    [(field, score)] = admin.zrange("unacked_index", 0, -1, withscores=True)
    assert score == pytest.approx(due - 3600, abs=0.01)
    envelope, exchange, key = json.loads(admin.hget("unacked", field))
    assert (exchange, key, envelope["headers"]["id"]) == ("", QUEUE, "1")
    assert envelope["umbel"] == [1, 0]


def test_a_scheduled_message_goes_to_its_list_when_nobody_would_return_it(
    engine: RedisEngine, admin: Any
) -> None:
    publish(engine, "1", due=now() + 100)
    assert (admin.llen(QUEUE), admin.hlen("unacked")) == (1, 0)
    consumer = attach(engine)
    assert fetch(consumer) == []
    assert (admin.llen(QUEUE), admin.hlen("unacked")) == (0, 1)
    publish(engine, "2", due=now() + 100)
    assert (admin.llen(QUEUE), admin.hlen("unacked")) == (0, 2)
    assert engine.queues.purge(QUEUE) == 2
    assert (admin.hlen("unacked"), admin.zcard("unacked_index")) == (0, 0)


def test_one_push_wakes_one_of_a_hundred_nodes(engine: RedisEngine, admin: Any) -> None:
    consumers = [attach(engine) for _ in range(100)]

    def scripts() -> int:
        return int(admin.info("commandstats")["cmdstat_evalsha"]["calls"])

    with ThreadPoolExecutor(len(consumers)) as threads:
        waits = [threads.submit(one.fetch, FetchRequest([QUEUE], 10), LONG) for one in consumers]
        until(lambda: admin.info("clients")["blocked_clients"] == 100)
        before = scripts()
        admin.lpush(QUEUE, b"{}")  # as Celery's clients do
        [done] = until(lambda: [one for one in waits if one.done()])
        assert len(done.result()) == 1
        assert scripts() == before  # nobody has looked, and it need not
        assert admin.info("clients")["blocked_clients"] == 99
        for one in consumers:
            one.interrupt()


def test_who_settled_in_vain_waits_without_another_look(engine: RedisEngine, admin: Any) -> None:
    consumer = attach(engine)
    request = FetchRequest([QUEUE], 10)
    assert consumer.settle([], request).fetched == ()
    admin.lpush(QUEUE, b"{}")
    [delivery] = consumer.fetch(request, PATIENCE)
    assert delivery.queue == QUEUE


def test_a_wrong_kind_of_key_keeps_everything_back(engine: RedisEngine, admin: Any) -> None:
    admin.set("other", "no list")
    with pytest.raises(OperationalError):
        engine.broker.publish([publication("1"), publication("2", "other")], PATIENCE)
    assert admin.llen(QUEUE) == 0
    publish(engine, "1")
    consumer = attach(engine)
    [delivery] = fetch(consumer)
    with pytest.raises(OperationalError):
        consumer.settle([Settlement(delivery, publish=(publication("2", "other"),))])
    assert consumer.settle([Settlement(delivery)]).refused == ()


def test_more_than_lua_can_unpack_is_fetched_and_given_back(
    engine: RedisEngine, admin: Any
) -> None:
    count = 20_000
    engine.broker.publish([publication(str(number)) for number in range(count)], PATIENCE)
    consumer = attach(engine)
    for _ in range(count // 1000):
        assert len(consumer.fetch(FetchRequest([QUEUE], 1000), 0.0)) == 1000
    consumer.close()
    assert admin.llen(QUEUE) == count
    assert ids(fetch(attach(engine), limit=2)) == ["0", "1"]


def test_forgotten_scripts_are_loaded_again(engine: RedisEngine, admin: Any) -> None:
    consumer = attach(engine)
    fetch(consumer, wait=0.01)
    admin.script_flush()
    assert fetch(consumer, wait=0.01) == []
    admin.script_flush()
    publish(engine, "1")
    assert ids(fetch(consumer, wait=PATIENCE)) == ["1"]


def test_no_key_of_ours_stays_for_ever(engine: RedisEngine, admin: Any) -> None:
    consumer = attach(engine)
    publish(engine, "1", "2", "3", "4")
    fetch(consumer, queues=["unused"], wait=0.01)
    done, again, dead, parked = fetch(consumer)
    end = now() + 60
    consumer.settle(
        [
            Settlement(done),
            Settlement(again, Action.REQUEUE),
            Settlement(dead, Action.DEAD_LETTER, reason="x", expires=end),
            Settlement(parked, Action.PARK, due=now()),
        ]
    )
    for _ in range(2):
        consumer.settle([Settlement(item) for item in until(lambda: fetch(consumer, limit=1))])
    consumer.close()
    keys = admin.keys("*")
    assert [key for key in keys if admin.ttl(key) < 0] == []


def test_a_group_that_grows_before_its_size_is_known_ends(engine: RedisEngine, admin: Any) -> None:
    engine.results.extend_group("g", "1")
    found = {key: admin.ttl(key) for key in admin.keys("celery-taskset-meta-g*")}
    assert len(found) == 2
    assert all(left > 0 for left in found.values())


def test_what_lists_dead_letters_ends_with_the_last_that_expires(
    engine: RedisEngine, admin: Any
) -> None:
    consumer = attach(engine)
    publish(engine, "1", "2", "3")
    kept, revived, ending = fetch(consumer)
    end = now() + 60
    letters = [Settlement(item, Action.DEAD_LETTER, reason="x") for item in (kept, revived)]
    consumer.settle([*letters, Settlement(ending, Action.DEAD_LETTER, reason="x", expires=end)])
    lists = ("umbel:dead", "umbel:dead-ends")
    assert [admin.ttl(key) for key in lists] == [-1, -1]
    assert engine.queues.drop_dead([kept.key]) == 1
    assert [admin.ttl(key) for key in lists] == [-1, -1]
    assert engine.queues.retry_dead([revived.key]) == 1
    assert all(50 < admin.ttl(key) <= 60 for key in lists)


def test_looking_at_some_dead_letters_costs_nothing_for_the_others(
    engine: RedisEngine, admin: Any
) -> None:
    consumer = attach(engine)
    publish(engine, *map(str, range(100)))
    dead = [Settlement(item, Action.DEAD_LETTER, reason="x") for item in fetch(consumer)]
    consumer.settle(dead)
    admin.config_resetstat()
    assert [letter.message.task_id for letter in engine.queues.dead_letters(2, 1)] == ["98", "97"]
    used = admin.info("commandstats")
    assert (
        sum(used.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("exists", "hmget")) == 2
    )


def test_dead_letters_are_read_page_by_page(
    engine: RedisEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queues, "PAGE", 4)
    consumer = attach(engine)
    publish(engine, *map(str, range(10)))
    publish(engine, "x", queue="other", priority=9)
    found = fetch(consumer, queues=[QUEUE, "other"])
    consumer.settle([Settlement(item, Action.DEAD_LETTER, reason="x") for item in found])
    assert {name: depth.dead for name, depth in engine.queues.depths().items()} == {
        QUEUE: 10,
        "other": 1,
    }
    latest = [letter.message.task_id for letter in engine.queues.dead_letters(9, 1)]
    assert latest == [str(number) for number in range(9, 0, -1)]
    assert engine.queues.dead_letters(0) == engine.queues.dead_letters(-1) == []
    assert [item.where for item in engine.queues.find("0")] == ["dead"]


def test_tags_are_kept_as_long_as_anybody_asks_for_them(engine: RedisEngine, admin: Any) -> None:
    publish(engine, "1")
    [key] = admin.keys("umbel:tags:*")
    end = (int(key.rpartition(b":")[2]) + 2) * 30
    assert abs(now() + admin.pttl(key) / 1000 - end) < 1


def test_a_repeated_publish_is_recognized_for_a_time_also_while_the_first_is_there(
    engine: RedisEngine, admin: Any
) -> None:
    for _ in range(2):
        engine.broker.publish([publication("1", tag="tag")], PATIENCE)
    assert admin.llen(QUEUE) == 1
    admin.delete(*admin.keys("umbel:tags:*"))  # a minute later
    engine.broker.publish([publication("1", tag="tag")], PATIENCE)
    assert admin.llen(QUEUE) == 2


def test_dead_letters_leave_when_they_expire(engine: RedisEngine) -> None:
    consumer = attach(engine)
    publish(engine, "1", "2")
    first, second = fetch(consumer)
    consumer.settle(
        [
            Settlement(first, Action.DEAD_LETTER, reason="x", expires=now() + 0.05),
            Settlement(second, Action.DEAD_LETTER, reason="x", expires=now() + 60),
        ]
    )
    until(lambda: len(engine.queues.dead_letters(10)) == 1)
    assert engine.queues.dead_letters(10)[0].message.task_id == "2"


# Fetching and waiting


def test_a_fetch_from_no_queue_waits_and_returns_nothing(engine: RedisEngine) -> None:
    consumer = attach(engine)
    assert consumer.fetch(FetchRequest([], 1), 0.05) == []
    with in_thread(lambda: consumer.fetch(FetchRequest([], 1), LONG)) as found:
        consumer.interrupt()
        assert found.result(PATIENCE) == []


def test_a_backlog_of_scheduled_messages_is_parked_in_steps(
    engine: RedisEngine, admin: Any
) -> None:
    numbers = [str(number) for number in range(2500)]
    publish(engine, *numbers, due=now() + 100)
    publish(engine, "ready")
    consumer = attach(engine)
    assert fetch(consumer, limit=1) == []
    assert admin.zcard("umbel:parked") == 1000
    admin.config_resetstat()
    assert ids(fetch(consumer, limit=1, wait=LONG)) == ["ready"]
    assert admin.zcard("umbel:parked") == 2500
    assert "cmdstat_blmove" not in admin.info("commandstats")  # it came straight back


class Ahead(SystemClock):
    """A clock that is three seconds ahead of the server's."""

    def time(self) -> float:
        return super().time() + 3


def test_the_servers_clock_alone_says_when_something_is_due(
    engine: RedisEngine, private: PrivateServer, admin: Any
) -> None:
    with closing(Server(private.url, {}, Ahead())) as server:
        broker = RedisBroker(server, names({}))
        consumer = broker.consumer(Owner(unique_id(), "node", "host", 1), LONG)
        broker.publish([publication("1", due=now() + 1)], PATIENCE)
        admin.config_resetstat()
        assert ids(fetch(consumer, wait=PATIENCE)) == ["1"]
        consumer.close()
    assert admin.info("commandstats")["cmdstat_blmove"]["calls"] <= 5


def test_waking_who_waits_takes_none_but_the_time_of_a_publish(
    engine: RedisEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[float] = []
    calls = engine.broker._calls
    monkeypatch.setattr(calls.server, "run", lambda *_, **__: [b"1"])  # somebody to wake
    monkeypatch.setattr(calls.server, "unblock", lambda _, timeout: given.append(timeout))
    for timeout in (0.5, LONG):
        engine.broker.publish([publication("1")], timeout)
    assert 0 < given[0] <= 0.5
    assert given[1] <= 1.0  # nothing depends on it


class Late(threading.Event):
    """An event that another thread sets just after it was asked for."""

    def is_set(self) -> bool:
        found = super().is_set()
        self.set()
        return found


def test_an_interrupt_just_behind_the_question_is_not_lost(engine: RedisEngine) -> None:
    waiter = attach(engine)._waiter
    waiter._interrupted = Late()
    assert not waiter.was_interrupted()
    assert waiter.was_interrupted()


def test_nothing_stays_of_a_consumer_that_was_closed(engine: RedisEngine) -> None:
    consumer = engine.broker.consumer(Owner(unique_id(), "node", "host", 1), LONG)
    assert fetch(consumer, wait=0.01) == []
    consumer.close()
    seen = weakref.ref(consumer._waiter)
    del consumer
    gc.collect()
    assert seen() is None


def test_names_of_queues_are_not_remembered_without_end(
    private: PrivateServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "NOTED_AT_MOST", 10)
    with closing(Server(private.url, {})) as server:
        noting = Calls(server, names({}))
        assert noting.unnoted(["a", "a"]) == ["a"]
        assert noting.unnoted(["a"]) == []
        for number in range(100):
            assert noting.unnoted([str(number)]) == [str(number)]
        assert len(noting._noted) <= 10


# Owners


def test_an_owner_whose_attaching_was_not_answered_is_forgotten(
    engine: RedisEngine, admin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = engine.broker._calls
    real = calls.run

    def lost(*arguments: Any, **options: Any) -> None:
        real(*arguments, **options)
        raise OperationalError("The answer was lost.")

    for _ in range(2):
        with monkeypatch.context() as patch:
            patch.setattr(calls, "run", lost)
            with pytest.raises(OperationalError):
                attach(engine)
    assert len(engine.broker.renew("node", LONG)) == 1  # the second call has forgotten the first
    again = attach(engine)
    assert engine.broker.renew("node", LONG) == {again.owner.id}
    assert admin.keys("umbel:owner:*") == [f"umbel:owner:{again.owner.id}".encode()]
    publish(engine, "1")
    assert ids(fetch(again)) == ["1"]
    attach(engine)
    assert len(engine.broker.renew("node", LONG)) == 2


def test_one_that_comes_later_is_forgotten_by_whoever_leaves(
    engine: RedisEngine, admin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a connection is lost and the server still reads what was sent on it."""
    calls = engine.broker._calls
    late: list[tuple[Any, ...]] = []

    def hold_back(*arguments: Any, **_: Any) -> None:
        late.append(arguments)
        raise OperationalError("The connection was lost.")

    with monkeypatch.context() as patch:
        patch.setattr(calls, "run", hold_back)
        with pytest.raises(OperationalError):
            attach(engine)
    consumer = attach(engine)
    [arguments] = late
    calls.run(*arguments)
    assert len(engine.broker.renew("node", LONG)) == 2
    consumer.close()
    assert engine.broker.renew("node", LONG) == frozenset()
    assert admin.keys("umbel:owner:*") == []


def test_an_owner_that_attaches_again_with_its_own_name_is_no_ghost(
    engine: RedisEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(engine, "1", "2")
    [first] = fetch(attach(engine, "me"), limit=1)
    with monkeypatch.context() as patch:
        patch.setattr(engine.broker._calls, "run", _no_answer)
        with pytest.raises(OperationalError):
            attach(engine, "me")
    consumer = attach(engine, "me")
    attach(engine)
    [second] = fetch(consumer)
    assert first.key.partition(".")[0] == second.key.partition(".")[0]  # the owner went on
    assert consumer.settle([Settlement(first), Settlement(second)]).refused == ()


def _no_answer(*_: Any, **__: Any) -> None:
    raise OperationalError("Nobody answers.")


def test_a_consumer_that_stays_is_known_for_as_long_as_it_is_renewed(
    engine: RedisEngine, admin: Any
) -> None:
    engine.broker.renew("node", LONG)
    assert not engine.broker.ever_consumed()
    attach(engine)
    admin.delete("umbel:consumed")  # thirty days later
    engine.broker.renew("node", LONG)
    assert engine.broker.ever_consumed()
    assert admin.ttl("umbel:consumed") > 0


def test_a_broker_says_whether_it_shares_a_store_and_joins_it_when_told(
    engine: RedisEngine, private: PrivateServer
) -> None:
    publish(engine, "1")
    consumer = attach(engine)
    settled = [Settlement(item, result=record("1", "SUCCESS")) for item in fetch(consumer)]
    assert engine.broker.shares(engine.results)
    with pytest.raises(ValueError, match="not joined"):
        consumer.settle(settled)
    elsewhere = RedisEngine("redis://elsewhere.invalid/0", {})
    with pytest.raises(ValueError, match="own server"):
        engine.broker.join(elsewhere.results)
    engine.broker.join(engine.results)
    assert consumer.settle(settled).refused == ()


def test_with_the_highest_first_kombu_finds_the_urgent_where_it_looks_first(
    engine: RedisEngine, admin: Any, private: PrivateServer
) -> None:
    turned = RedisEngine(private.url, {"broker_highest_priority_first": True})
    for name, priority in (("none", 0), ("some", 4), ("most", 9)):
        publish(turned, name, priority=priority)
    assert (admin.llen(QUEUE), admin.llen("queue\x06\x163"), admin.llen("queue\x06\x169")) == (
        1,
        1,
        1,
    )
    assert json.loads(admin.lindex(QUEUE, 0))["properties"]["priority"] == 0
    assert ids(turned.queues.peek(QUEUE, 9)) == ["most", "some", "none"]
    consumer = attach(turned)
    deliveries = fetch(consumer)
    assert [(item.message.task_id, item.priority) for item in deliveries] == [
        ("most", 9),
        ("some", 6),  # of the steps that are kept apart
        ("none", 0),
    ]
    consumer.release([item.key for item in deliveries])
    # To whom does not turn them, as Celery, they are in the same order.
    seen = fetch(attach(engine))
    assert [(item.message.task_id, item.priority) for item in seen] == [
        ("most", 0),
        ("some", 3),
        ("none", 9),
    ]
    turned.close()


def test_who_asks_for_what_has_expired_is_told_what_is_revoked(engine: RedisEngine) -> None:
    engine.broker.expired()
    assert engine.broker.revocations == 0
    for number in range(3):
        engine.state.put(REVOKED, str(number), "{}", LONG)
        engine.broker.expired()
        assert engine.broker.revocations == engine.state.version(REVOKED) > number
