"""The order of several queues, by kombu's ``queue_order_strategy``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pytest

from tests.redis_servers import PrivateServer
from tests.unit.engines.redis.support import attach, publish
from umbel.engines.redis import RedisEngine
from umbel.engines.redis.order import InOrder, Turns, strategy
from umbel.exceptions import ImproperlyConfigured
from umbel.ports import Action, Settlement
from umbel.testing.conformance.support import LONG, PATIENCE, fetch, ids, in_thread, until


class Paused:
    """Takes only from what is not called "b"."""

    def __init__(self) -> None:
        self.queues: list[str] = []

    def update(self, it: Iterable[str]) -> None:
        self.queues = list(it)

    def consume(self, n: int) -> Sequence[str]:
        return ["elsewhere", *(queue for queue in self.queues if queue != "b")]

    def rotate(self, last_used: str) -> None: ...


def _fetched(engine: RedisEngine, private: PrivateServer, value: Any, limit: int) -> list[str]:
    """Return the queues of messages in the order in which they are fetched; each queue has three."""
    made = RedisEngine(private.url, {"queue_order_strategy": value} if value else {})
    for queue in ("c", "a", "b"):
        publish(engine, "1", "2", "3", queue=queue)
    consumer = attach(made)
    found: list[str] = []
    while deliveries := fetch(consumer, limit=limit, queues=["c", "a", "b"]):
        found += [item.queue for item in deliveries]
        consumer.settle([Settlement(item, Action.ACK) for item in deliveries])
    made.close()
    return found


@pytest.mark.engine
@pytest.mark.parametrize(
    ("value", "limit", "order"),
    [
        (None, 1, "cabcabcab"),
        ("round_robin", 1, "cabcabcab"),
        ("round_robin", 2, "ccaabbcab"),
        ("round_robin", 4, "cccabbbaa"),
        ("priority", 1, "cccaaabbb"),
        ("priority", 9, "cccaaabbb"),
        ("sorted", 1, "aaabbbccc"),
        ("kombu.utils.scheduling:round_robin_cycle", 1, "cabcabcab"),
        ("kombu.utils.scheduling.sorted_cycle", 1, "aaabbbccc"),
        (Paused, 1, "cccaaa"),
    ],
)
def test_queues_are_taken_from_in_their_order(
    engine: RedisEngine, private: PrivateServer, value: Any, limit: int, order: str
) -> None:
    assert "".join(_fetched(engine, private, value, limit)) == order


@pytest.mark.engine
def test_the_urgent_of_all_queues_come_before_the_rest_as_in_kombu(engine: RedisEngine) -> None:
    publish(engine, "a9", queue="a", priority=9)
    publish(engine, "b3", queue="b", priority=3)
    publish(engine, "a0", queue="a")
    publish(engine, "b0", queue="b")
    assert ids(fetch(attach(engine), queues=["a", "b"])) == ["a0", "b0", "b3", "a9"]


@pytest.mark.engine
def test_who_waits_for_several_queues_is_noted_for_each(engine: RedisEngine, admin: Any) -> None:
    consumer = attach(engine)
    with in_thread(lambda: fetch(consumer, queues=["a", "b"], wait=LONG)) as found:
        until(lambda: len(admin.keys("umbel:bell:*")) == 2)
        publish(engine, "1", queue="b", priority=9)
        [delivery] = found.result(PATIENCE)
    assert (delivery.queue, delivery.priority) == ("b", 9)
    assert admin.keys("umbel:bell:*") == []


def test_queues_that_change_are_told_to_the_strategy() -> None:
    turns = Turns(strategy({})())
    assert list(turns.next(["a", "b"])) == ["a", "b"]
    turns.gave(["a", "a"])
    assert list(turns.next(("a", "b"))) == ["b", "a"]
    assert list(turns.next(["a"])) == ["a"]
    turns.gave(["elsewhere"])
    assert list(turns.next(["a", "b", "c"])) == ["a", "b", "c"]
    turns.gave(["c", "a"])
    assert list(turns.next(["a", "b", "c"])) == ["b", "c", "a"]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("priorities", "unknown queue_order_strategy 'priorities'. Did you mean 'priority'?"),
        ("fair", "unknown queue_order_strategy 'fair'. It must be 'round_robin', 'priority', 's"),
        ("umbel.nowhere:Cycle", "There is no 'umbel.nowhere:Cycle'"),
        ([7], "queue_order_strategy [7], which makes no object with the method 'update'"),
        (7, "queue_order_strategy 7, which makes no object with the method 'update'"),
        (dict, "which makes no object with the method 'consume'"),
    ],
)
def test_what_is_no_strategy_is_an_error_at_once(value: Any, said: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=r".") as raised:
        RedisEngine("redis://nowhere", {"queue_order_strategy": value})
    assert said in str(raised.value)


def test_a_strategy_may_be_a_class_of_ours() -> None:
    assert strategy({"queue_order_strategy": InOrder}) is InOrder
