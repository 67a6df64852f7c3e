"""Queues that are spread over a cluster: each in a slot of its own, and one owner in many of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from functools import partial

import pytest
from redis.crc import key_slot

from tests.each import for_each
from tests.redis_clusters import PrivateCluster, private_cluster
from umbel.clock import unique_id
from umbel.engines.redis import consumer as consumers
from umbel.engines.redis import open_redis
from umbel.engines.redis.spread.consumer import SpreadConsumer
from umbel.engines.redis.spread.engine import SpreadEngine
from umbel.engines.redis.spread.places import home_prefix, is_spread, prefix_of
from umbel.exceptions import EncodeError, LeaseLost
from umbel.ports import Change, FetchRequest, Owner, Settlement
from umbel.testing.conformance.support import (
    LONG,
    PATIENCE,
    ack,
    at_most,
    fetch,
    ids,
    in_thread,
    publication,
    until,
)

pytestmark = pytest.mark.engine

#: All that a test has attached: they are closed at its end.
attached: list[SpreadConsumer] = []


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateCluster]:
    with private_cluster(tmp_path_factory.mktemp("cluster")) as made:
        yield made


@pytest.fixture
def prefix() -> str:
    return f"{unique_id()}:{{queue}}:"


@pytest.fixture
def engine(cluster: PrivateCluster, prefix: str) -> Iterator[SpreadEngine]:
    made = open_redis(cluster.url, {"global_keyprefix": prefix})
    assert isinstance(made, SpreadEngine)
    attached.clear()
    with closing(made):
        yield made
        for consumer in attached:
            consumer.close()


@pytest.fixture
def queues(cluster: PrivateCluster) -> list[str]:
    """Three queues, each at another server."""
    return [cluster.prefix_at(one, "queue").strip("{}:") for one in cluster.masters]


def attach(engine: SpreadEngine) -> SpreadConsumer:
    """Attach a consumer with an id of its own."""
    consumer = engine.broker.consumer(Owner(unique_id(), "node", "host", os.getpid()), LONG)
    attached.append(consumer)
    return consumer


def _publish(engine: SpreadEngine, queues: list[str]) -> None:
    """Publish a message to each queue, with the number of the queue as the id of its task."""
    items = [publication(str(number), queue) for number, queue in enumerate(queues)]
    engine.broker.publish(items, PATIENCE)


# Names


@for_each(
    ["prefix", "spread"],
    [
        ("{queue}:", True),
        ("shop:{queue}:", True),
        ("{shop}:", False),
        ("{shop}{queue}:", False),
        ("queue:", False),
        ("", False),
    ],
)
def test_a_tag_that_is_the_queue_asks_for_it(prefix: str, spread: bool) -> None:
    assert is_spread(prefix) is spread


@for_each(
    ["queue", "prefix"],
    [
        ("emails", "shop:{emails}:"),
        ("", "shop:{%}:"),
        ("}", "shop:{%7D}:"),
        ("{a}b%", "shop:{{a%7Db%25}:"),
    ],
)
def test_a_queue_is_where_its_tag_is(queue: str, prefix: str) -> None:
    assert prefix_of("shop:{queue}:", queue) == prefix
    tag = prefix.removeprefix("shop:{").removesuffix("}:")
    assert key_slot(f"{prefix}any{{thing}}".encode()) == key_slot(tag.encode())


def test_the_home_is_no_queue() -> None:
    home = home_prefix("shop:{queue}:")
    assert home == "shop:{umbel}:fleet:"
    assert not home.startswith(f"{prefix_of('shop:{queue}:', 'umbel')}umbel")


# In many slots


def test_queues_are_at_all_servers(
    engine: SpreadEngine, cluster: PrivateCluster, prefix: str, queues: list[str]
) -> None:
    _publish(engine, queues)
    for server, queue in zip(cluster.masters, queues, strict=True):
        name = f"{prefix_of(prefix, queue)}{queue}"
        assert [one.admin.keys(name) for one in cluster.masters] == [
            [name.encode()] if one is server else [] for one in cluster.masters
        ]
    consumer = attach(engine)
    assert ids(fetch(consumer, queues=queues, limit=2)) == ["0", "1"]
    # The queues that gave are the last now.
    assert ids(fetch(consumer, queues=queues)) == ["2"]


def test_all_queues_are_waited_for_at_once(engine: SpreadEngine, queues: list[str]) -> None:
    consumer = attach(engine)
    for number, queue in enumerate(queues):
        with (
            at_most(PATIENCE),
            in_thread(lambda: fetch(consumer, wait=LONG, queues=queues)) as found,
        ):
            _wait_until_waiting(engine, consumer, queues)
            engine.broker.publish([publication(str(number), queue)], PATIENCE)
            deliveries = found.result(PATIENCE)
        assert ids(deliveries) == [str(number)]
        assert ack(consumer, deliveries).refused == ()


def _wait_until_waiting(engine: SpreadEngine, consumer: SpreadConsumer, queues: list[str]) -> None:
    """Wait until it waits everywhere; where it waited before it has been there already."""
    for queue in queues:
        place = engine._places.of(queue)
        inboxes = f"{place.names.own}inboxes:{consumer.owner.id}"
        until(partial(place.server.call, "EXISTS", inboxes))


def test_what_several_queues_give_at_once_is_not_more_than_was_asked_for(
    engine: SpreadEngine, queues: list[str]
) -> None:
    consumer = attach(engine)
    request = FetchRequest(queues, 1)
    assert consumer.settle((), request).fetched == ()  # so that the next begins to wait at once
    _publish(engine, queues)
    first = consumer.fetch(request, PATIENCE)
    assert len(first) == 1
    found = first + fetch(consumer, queues=queues)
    assert sorted(map(str, ids(found))) == ["0", "1", "2"]
    assert [one.count for one in found] == [1, 1, 1]


def test_an_interrupt_ends_the_wait_in_all_places(engine: SpreadEngine, queues: list[str]) -> None:
    consumer = attach(engine)
    with (
        at_most(PATIENCE),
        in_thread(lambda: fetch(consumer, wait=LONG, queues=queues)) as found,
    ):
        _wait_until_waiting(engine, consumer, queues)
        consumer.interrupt()
        assert found.result(PATIENCE) == []


def test_what_cannot_be_written_keeps_back_what_goes_to_other_queues(
    engine: SpreadEngine, queues: list[str]
) -> None:
    items = [publication("1", queues[0]), publication("\ud800", queues[1])]
    with pytest.raises(EncodeError):
        engine.broker.publish(items, PATIENCE)
    assert fetch(attach(engine), queues=queues) == []


def test_what_follows_in_another_queue_is_there_when_its_task_is_settled(
    engine: SpreadEngine, queues: list[str]
) -> None:
    first, second, _ = queues
    consumer = attach(engine)
    engine.broker.publish([publication("1", first)], PATIENCE)
    (delivery,) = fetch(consumer, queues=[first])
    both = (publication("here", first), publication("there", second))
    request = FetchRequest(queues, 10)
    assert ids(consumer.settle([Settlement(delivery, publish=both)], request).fetched) == [
        "here",
        "there",
    ]


def test_nothing_that_needs_one_slot_is_offered(engine: SpreadEngine) -> None:
    features = engine.features
    assert (features.atomic_settle, features.joint_results, features.joint_state) == (False,) * 3
    assert not features.tells_revocations
    assert engine.broker.features == features
    with pytest.raises(ValueError, match="stores no results"):
        engine.broker.join(engine.results)
    with pytest.raises(NotImplementedError):
        engine.state.change([Change("kind", "key", None, "value")], PATIENCE)


# Leases in many slots


def test_who_is_lost_in_one_place_leaves_the_others(
    engine: SpreadEngine, queues: list[str]
) -> None:
    _publish(engine, queues)
    consumer, heir = attach(engine), attach(engine)
    assert len(fetch(consumer, queues=queues)) == 3
    place = engine._places.of(queues[1])
    place.broker.attach(heir.owner, LONG, LONG).reclaim(consumer.owner.id, None)
    with pytest.raises(LeaseLost):
        fetch(consumer, queues=queues)
    assert sorted(map(str, ids(fetch(heir, queues=queues)))) == ["0", "1", "2"]
    assert {one.owner.id for one in engine.queues.holdings()} == {heir.owner.id}


def test_who_is_gone_at_home_is_reclaimed_from_all_places(
    engine: SpreadEngine, prefix: str, queues: list[str]
) -> None:
    """Whoever reclaimed it died between two places."""
    _publish(engine, queues)
    dead, heir = attach(engine), attach(engine)
    fetch(dead, queues=queues)
    engine._places.home.broker.attach(heir.owner, LONG, LONG).reclaim(dead.owner.id, None)
    assert engine.broker.renew("node", LONG) == {heir.owner.id}
    options = {"global_keyprefix": prefix}
    with closing(SpreadEngine(engine.url, options)) as other:
        (found,) = until(other.broker.expired)
        assert found == dead.owner
    handed = heir.reclaim(dead.owner.id, [], only_expired=True)
    assert sorted(map(str, ids(handed))) == ["0", "1", "2"]
    assert ack(heir, handed).refused == ()
    assert engine.broker.expired() == []


def test_nobody_goes_anywhere_once_it_is_gone_at_home(
    engine: SpreadEngine, queues: list[str]
) -> None:
    frozen, heir = attach(engine), attach(engine)
    fetch(frozen, queues=queues[:1])
    heir.reclaim(frozen.owner.id, None)
    with pytest.raises(LeaseLost):
        fetch(frozen, queues=queues[1:])
    assert {one.owner.id for one in engine.queues.holdings()} == {heir.owner.id}


def test_a_renewal_prolongs_the_leases_in_all_places(
    engine: SpreadEngine, queues: list[str]
) -> None:
    consumer = attach(engine)
    fetch(consumer, queues=queues)
    assert engine.broker.renew("node", 1000.0) == {consumer.owner.id}
    for queue in queues:
        place = engine._places.of(queue)
        end = place.server.call("ZSCORE", f"{place.names.own}owners", consumer.owner.id)
        score = float(end) / 1000
        assert 900 < score - engine._places.clock.time() <= 1000


def test_who_waits_beside_servers_that_were_emptied_begins_anew(
    engine: SpreadEngine,
    cluster: PrivateCluster,
    queues: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(consumers, "LONGEST", LONG)
    waiter = attach(engine)
    fetch(waiter, queues=queues)
    engine.broker.renew("node", LONG)
    with in_thread(lambda: fetch(waiter, wait=LONG, queues=queues)) as waiting:
        admins = [one.admin for one in cluster.masters]
        until(lambda: all(admin.info("clients")["blocked_clients"] == 1 for admin in admins))
        for admin in admins:
            admin.flushall()
        engine.broker.publish([publication("1", queues[0], priority=9)], PATIENCE)
        assert engine.broker.renew("node", LONG) == frozenset()  # it knows of no places any more
        assert engine.broker.expired() == []
        with pytest.raises(LeaseLost):
            waiting.result(PATIENCE)
    assert ids(fetch(attach(engine), queues=queues)) == ["1"]


def test_nothing_is_left_but_names(
    engine: SpreadEngine, cluster: PrivateCluster, prefix: str, queues: list[str]
) -> None:
    _publish(engine, queues)
    consumer = attach(engine)
    ack(consumer, fetch(consumer, queues=queues))
    consumer.close()
    begin = prefix.partition("{")[0]
    left = [key for one in cluster.masters for key in one.admin.keys(f"{begin}*")]
    lasting = [
        key
        for one in cluster.masters
        for key in one.admin.keys(f"{begin}*")
        if one.admin.ttl(key) < 0
    ]
    assert left
    assert lasting == []
