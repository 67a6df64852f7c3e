from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from umbel.entities import (
    Broadcast,
    Exchange,
    Queue,
    as_binding,
    as_exchange,
    as_queue,
    binding,
    delivery_mode,
    is_queue,
    worker_direct,
)
from umbel.exceptions import ImproperlyConfigured


def kombus(**attributes: Any) -> Any:
    """A stand-in with the attributes of a kombu object."""
    return SimpleNamespace(**attributes)


KOMBU_EXCHANGE = kombus(
    name="media", type="topic", arguments=None, durable=True, auto_delete=False, delivery_mode=1
)
KOMBU_QUEUE = kombus(
    name="q",
    exchange=KOMBU_EXCHANGE,
    routing_key="media.#",
    bindings=set(),
    durable=False,
    auto_delete=True,
    exclusive=False,
    alias="a",
    queue_arguments={"x-max-priority": 3},
    max_priority=None,
)


def test_a_queue_has_kombus_defaults() -> None:
    queue = Queue("q")
    assert (queue.name, queue.exchange, queue.routing_key) == ("q", Exchange(""), "")
    assert (queue.durable, queue.exclusive, queue.auto_delete, queue.no_ack) == (
        True,
        False,
        False,
        False,
    )
    assert Exchange("x").type == "direct"
    assert Exchange(None, None) == Exchange("", "direct")  # type: ignore[arg-type]  # as kombu takes it


def test_a_queue_takes_an_exchange_by_its_name_and_bindings_in_its_place() -> None:
    assert Queue("q", "x").exchange == Exchange("x")
    pair = [binding(Exchange("x"), "a"), binding(Exchange("x"), "b")]
    queue = Queue("q", pair)
    assert (queue.exchange, queue.bindings) == (None, tuple(pair))
    assert Queue("q", bindings=pair).exchange is None


def test_an_exclusive_queue_deletes_itself() -> None:
    assert Queue("q", exclusive=True).auto_delete is True


def test_queues_are_values() -> None:
    assert Queue("q", Exchange("x"), "k") == Queue("q", Exchange("x"), "k")
    assert Queue("q", Exchange("x"), "k") != Queue("q", Exchange("y"), "k")
    assert len({Queue("q", queue_arguments={"a": 1}), Queue("q", queue_arguments={"a": 1})}) == 1
    with pytest.raises(AttributeError):
        Queue("q").name = "other"  # type: ignore[misc]  # frozen


@pytest.mark.parametrize("kind", ["headers", "x-delayed-message", "Direct"])
def test_a_type_of_exchange_that_is_not_offered_is_refused(kind: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=f"'x' is of the type '{kind}'.*direct, topic"):
        Exchange("x", kind)


def test_delivery_modes() -> None:
    assert [delivery_mode(value) for value in (None, 1, 2, "transient", "persistent", "2")] == [
        None,
        1,
        2,
        1,
        2,
        2,
    ]
    for wrong in (3, "none", True, 1.0):
        with pytest.raises(ValueError, match="delivery_mode is"):
            delivery_mode(wrong)
    with pytest.raises(ImproperlyConfigured, match="The exchange 'x': delivery_mode is 3"):
        Exchange("x", delivery_mode=3)


def test_a_queue_from_a_mapping() -> None:
    queue = Queue.from_dict(
        "q", exchange="x", exchange_type="topic", binding_key="k.#", durable=False, max_priority=4
    )
    assert queue == Queue(
        "q", Exchange("x", "topic", durable=False), "k.#", durable=False, max_priority=4
    )


def test_a_mistyped_option_of_a_queue_is_refused() -> None:
    with pytest.raises(ImproperlyConfigured, match=r"'q' has no option 'exchang'.*'exchange'"):
        Queue.from_dict("q", exchang="x")
    with pytest.raises(ImproperlyConfigured, match="It has: exchange, "):
        Queue.from_dict("q", zzz=1)


def test_a_broadcast_is_a_queue_of_its_own() -> None:
    one, other = Broadcast("news"), Broadcast("news")
    assert one.name != other.name
    assert one.name.startswith("bcast.")
    assert one.exchange == Exchange("news", "fanout")
    assert (one.alias, one.auto_delete, one.queue) == ("news", True, one.name)
    assert Broadcast("news", queue="q").name == "q"
    assert Broadcast("news", queue="q", unique=True).name.startswith("q.")
    assert (one.is_unique, Broadcast("news", queue="q").is_unique) == (True, False)


def test_kombus_objects_are_understood_by_their_attributes() -> None:
    assert is_queue(KOMBU_QUEUE)
    assert as_queue(KOMBU_QUEUE) == Queue(
        "q",
        Exchange("media", "topic", delivery_mode=1),
        "media.#",
        durable=False,
        auto_delete=True,
        alias="a",
        queue_arguments={"x-max-priority": 3},
    )
    bound = kombus(name="k", exchange=KOMBU_EXCHANGE, routing_key="x")
    queue = kombus(name="b", exchange=None, routing_key="", bindings=[bound])
    assert as_queue(queue).exchange is None
    assert as_queue(queue).bindings == (binding(Exchange("media", "topic", delivery_mode=1), "x"),)


def test_a_broadcast_of_kombu() -> None:
    name = "bcast.0d1f9d4e-3a55-4a41-8f0e-111111111111"
    exchange = kombus(name="news", type="fanout")
    theirs = kombus(name=name, exchange=exchange, routing_key="", bindings=(), queue=name)
    found = as_queue(theirs)
    assert isinstance(found, Broadcast)
    assert (found.name, found.is_unique) == (name, True)
    theirs = kombus(name="mine", exchange=exchange, routing_key="", bindings=(), queue="mine")
    assert as_queue(theirs).is_unique is False  # type: ignore[attr-defined]  # it is a Broadcast


def test_what_is_no_queue_no_exchange_and_no_binding() -> None:
    assert not is_queue("q")
    assert not is_queue(Exchange("x"))
    with pytest.raises(ImproperlyConfigured, match="An exchange is given as 7"):
        as_exchange(7)
    with pytest.raises(ImproperlyConfigured, match="A binding is given as 7"):
        as_binding(7)


def test_the_queue_of_one_worker() -> None:
    queue = worker_direct("w1@example.com")
    assert (queue.name, queue.routing_key) == ("w1@example.com.dq2", "w1@example.com")
    assert queue.exchange == Exchange("C.dq2")
