"""What Celery's workers left behind: returned by kombu's rule, in time that renewing leases can spare."""

from __future__ import annotations

import json
from contextlib import closing
from typing import Any

import pytest

from tests.redis_servers import PrivateServer
from tests.unit.engines.redis.support import QUEUE, attach, publish
from umbel.clock import SystemClock
from umbel.engines.redis import RedisEngine, leftovers
from umbel.engines.redis.calls import Calls
from umbel.engines.redis.keys import Names, names
from umbel.engines.redis.leftovers import Leftovers
from umbel.engines.redis.server import Server
from umbel.ports import Action, Settlement
from umbel.testing.conformance.support import fetch, now, until

pytestmark = pytest.mark.engine

SEP = Names().sep


def _leave_behind(admin: Any, score: float) -> None:
    """Hold a message as a Celery worker does."""
    raw = json.loads(admin.rpop(QUEUE))
    admin.hset("unacked", "tag", json.dumps([raw, "", QUEUE]))
    admin.zadd("unacked_index", {"tag": score})


def _leftovers(private: PrivateServer) -> Leftovers:
    return Leftovers(Calls(Server(private.url, {}), names({})))


def test_what_a_dead_celery_worker_held_is_returned_after_the_visibility_timeout(
    engine: RedisEngine, admin: Any, private: PrivateServer
) -> None:
    publish(engine, "1")
    _leave_behind(admin, now() - 3500)
    assert _leftovers(private).restore() == 0
    admin.zadd("unacked_index", {"tag": now() - 3700})
    assert _leftovers(private).restore() == 1
    assert (admin.hlen("unacked"), admin.zcard("unacked_index")) == (0, 0)
    [delivery] = fetch(attach(engine))
    assert (delivery.message.task_id, delivery.redelivered) == ("1", True)


@pytest.mark.parametrize("missing", ["headers", "properties", "delivery_info"])
def test_it_is_returned_also_where_nothing_can_be_marked(
    engine: RedisEngine, admin: Any, private: PrivateServer, missing: str
) -> None:
    publish(engine, "1")
    raw = json.loads(admin.rpop(QUEUE))
    raw.pop(missing, raw["properties"].pop(missing, None))
    admin.hset("unacked", "tag", json.dumps([raw, "", QUEUE]))
    admin.zadd("unacked_index", {"tag": now() - 3700})
    assert _leftovers(private).restore() == 1
    assert (admin.llen(QUEUE), admin.hlen("unacked")) == (1, 0)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "no JSON",
        "[1, 2, 3]",
        "[" * 100_000,
        '[{}, "", 5]',
        '[{}, 7, "queue"]',
        "[{}, null, null]",
        '[{}, "broken", "key"]',
    ],
)
def test_what_is_no_entry_of_kombus_stays_and_keeps_nothing_back(
    engine: RedisEngine, admin: Any, private: PrivateServer, value: str
) -> None:
    publish(engine, "1")
    _leave_behind(admin, now() - 3700)
    admin.hset("unacked", "foreign", value)
    admin.zadd("unacked_index", {"foreign": 1})
    admin.sadd("_kombu.binding.broken", SEP.join(("other", "[", "queue")))
    assert _leftovers(private).restore() == 1
    assert (admin.llen(QUEUE), admin.hkeys("unacked")) == (1, [b"foreign"])


@pytest.mark.parametrize("why", ["a Celery worker", "kombu's mutex"])
def test_it_is_left_to_who_looks_after_it(
    engine: RedisEngine, admin: Any, private: PrivateServer, why: str
) -> None:
    publish(engine, "1")
    _leave_behind(admin, now() - 3700)
    if why == "kombu's mutex":
        admin.set("unacked_mutex", "somebody")
        assert _leftovers(private).restore() == 0
        return
    with closing(Server(private.url, {}).dedicated()) as worker:
        worker.send("BRPOP", "elsewhere", 30)
        until(lambda: any(one["cmd"] == "brpop" for one in admin.client_list()))
        assert _leftovers(private).restore() == 0


def test_what_umbel_parked_is_no_leftover(
    engine: RedisEngine, admin: Any, private: PrivateServer
) -> None:
    consumer = attach(engine)
    publish(engine, "1")
    consumer.settle([Settlement(item, Action.PARK, due=now() - 1) for item in fetch(consumer)])
    assert _leftovers(private).restore() == 0
    assert admin.hlen("unacked") == 1


def test_what_umbel_parked_is_told_apart_at_once_however_much_it_is(
    engine: RedisEngine, admin: Any, private: PrivateServer
) -> None:
    consumer = attach(engine)
    publish(engine, *map(str, range(50)))
    consumer.settle([Settlement(item, Action.PARK, due=now() - 1) for item in fetch(consumer)])
    looking = _leftovers(private)
    before = admin.info("stats")["total_commands_processed"]
    assert looking.restore() == 0
    assert admin.info("stats")["total_commands_processed"] - before < 10


def test_the_list_of_what_is_parked_ends_and_nothing_is_lost_with_it(
    engine: RedisEngine, admin: Any, private: PrivateServer
) -> None:
    consumer = attach(engine)
    publish(engine, "1", priority=6)
    due = now() + 0.05
    consumer.settle([Settlement(item, Action.PARK, due=due) for item in fetch(consumer)])
    engine.broker.renew("node", 60.0)
    assert 30 * 86400 - 60 < admin.ttl("umbel:parked") <= 30 * 86400
    admin.delete("umbel:parked")
    assert until(_leftovers(private).restore) == 1
    [delivery] = fetch(consumer)
    assert (delivery.message.task_id, delivery.priority) == ("1", 6)
    assert admin.hlen("unacked") == 0


def test_parked_messages_that_somebody_deleted_are_told_of(
    engine: RedisEngine, admin: Any, private: PrivateServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Once, and by who finds it; what Celery's workers restore is taken out of kombu's index, too."""
    consumer = attach(engine)
    publish(engine, *"1234")
    consumer.settle([Settlement(item, Action.PARK, due=now() + 60) for item in fetch(consumer)])
    fields = admin.zrange("umbel:parked", 0, -1)
    assert _leftovers(private).tell_of_missing() == 0
    admin.hdel("unacked", fields[0])
    admin.zrem("unacked_index", fields[0])
    assert _leftovers(private).tell_of_missing() == 0
    admin.hdel("unacked", fields[1])
    _leftovers(private).look_after()
    assert "1 messages that were due later are lost" in caplog.text
    admin.delete("unacked")
    assert [_leftovers(private).tell_of_missing() for _ in range(2)] == [2, 0]
    assert admin.zcard("unacked_index") == 0


def test_a_look_ends_in_time_and_the_next_one_goes_on(
    engine: RedisEngine, admin: Any, private: PrivateServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leftovers, "LOOK", 0.0)
    for name in ("1", "2", "3"):
        publish(engine, name)
        raw = json.loads(admin.rpop(QUEUE))
        admin.hset("unacked", name, json.dumps([raw, "", QUEUE]))
        admin.zadd("unacked_index", {name: now() - 3700})
    looking = _leftovers(private)
    assert [looking.restore() for _ in range(4)] == [1, 1, 1, 0]
    assert not admin.exists("unacked_mutex")


class Moving(SystemClock):
    """A clock that a test puts forward."""

    ahead = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead


def test_after_an_error_the_next_look_is_as_far_away_as_ever(
    engine: RedisEngine, admin: Any, private: PrivateServer
) -> None:
    clock = Moving()
    with closing(Server(private.url, {}, clock)) as server:
        looking = Leftovers(Calls(server, names({})))
        admin.set("unacked_index", "of somebody else")
        looking.look_after()
        admin.delete("unacked_index")
        publish(engine, "1")
        _leave_behind(admin, now() - 3700)
        looking.look_after()
        assert admin.llen(QUEUE) == 0
        clock.ahead = leftovers.EVERY + 1
        looking.look_after()
        assert admin.llen(QUEUE) == 1
