"""What follows a task and is leased by the call that publishes it: as if it had come back from the server."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest

from tests.redis_servers import PrivateServer
from tests.unit.engines.redis.support import QUEUE, attach, publish
from umbel.engines.redis import RedisEngine, envelope
from umbel.engines.redis.consumer import RedisConsumer
from umbel.exceptions import LeaseLost, OperationalError
from umbel.message import Delivery, Publication
from umbel.ports import Action, Consumer, FetchRequest, Settlement
from umbel.testing.conformance.support import (
    PATIENCE,
    fetch,
    ids,
    now,
    publication,
    record,
    until,
)

pytestmark = pytest.mark.engine

#: Longer than what is sent back as it is.
LONG_BODY = b'[[], {}, {"chain": "' + b"x" * 20_000 + b'"}]'


def with_body(item: Publication, body: bytes) -> Publication:
    return replace(item, message=replace(item.message, body=body))


def follow(
    consumer: Consumer,
    delivery: Delivery,
    publications: Sequence[Publication],
    limit: int,
    queues: Sequence[str] = (QUEUE,),
) -> Sequence[Delivery]:
    item = Settlement(delivery, Action.ACK, publish=tuple(publications))
    return consumer.settle([item], FetchRequest(tuple(queues), limit)).fetched


@pytest.fixture
def held(engine: RedisEngine) -> tuple[RedisConsumer, Delivery]:
    publish(engine, "first")
    consumer = attach(engine)
    [delivery] = fetch(consumer)
    return consumer, delivery


@pytest.mark.parametrize("body", [b"[[], {}, {}]", LONG_BODY])
def test_it_is_what_somebody_else_would_be_given(
    engine: RedisEngine, admin: Any, held: tuple[Consumer, Delivery], body: bytes
) -> None:
    """Which is what lies on the list after a release."""
    item = with_body(publication("é next", priority=6), body)
    [found] = follow(*held, [item], 5)
    assert found.message.body == body
    held[0].release([found.key])
    [raw] = admin.lrange(f"{QUEUE}\x06\x166", 0, -1)
    assert raw.decode() == envelope.write(item)
    [other] = fetch(attach(engine))
    assert replace(other, key=found.key) == found


def test_what_has_no_room_or_its_time_to_come_waits_for_others(
    engine: RedisEngine, held: tuple[Consumer, Delivery]
) -> None:
    items = [
        publication("later", due=now() + 3600),
        publication("less urgent", priority=9),
        publication("a"),
        publication("elsewhere", queue="elsewhere"),
        with_body(publication("b", priority=9), LONG_BODY),
    ]
    assert ids(follow(*held, items, 2)) == ["a", "less urgent"]
    [found] = fetch(attach(engine))
    assert (found.message.task_id, found.message.body) == ("b", LONG_BODY)
    assert engine.queues.depths()["elsewhere"].ready == 1
    assert engine.queues.depths()[QUEUE].scheduled == 1


def test_what_waited_before_comes_first(
    engine: RedisEngine, held: tuple[Consumer, Delivery]
) -> None:
    publish(engine, "waited")
    assert ids(follow(*held, [publication("a")], 5)) == ["waited", "a"]


def test_what_was_published_before_is_not_leased(
    engine: RedisEngine, held: tuple[Consumer, Delivery]
) -> None:
    item = publication("a", tag="told before")
    engine.broker.publish([item], PATIENCE)
    [found] = fetch(attach(engine))
    assert found.message.task_id == "a"
    assert follow(*held, [item], 5) == ()


def test_those_of_a_refused_settlement_keep_their_numbers(
    engine: RedisEngine, held: tuple[Consumer, Delivery]
) -> None:
    consumer, delivery = held
    gone = replace(delivery, key=f"{delivery.key}9")
    items = [
        Settlement(gone, Action.ACK, publish=(publication("x"), publication("y"))),
        Settlement(delivery, Action.ACK, publish=(publication("a"), publication("b"))),
    ]
    settled = consumer.settle(items, FetchRequest((QUEUE,), 5))
    assert ids(settled.fetched) == ["a", "b"]
    assert settled.refused == (gone,)


def test_who_dies_with_it_leaves_it_to_others(
    engine: RedisEngine, held: tuple[Consumer, Delivery]
) -> None:
    item = with_body(publication("a"), LONG_BODY)
    consumer, _ = held
    [found] = follow(*held, [item], 5)
    heir = attach(engine)
    [taken] = heir.reclaim(consumer.owner.id, ())
    assert (taken.key, taken.message, taken.count) == (found.key, found.message, found.count)


# A step of a chain whose next one is all that there is to do: a script of its own does what the large one
# would.


@pytest.fixture
def calls(held: tuple[RedisConsumer, Delivery], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the scripts that are run from here on."""
    found: list[str] = []
    calls = held[0]._calls
    run, follow = calls.run, calls.follow

    def noting(name: str, *arguments: Any, **more: Any) -> Any:
        found.append(name)
        return run(name, *arguments, **more)

    def noting_follow(arguments: Sequence[Any]) -> Any:
        found.append("follow")
        return follow(arguments)

    monkeypatch.setattr(calls, "run", noting)
    monkeypatch.setattr(calls, "follow", noting_follow)
    return found


@pytest.fixture
def chain(engine: RedisEngine, held: tuple[RedisConsumer, Delivery], calls: list[str]) -> Chain:
    """One that has begun: its second step is all that the last settling has brought."""
    engine.broker.join(engine.results)
    made = Chain(*held)
    [_] = made.go_on()
    calls.clear()
    return made


class Chain:
    """Steps with results, one after the other."""

    def __init__(self, consumer: RedisConsumer, delivery: Delivery) -> None:
        self.consumer = consumer
        self.delivery = delivery
        self.steps = 0

    def go_on(
        self, tag: str = "", queues: Sequence[str] = (QUEUE,), state: str = "SUCCESS", **more: Any
    ) -> Sequence[Delivery]:
        """Settle the step that is held, and return what was fetched with that: the next one, perhaps."""
        self.steps += 1
        number = str(self.steps)
        item = with_body(
            publication(f"step {number}", tag=tag or f"tag {number}", **more), LONG_BODY
        )
        result = record(f"result {number}", state)
        done = Settlement(self.delivery, Action.ACK, result=result, publish=(item,))
        settled = self.consumer.settle([done], FetchRequest(tuple(queues), 5))
        assert settled.refused == ()
        if settled.fetched:
            self.delivery = settled.fetched[-1]
        return settled.fetched


def test_the_next_step_is_what_somebody_else_would_be_given(
    engine: RedisEngine, admin: Any, chain: Chain, calls: list[str]
) -> None:
    subscription = engine.results.subscribe()
    subscription.add(["result 2"])
    before = chain.delivery
    [found] = chain.go_on(priority=6)
    assert calls == ["follow"]
    assert subscription.receive(PATIENCE) == {"result 2": record("result 2", "SUCCESS")}
    subscription.close()
    assert found.key != before.key
    assert admin.hkeys(f"umbel:held:{chain.consumer.owner.id}") == [found.key.encode()]
    chain.consumer.release([found.key])
    assert admin.llen(f"{QUEUE}\x06\x166") == 1
    [other] = fetch(attach(engine))
    assert replace(other, key=found.key) == found


def test_the_keys_of_steps_are_new(engine: RedisEngine, chain: Chain, calls: list[str]) -> None:
    keys = [chain.go_on()[0].key for _ in range(3)]
    assert calls == ["follow"] * 3
    consumer = chain.consumer
    assert consumer.settle([Settlement(chain.delivery)]).refused == ()
    publish(engine, "last")
    keys += [one.key for one in fetch(consumer)]
    assert len(set(keys)) == 4


def test_a_result_of_a_step_that_expires_does_so(engine: RedisEngine, chain: Chain) -> None:
    ends = round(now()) + 100.0
    result = record("1", "SUCCESS", ends)
    item = Settlement(chain.delivery, result=result, publish=(publication("a"),))
    [_] = chain.consumer.settle([item], FetchRequest((QUEUE,), 5)).fetched
    assert engine.results.get(["1"])["1"].expires == ends


@pytest.mark.parametrize("where", [QUEUE, "other"])
def test_what_waits_meanwhile_comes_before_the_next_step(
    engine: RedisEngine, chain: Chain, calls: list[str], where: str
) -> None:
    publish(engine, "waits", queue=where)
    found = chain.go_on(queues=(QUEUE, "other"))
    assert sorted(map(str, ids(found))) == ["step 2", "waits"]
    assert calls[-1] == "settle"
    calls.clear()
    chain.go_on()
    assert calls == ["settle"], "where others wait, it is not tried"


def test_what_is_due_comes_with_the_next_step(
    engine: RedisEngine, chain: Chain, calls: list[str]
) -> None:
    publish(engine, "later", due=now() + 3600)
    assert ids(chain.go_on()) == ["step 2"]
    assert calls[-1] == "follow"
    due = now() + 0.1
    publish(engine, "due", due=due)
    until(lambda: now() > due + 0.001)  # servers count milliseconds
    assert sorted(map(str, ids(chain.go_on()))) == ["due", "step 3"]


def test_a_next_step_that_was_published_before_is_not_leased(
    engine: RedisEngine, chain: Chain
) -> None:
    engine.broker.publish([publication("step 2", tag="told before")], PATIENCE)
    [found] = fetch(attach(engine))
    assert found.message.task_id == "step 2"
    assert chain.go_on("told before") == ()
    assert "result 2" in engine.results.get(["result 2"])


def test_a_step_that_is_held_no_more_is_refused(engine: RedisEngine, chain: Chain) -> None:
    consumer, delivery = chain.consumer, chain.delivery
    consumer.settle([Settlement(delivery)])
    item = Settlement(delivery, publish=(publication("a"),))
    settled = consumer.settle([item], FetchRequest((QUEUE,), 5))
    assert (settled.refused, settled.fetched) == ((delivery,), ())
    assert fetch(attach(engine)) == []


def test_who_was_taken_for_dead_settles_no_step(engine: RedisEngine, chain: Chain) -> None:
    [taken] = attach(engine).reclaim(chain.consumer.owner.id, ())
    with pytest.raises(LeaseLost):
        chain.go_on()
    assert taken.message == chain.delivery.message
    assert engine.results.get(["result 2"]) == {}


@pytest.mark.parametrize(
    "more",
    [{"state": "FAILURE"}, {"queue": "elsewhere"}, {"due": 4e9}],
    ids=["failure", "elsewhere", "later"],
)
def test_all_other_steps_are_for_the_large_script(
    engine: RedisEngine, chain: Chain, calls: list[str], more: dict[str, Any]
) -> None:
    assert ids(chain.go_on(**more)) == (["step 2"] if "state" in more else [])
    assert calls == ["settle"]


def test_a_server_that_forgot_the_script_is_told_it_again_for_a_step(
    admin: Any, chain: Chain, calls: list[str]
) -> None:
    admin.script_flush()
    assert ids(chain.go_on()) == ["step 2"]
    assert calls == ["follow"]


def test_chains_go_on_at_a_full_server(admin: Any, chain: Chain, calls: list[str]) -> None:
    admin.config_set("maxmemory", 1)
    assert ids(chain.go_on()) == ["step 2"]
    assert calls == ["follow"]
    admin.config_set("maxmemory", 0)


def test_a_step_that_is_refused_half_way_can_be_settled_again(
    private: PrivateServer, admin: Any
) -> None:
    def user(*keys: str) -> None:
        admin.acl_setuser("app", True, passwords="+pw", commands=["+@all"], keys=keys)

    user("*")
    url = private.url.replace("//", "//app:pw@")
    with closing(RedisEngine(url, {})) as mine:
        mine.broker.join(mine.results)
        publish(mine, "first")
        consumer = attach(mine)
        chain = Chain(consumer, *fetch(consumer))
        [held] = chain.go_on()
        admin.acl_setuser("app", reset_keys=True, keys=["queue*", "umbel:*"])
        with pytest.raises(OperationalError):
            chain.go_on(tag="the same")
        assert admin.hkeys(f"umbel:held:{consumer.owner.id}") == [held.key.encode()]
        user("*")
        assert ids(chain.go_on(tag="the same")) == ["step 3"]
        consumer.close()


def test_a_step_needs_no_command_that_nothing_else_needs(
    private: PrivateServer, admin: Any
) -> None:
    """A user may have just those. What is refused half-way is not undone, and its tag would be known."""
    admin.acl_setuser(
        "app", True, passwords="+pw", keys="*", channels="*", commands=["+@all", "-hincrby"]
    )
    with closing(RedisEngine(private.url.replace("//", "//app:pw@"), {})) as mine:
        mine.broker.join(mine.results)
        publish(mine, "first")
        consumer = attach(mine)
        chain = Chain(consumer, *fetch(consumer))
        assert [ids(chain.go_on()) for _ in range(3)] == [["step 1"], ["step 2"], ["step 3"]]


@pytest.mark.parametrize("queue", [QUEUE, "elsewhere"])
def test_what_follows_and_may_not_be_put_on_its_list_is_not_lost(
    private: PrivateServer, admin: Any, queue: str
) -> None:
    """The settlement is refused, as often as it is tried: what follows is not taken for sent."""
    rights = {"passwords": "+pw", "keys": "*", "channels": "*"}
    admin.acl_setuser("app", True, commands=["+@all"], **rights)
    with closing(RedisEngine(private.url.replace("//", "//app:pw@"), {})) as mine:
        for name in ("first", "second"):
            publish(mine, name)
        consumer = attach(mine)
        fetched = fetch(consumer)
        item = Settlement(
            fetched[0],
            Action.ACK,
            publish=(publication("noted", queue=queue), publication("a", queue=queue)),
        )
        admin.acl_setuser("app", True, commands=["-lpush"], **rights)
        for _ in range(2):
            with pytest.raises(OperationalError):
                consumer.settle([item], FetchRequest((QUEUE,), 1))
        admin.acl_setuser("app", True, commands=["+@all"], **rights)
        queues = tuple({QUEUE: 0, queue: 0})
        settled = consumer.settle([item], FetchRequest(queues, 5))
        assert settled.refused == ()
        assert ids(settled.fetched) == ["noted", "a"]
        consumer.close()
