"""A cluster: who has our keys is found, also when they move; what cannot work there is refused."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from redis.crc import key_slot

from tests.redis_clusters import PrivateCluster, private_cluster
from tests.redis_servers import PrivateServer
from tests.unit.engines.redis.conftest import StartServer
from tests.unit.engines.redis.support import QUEUE, attach, attached, publish
from umbel.clock import unique_id
from umbel.engines.redis import RedisEngine
from umbel.engines.redis.cluster import slot_of
from umbel.exceptions import OperationalError
from umbel.ports import GroupPart, Owner, Settlement
from umbel.testing.conformance.support import (
    LONG,
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

NO_TAG = r"is a cluster, where all keys .* a hash tag, such as '\{shop\}:'"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateCluster]:
    with private_cluster(tmp_path_factory.mktemp("cluster")) as made:
        yield made


@pytest.fixture
def prefix(cluster: PrivateCluster) -> str:
    """A prefix of keys that are not at the server that is asked first."""
    return cluster.prefix_at(cluster.masters[1], unique_id())


@pytest.fixture
def engine(cluster: PrivateCluster, prefix: str) -> Iterator[RedisEngine]:
    attached.clear()
    with closing(RedisEngine(cluster.url, {"global_keyprefix": prefix})) as made:
        yield made
        for consumer in attached:
            consumer.close()


def _keys(cluster: PrivateCluster, prefix: str) -> list[int]:
    """Return how many keys with a prefix each master has."""
    return [len(server.admin.keys(f"{prefix}*")) for server in cluster.masters]


# Slots


@pytest.mark.parametrize("prefix", ["{shop}:", "a{shop}", "{shop}{other}:", "}{shop}"])
def test_all_keys_with_a_tag_are_in_its_slot(prefix: str) -> None:
    assert slot_of(prefix) == key_slot(f"{prefix}any{{thing}}".encode())


@pytest.mark.parametrize("prefix", ["", "shop:", "{shop", "shop}:", "{}shop:", "{}{shop}"])
def test_keys_without_a_tag_are_in_many_slots(prefix: str) -> None:
    assert slot_of(prefix) is None


# Finding the server


def test_keys_are_where_their_tag_is(
    engine: RedisEngine, cluster: PrivateCluster, prefix: str
) -> None:
    publish(engine, "1")
    there = cluster.masters.index(cluster.master_of(prefix))
    assert [count > 0 for count in _keys(cluster, prefix)] == [n == there for n in range(3)]


def test_any_server_that_sees_the_cluster_is_asked(
    cluster: PrivateCluster, prefix: str, start_server: StartServer
) -> None:
    alone = start_server("--cluster-enabled", "yes")
    last = cluster.masters[2].url
    url = f"redis://127.0.0.1:1/0;{alone.url};{last}?global_keyprefix={prefix}"
    options = {"global_keyprefix": prefix}
    with closing(RedisEngine(url, options)) as made:
        publish(made, "1")
        assert made.queues.depths()[QUEUE].ready == 1
    with (
        closing(RedisEngine(alone.url, options)) as made,
        pytest.raises(OperationalError, match="a cluster that is down"),
    ):
        publish(made, "1")


def test_a_prefix_in_the_url_will_do(cluster: PrivateCluster, prefix: str) -> None:
    first, *others = cluster.url.split(";")
    url = ";".join([f"{first}?global_keyprefix={prefix}", *others])
    with closing(RedisEngine(url, {})) as made:
        publish(made, "1")
        assert made.broker.shares(made.results)


def test_a_tag_does_no_harm_where_there_is_no_cluster(private: PrivateServer) -> None:
    with closing(RedisEngine(private.url, {"global_keyprefix": "{shop}:"})) as made:
        publish(made, "1")
        made.results.put([record("1", "SUCCESS")])
        assert private.admin.llen("{shop}:queue") == 1
    # Nor where the user may not ask for one.
    private.admin.acl_setuser("app", True, nopass=True, commands=["+@all", "-cluster"], keys=["*"])
    url = private.url.replace("//", "//app:any@")
    with closing(RedisEngine(url, {"global_keyprefix": "{shop}:"})) as made:
        assert set(made.results.get(["1"])) == {"1"}


# What cannot work


def test_keys_without_a_tag_are_refused_before_anything_is_done(cluster: PrivateCluster) -> None:
    with closing(RedisEngine(cluster.url, {})) as made:
        uses: list[Any] = [
            lambda: publish(made, "1"),
            lambda: made.broker.consumer(Owner("owner", "node", "host", 1), LONG),
            lambda: made.results.put([record("1", "SUCCESS")]),
            lambda: made.results.get(["1"]),
            lambda: made.state.put("kind", "key", "value"),
            lambda: made.state.hold("name", "owner", LONG),
        ]
        for use in uses * 2:
            with pytest.raises(OperationalError, match=NO_TAG):
                use()
    assert _keys(cluster, "umbel:") == _keys(cluster, "queue") == [0, 0, 0]
    assert _keys(cluster, "celery-task-meta-") == [0, 0, 0]


def test_a_cluster_has_only_one_database(cluster: PrivateCluster, prefix: str) -> None:
    for options in ({}, {"global_keyprefix": prefix}):
        url = f"redis://127.0.0.1:{cluster.masters[0].port}/1"
        with (
            closing(RedisEngine(url, options)) as made,
            pytest.raises(OperationalError, match="no database"),
        ):
            publish(made, "1")


# Results


def _settle_one(engine: RedisEngine, results: RedisEngine) -> None:
    """Run a task, and settle it as a worker does, with a result in that store."""
    publish(engine, "1")
    consumer = attach(engine)
    deliveries = fetch(consumer)
    stored = record("1", "SUCCESS")
    if engine.broker.shares(results.results):
        engine.broker.join(results.results)
        consumer.settle([Settlement(deliveries[0], result=stored)])
    else:
        results.results.put([stored])
        ack(consumer, deliveries)
    assert results.results.get(["1"])["1"].state == "SUCCESS"


def test_results_with_the_same_tag_are_stored_in_the_same_step(
    engine: RedisEngine, cluster: PrivateCluster, prefix: str
) -> None:
    with closing(RedisEngine(cluster.url, {"result_keyprefix": f"{prefix}results:"})) as store:
        assert engine.broker.shares(store.results)
        _settle_one(engine, store)


def test_results_with_another_tag_are_stored_at_their_own_server(
    cluster: PrivateCluster, prefix: str
) -> None:
    other = cluster.prefix_at(cluster.masters[2], unique_id())
    options = {"global_keyprefix": prefix, "result_keyprefix": other}
    with closing(RedisEngine(cluster.url, options)) as both:
        assert not both.broker.shares(both.results)
        with pytest.raises(ValueError, match="own server"):
            both.broker.join(both.results)
        _settle_one(both, both)
        for consumer in attached:
            consumer.close()
        attached.clear()
    assert [count > 0 for count in _keys(cluster, other)] == [False, False, True]


def test_results_without_a_tag_are_refused(cluster: PrivateCluster, prefix: str) -> None:
    options = {"global_keyprefix": prefix, "result_keyprefix": ""}
    with closing(RedisEngine(cluster.url, options)) as both:
        assert not both.broker.shares(both.results)
        with pytest.raises(OperationalError, match=NO_TAG):
            both.results.put([record("1", "SUCCESS")])


# Keys that move


def test_nothing_is_lost_or_done_half_way_while_keys_move(
    engine: RedisEngine, cluster: PrivateCluster, prefix: str
) -> None:
    """A script that fails half-way would remember the tag of a message that is nowhere."""
    _, source, target = cluster.masters
    publish(engine, "1")
    engine.broker.join(engine.results)
    consumer = attach(engine)
    deliveries = fetch(consumer)
    publish(engine, "later", due=now() + LONG)  # so that kombu's hash is there, and named keys are
    slot = key_slot(prefix.encode())
    before = _keys(cluster, prefix)
    cluster.begin_move(slot, source, target)
    other = publication("2", queue="other")
    uses: list[Any] = [
        lambda: engine.broker.publish([other], PATIENCE),
        lambda: ack(consumer, deliveries),
        lambda: consumer.settle([Settlement(deliveries[0], result=record("1", "SUCCESS"))]),
        lambda: engine.results.add_parts([GroupPart("group", "0", 0, "{}", "me")]),
        lambda: engine.state.put_new("kind", "key", "value"),
    ]
    for use in uses:
        with pytest.raises(OperationalError, match="moves the keys"):
            use()
    assert _keys(cluster, prefix) == before
    cluster.move(slot, source, target)
    _persist(lambda: engine.broker.publish([other], PATIENCE))
    settlement = Settlement(deliveries[0], result=record("1", "SUCCESS"))
    assert _persist(lambda: consumer.settle([settlement])).refused == ()
    assert ids(fetch(consumer, queues=["other"])) == ["2"]
    assert engine.results.get(["1"])["1"].state == "SUCCESS"
    assert [count > 0 for count in _keys(cluster, prefix)] == [False, False, True]


def test_who_waits_is_told_that_the_keys_have_moved(
    engine: RedisEngine, cluster: PrivateCluster, prefix: str
) -> None:
    _, source, target = cluster.masters
    consumer = attach(engine)
    slot = key_slot(prefix.encode())
    with (
        in_thread(lambda: _waits(consumer)) as found,
        closing(RedisEngine(cluster.url, {"global_keyprefix": prefix})) as client,
    ):
        until(lambda: source.admin.exists(f"{prefix}umbel:inboxes:{consumer.owner.id}"))
        cluster.begin_move(slot, source, target)
        cluster.move(slot, source, target)
        _persist(lambda: publish(client, "1"))
        assert found.result(PATIENCE) == ["1"]


def _waits(consumer: Any) -> list[str | None]:
    """Wait for a message, as long as it takes."""
    return ids(until(lambda: _persist(lambda: fetch(consumer, wait=LONG)), LONG))


def _persist(function: Any) -> Any:
    """Call until the server that is asked has our keys."""

    def call() -> list[Any]:
        try:
            return [function()]
        except OperationalError:
            return []

    (answer,) = until(call)
    return answer
