"""What a server refuses: a call that fails half-way loses nothing, and a full server can be emptied."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import pytest

from tests.redis_servers import PrivateServer
from tests.unit.engines.redis.support import (
    QUEUE,
    attach,
    given_to_the_dead,
    publish,
)
from umbel.engines.redis import RedisEngine
from umbel.engines.redis.consumer import RedisConsumer
from umbel.exceptions import BrokerFull, OperationalError
from umbel.message import Delivery
from umbel.ports import Action, FetchRequest, GroupPart, Settlement
from umbel.testing.conformance.support import (
    LONG,
    PATIENCE,
    ack,
    at_most,
    fetch,
    ids,
    in_thread,
    now,
    publication,
    record,
    until,
)

pytestmark = pytest.mark.engine

#: What a test needs in its queue's way: a key of somebody else.
BAD = "bad"


def _held(admin: Any, consumer: RedisConsumer) -> int:
    return int(admin.hlen(f"umbel:held:{consumer.owner.id}"))


def _user(private: PrivateServer, **rights: Any) -> str:
    """Make a user, and return the URL to log in with."""
    private.admin.acl_setuser("app", True, passwords="+pw", commands=["+@all"], **rights)
    return private.url.replace("//", "//app:pw@")


def _fetched(consumer: RedisConsumer, queue: str, count: int, *queues: str) -> list[str]:
    """Fetch and acknowledge until so many tasks have come; return their ids."""
    found: list[str] = []

    def all_came() -> bool:
        deliveries = fetch(consumer, wait=0.1, queues=[queue, *queues])
        ack(consumer, deliveries)
        found.extend(map(str, ids(deliveries)))
        return len(found) >= count

    until(all_came)
    return found


# Settling


def _settle(consumer: RedisConsumer, deliveries: list[Delivery], state: str) -> None:
    """Settle with a result and a follow-up for each."""
    consumer.settle(
        [
            Settlement(
                item,
                result=record(str(item.message.task_id), state),
                publish=(publication("after", tag=f"after {item.tag}"),),
            )
            for item in deliveries
        ]
    )


def test_results_for_a_database_that_is_not_there_keep_everything_back(
    engine: RedisEngine, private: PrivateServer, admin: Any
) -> None:
    with closing(RedisEngine(f"redis://127.0.0.1:{private.port}/99", {})) as other:
        engine.broker.join(other.results)
        publish(engine, "1", "2")
        consumer = attach(engine)
        deliveries = fetch(consumer)
        with pytest.raises(OperationalError, match="databases"):
            _settle(consumer, deliveries, "SUCCESS")
    assert admin.llen(QUEUE) == 0
    assert ack(consumer, deliveries).refused == ()


def test_a_result_that_cannot_be_read_keeps_everything_back(
    engine: RedisEngine, admin: Any
) -> None:
    engine.broker.join(engine.results)
    publish(engine, "1", "2")
    consumer = attach(engine)
    deliveries = fetch(consumer)
    admin.rpush("celery-task-meta-2", "of somebody else")
    with pytest.raises(OperationalError, match="something else under a key"):
        _settle(consumer, deliveries, "FAILURE")
    assert (admin.exists("celery-task-meta-1"), admin.llen(QUEUE)) == (0, 0)
    admin.delete("celery-task-meta-2")
    _settle(consumer, deliveries, "FAILURE")
    assert set(engine.results.get(["1", "2"])) == {"1", "2"}
    assert ids(fetch(consumer)) == ["after", "after"]


def test_of_two_results_of_one_task_in_a_call_the_success_stays(engine: RedisEngine) -> None:
    engine.broker.join(engine.results)
    publish(engine, "1", "1")
    consumer = attach(engine)
    first, second = fetch(consumer)
    consumer.settle(
        [
            Settlement(first, result=record("1", "SUCCESS")),
            Settlement(second, result=record("1", "FAILURE")),
        ]
    )
    assert engine.results.get(["1"])["1"].state == "SUCCESS"


def test_results_are_stored_for_a_user_who_may_not_tell_of_them(private: PrivateServer) -> None:
    url = _user(private, keys=["*"], reset_channels=True)
    with closing(RedisEngine(url, {})) as mine:
        mine.broker.join(mine.results)
        publish(mine, "1", "2")
        consumer = attach(mine)
        _settle(consumer, fetch(consumer), "SUCCESS")
        assert set(mine.results.get(["1", "2"])) == {"1", "2"}
        assert ids(ack(consumer, fetch(consumer)).refused) == []
        consumer.close()


def test_what_is_refused_half_way_can_be_settled_again(private: PrivateServer, admin: Any) -> None:
    own = ["queue*", "umbel:*", "unacked*", "celery-task-meta-1*"]
    with closing(RedisEngine(_user(private, keys=own), {})) as mine:
        mine.broker.join(mine.results)
        publish(mine, "1", "2")
        consumer = attach(mine)
        deliveries = fetch(consumer)
        with pytest.raises(OperationalError):
            _settle(consumer, deliveries, "SUCCESS")
        assert _held(admin, consumer) == 2
        _user(private, keys=["*"])
        _settle(consumer, deliveries, "SUCCESS")
        assert set(mine.results.get(["1", "2"])) == {"1", "2"}
        assert ids(fetch(consumer)) == ["after", "after"]
        consumer.close()


def test_what_cannot_be_parked_stays_on_its_list(engine: RedisEngine, admin: Any) -> None:
    publish(engine, "1", due=now() + 100)
    publish(engine, "2")
    consumer = attach(engine)
    admin.set("unacked", "of somebody else")
    with pytest.raises(OperationalError):
        fetch(consumer)
    assert admin.llen(QUEUE) == 2
    admin.delete("unacked")
    assert ids(fetch(consumer)) == ["2"]


# Giving back to a key that is no list


def _take_two(engine: RedisEngine, admin: Any) -> RedisConsumer:
    """Hold a message of each of two queues, of which one cannot be given back."""
    publish(engine, "1")
    publish(engine, "2", queue=BAD)
    consumer = attach(engine)
    # The bad one comes first, so that the other is the first to go back.
    assert len(fetch(consumer, queues=[BAD, QUEUE])) == 2
    admin.set(BAD, "no list")
    return consumer


def test_what_cannot_be_released_is_held(engine: RedisEngine, admin: Any) -> None:
    consumer = _take_two(engine, admin)
    keys = [key.decode() for key in admin.hkeys(f"umbel:held:{consumer.owner.id}")]
    with pytest.raises(OperationalError):
        consumer.release(keys)
    assert (admin.llen(QUEUE), _held(admin, consumer)) == (0, 2)
    admin.delete(BAD)
    assert consumer.release([*keys, *keys]) == 2
    assert (admin.llen(QUEUE), admin.llen(BAD), _held(admin, consumer)) == (1, 1, 0)


@pytest.mark.parametrize("unstarted", [None, "all"])
def test_what_cannot_be_given_back_is_not_reclaimed(
    engine: RedisEngine, admin: Any, unstarted: str | None
) -> None:
    dead, heir = _take_two(engine, admin), attach(engine)
    keys = None
    if unstarted is not None:
        keys = [key.decode() for key in admin.hkeys(f"umbel:held:{dead.owner.id}")]
    with pytest.raises(OperationalError):
        heir.reclaim(dead.owner.id, keys)
    assert (admin.llen(QUEUE), _held(admin, dead)) == (0, 2)
    admin.delete(BAD)
    assert heir.reclaim(dead.owner.id, keys) == []
    assert (admin.llen(QUEUE), admin.llen(BAD)) == (1, 1)


def test_who_cannot_give_back_does_not_leave(engine: RedisEngine, admin: Any) -> None:
    consumer = _take_two(engine, admin)
    with pytest.raises(OperationalError):
        consumer.close()
    assert (admin.llen(QUEUE), _held(admin, consumer)) == (0, 2)
    admin.delete(BAD)
    consumer.close()
    assert (admin.llen(QUEUE), admin.llen(BAD), admin.zcard("umbel:owners")) == (1, 1, 0)


def test_of_what_is_due_only_that_waits_which_cannot_be_given_back(
    engine: RedisEngine, admin: Any
) -> None:
    consumer = attach(engine)
    publish(engine, *[f"bad {number}" for number in range(150)], queue=BAD, due=now() + 100)
    bad = admin.zrange("umbel:parked", 0, -1)
    publish(engine, "1", "2", due=now() + 100)
    admin.set(BAD, "no list")
    admin.zadd("umbel:parked", dict.fromkeys(admin.zrange("umbel:parked", 0, -1), 2))
    admin.zadd("umbel:parked", dict.fromkeys(bad, 1))  # all are due, and these first
    assert sorted(_fetched(consumer, QUEUE, 2)) == ["1", "2"]
    assert admin.zcard("umbel:parked") == admin.hlen("unacked") == 150
    admin.delete(BAD)
    admin.zadd("umbel:parked", dict.fromkeys(bad, 1))  # as if ten seconds had gone by
    assert len(_fetched(consumer, BAD, 150)) == 150
    assert admin.zcard("umbel:parked") == admin.hlen("unacked") == 0


def test_an_inbox_that_cannot_be_given_back_is_kept_and_leases_are_renewed(
    engine: RedisEngine, admin: Any
) -> None:
    dead, heir = given_to_the_dead(engine, admin)
    admin.set(QUEUE, "no list")
    admin.zadd("umbel:graves", {dead.owner.id: 1})
    assert heir.owner.id in engine.broker.renew("node", LONG)
    admin.delete(QUEUE)
    engine.broker.renew("node", LONG)
    assert ids(fetch(heir)) == ["1"]


# A full server


def _fill(admin: Any) -> None:
    """Let the server use less memory than it does."""
    admin.config_set("maxmemory", 1)


def test_a_full_server_takes_no_more_and_can_be_emptied(engine: RedisEngine, admin: Any) -> None:
    engine.broker.join(engine.results)
    publish(engine, "1", "2", "3", "4", "5")
    publish(engine, "6", queue="other")
    consumer, dead = attach(engine), attach(engine)
    [lost] = fetch(dead, limit=1)
    _fill(admin)
    with pytest.raises(BrokerFull):
        publish(engine, "7")
    assert engine.broker.renew("node", LONG) == {consumer.owner.id, dead.owner.id}
    late = attach(engine)
    [early] = fetch(late, limit=1, queues=["other", QUEUE])  # notes a name, too
    late.mark_early([early])
    one, two, three = fetch(late, limit=3)
    again = Settlement(two, Action.PARK, due=now())
    _settle(late, [one], "SUCCESS")
    late.settle([again, Settlement(three, Action.DEAD_LETTER, reason="x")])
    assert late.release([early.key]) == 1
    assert consumer.reclaim(dead.owner.id, [lost.key]) == []
    assert engine.queues.retry_dead([three.key]) == 1
    assert set(engine.results.get(["2"])) == {"2"}
    engine.results.open_group("group", 1, None)
    assert engine.results.add_parts([GroupPart("group", "0", 0, "{}", "me")]) == [True]
    assert sorted(_fetched(consumer, QUEUE, 6, "other")) == ["1", "3", "4", "5", "6", "after"]
    late.close()
    admin.config_set("maxmemory", 0)
    publish(engine, "8")
    assert ids(fetch(consumer)) == ["8"]


def test_who_has_a_lease_at_a_full_server_keeps_it(engine: RedisEngine, admin: Any) -> None:
    state = engine.state
    term = state.hold("beat", "one", LONG)
    _fill(admin)
    with pytest.raises(BrokerFull):
        state.put("kind", "key", "value")
    assert state.hold("beat", "one", LONG) == term
    assert state.hold("beat", "two", LONG) is None
    assert state.let_go("beat", "one")
    assert state.hold("beat", "two", LONG) not in {None, term}
    assert state.take("rate", 1.0, 0.001, 1.0) == 0.0
    assert state.take("rate", 1.0, 0.001, 1.0) > 0.0


def test_who_waits_at_a_full_server_looks_from_time_to_time(
    engine: RedisEngine, admin: Any
) -> None:
    consumer, other = attach(engine), attach(engine)
    publish(engine, "1", queue="other")
    [delivery] = fetch(other, queues=["other"])
    _fill(admin)
    admin.config_resetstat()
    assert fetch(consumer, wait=1.5) == []
    assert 1 <= admin.info("commandstats")["cmdstat_blmove"]["rejected_calls"] <= 3
    request = FetchRequest([QUEUE, "other"], 1)
    with at_most(PATIENCE), in_thread(lambda: consumer.fetch(request, LONG)) as found:
        other.release([delivery.key])
        assert ids(found.result(PATIENCE)) == ["1"]


def test_an_interrupt_ends_a_wait_at_a_full_server(engine: RedisEngine, admin: Any) -> None:
    consumer = attach(engine)
    _fill(admin)
    with at_most(PATIENCE), in_thread(lambda: fetch(consumer, wait=LONG)) as found:
        until(lambda: "cmdstat_blmove" in admin.info("commandstats"))
        consumer.interrupt()
        assert found.result(PATIENCE) == []
