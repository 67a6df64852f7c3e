"""Queues that somebody else has declared: what they are taken for, and what is said of those not there."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest

from tests.rabbitmq_servers import URL, connected, delete_queue
from tests.unit.engines.rabbitmq.support import attach
from umbel.clock import SystemClock, unique_id
from umbel.engines.rabbitmq import RabbitEngine
from umbel.engines.rabbitmq.delays import Delays
from umbel.engines.rabbitmq.errors import NotFound
from umbel.engines.rabbitmq.topology import Topology, declare_queue
from umbel.entities import Exchange, Queue
from umbel.exceptions import OperationalError
from umbel.ports import FetchRequest
from umbel.testing.conformance.support import PATIENCE, QUEUE, ack, publication, until

pytestmark = pytest.mark.engine
IS_QUORUM = {"x-queue-type": "quorum"}


@pytest.fixture
def name() -> Iterator[str]:
    """The name of a queue that is deleted afterwards."""
    name = f"umbel.test.{unique_id()}"
    yield name
    with connected() as link:
        delete_queue(link, name)


@pytest.mark.parametrize(
    ("there", "here", "kind"),
    [
        (IS_QUORUM, {}, "quorum"),
        (IS_QUORUM, {"durable": False}, "quorum"),
        (IS_QUORUM, {"auto_delete": True}, "quorum"),
        (IS_QUORUM, {"max_priority": 10}, "quorum"),
        (IS_QUORUM, {"queue_arguments": {**IS_QUORUM, "x-delivery-limit": 5}}, "quorum"),
        ({**IS_QUORUM, "x-expires": 60000}, {"queue_arguments": IS_QUORUM}, "quorum"),
        (
            {**IS_QUORUM, "x-max-length": 5, "x-overflow": "reject-publish"},
            {"queue_arguments": {**IS_QUORUM, "x-overflow": "drop-head"}, "message_ttl": 9},
            "quorum",
        ),
        (
            {**IS_QUORUM, "x-single-active-consumer": True},
            {"queue_arguments": {"x-single-active-consumer": False}},
            "quorum",
        ),
        ({"x-max-priority": 5}, {}, "classic"),
        ({"x-max-priority": 5}, {"max_priority": 10}, "classic"),
        ({"x-max-priority": 5}, {"queue_arguments": IS_QUORUM}, "classic"),
        ({"x-queue-mode": "lazy"}, {"expires": 60, "queue_arguments": IS_QUORUM}, "classic"),
        (
            {"x-single-active-consumer": True, "x-max-length-bytes": 2**40},
            {"queue_arguments": IS_QUORUM},
            "classic",
        ),
    ],
)
def test_a_queue_that_was_declared_otherwise_is_known_for_what_it_is(
    name: str,
    there: dict[str, Any],
    here: dict[str, Any],
    kind: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What is taken of a quorum queue as of a classic one is lost when its server dies."""
    with connected() as link:
        declare_queue(link, name, there)
        topology = Topology(link.address, lambda name: Queue(name, None, name, **here))
        with caplog.at_level(logging.WARNING, "umbel.rabbitmq"):
            topology.ensure([name])
    assert topology.quorum == ({name} if kind == "quorum" else set())
    [record] = caplog.records
    assert "is used as it is at the server" in record.getMessage()


def not_declared(name: str) -> Queue:
    return Queue(name, None, name, no_declare=True)


def test_a_queue_that_is_not_declared_may_be_of_any_type(name: str) -> None:
    """It is used as a quorum queue, which loses nothing also where it is one."""
    names = [f"{number:02}" for number in range(50)]
    with connected() as link:
        declare_queue(link, name, {})
    with closing(RabbitEngine(URL, {"declared_queue": not_declared})) as engine:
        engine.broker.publish([publication(one, queue=name) for one in names], PATIENCE)
        with closing(attach(engine)) as consumer:
            found: list[str | None] = []
            while len(found) < 50:
                some = until(lambda: consumer.fetch(FetchRequest([name], 30), 0.1))
                found += [one.message.task_id for one in some]
                ack(consumer, some)
            assert found == names
            engine.broker.publish([publication("last", queue=name)], PATIENCE)
            [last] = until(lambda: consumer.fetch(FetchRequest([name], 30), 1.0))
            ack(consumer, [last])
        assert engine._core.topology.quorum == {name}


def test_a_queue_that_is_not_declared_may_say_its_type(name: str) -> None:
    with connected() as link:
        declare_queue(link, name, {})
        arguments = {"x-queue-type": "classic"}
        topology = Topology(
            link.address,
            lambda name: Queue(name, None, name, queue_arguments=arguments, no_declare=True),
        )
        topology.ensure([name])
    assert topology.quorum == set()


def test_a_queue_that_nobody_declares_and_is_not_there_is_an_error(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """And not one that was deleted, which would be tried again and again at once."""
    told = rf"has no queue '{name}', and the app does not declare it"
    with closing(RabbitEngine(URL, {"declared_queue": not_declared})) as engine:
        with pytest.raises(OperationalError, match=told):
            engine.broker.publish([publication("1", queue=name)], PATIENCE)
        with closing(attach(engine)) as consumer:
            with pytest.raises(OperationalError, match=told):
                consumer.fetch(FetchRequest([name], 1), 0.0)
            with pytest.raises(OperationalError, match=told):
                consumer.settle([], FetchRequest([name], 1))
    assert "declared again" not in caplog.text


@pytest.mark.parametrize("passive", [True, False])
def test_an_exchange_that_nobody_declares_and_is_not_there_is_an_error(
    name: str, passive: bool
) -> None:
    with connected() as link:
        exchange = Exchange(f"{name}.none", passive=passive, no_declare=not passive)
        topology = Topology(link.address, lambda name: Queue(name, exchange, "key"))
        with pytest.raises(OperationalError, match=r"is to be bound to that") as caught:
            topology.ensure([name])
    assert not isinstance(caught.value, NotFound)


def test_who_declares_need_not_beat(engine: RabbitEngine) -> None:
    """A server that is slow to declare hears nothing meanwhile, since nobody beats for this connection."""
    core = engine._core
    core.topology.address = replace(core.topology.address, heartbeat=1)
    with core.topology.admin() as link:
        assert link.receive(3.5) is None
        declare_queue(link, core.topology.name(QUEUE), {})


def test_what_is_due_later_is_not_late_by_what_declaring_takes(
    engine: RabbitEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    declare, place, delays = Delays.declare, Delays.place, list[float]()
    clock = _Ahead()
    monkeypatch.setattr(engine._core, "clock", clock)

    def slowly(self: Delays, *arguments: Any) -> None:
        declare(self, *arguments)
        clock.seconds += 40.0

    def noted(self: Delays, queue: str, seconds: float) -> tuple[str, str]:
        delays.append(seconds)
        return place(self, queue, seconds)

    monkeypatch.setattr(Delays, "declare", slowly)
    monkeypatch.setattr(Delays, "place", noted)
    due = clock.time() + 60.0
    engine.broker.publish([publication("later", due=due), publication("now")], PATIENCE)
    assert delays[-1] == pytest.approx(20.0, abs=5.0)
    with closing(attach(engine)) as consumer:
        [now] = until(lambda: consumer.fetch(FetchRequest([QUEUE], 2), 0.2))
        ack(consumer, [now])


class _Ahead(SystemClock):
    """A clock that a test puts forward."""

    seconds = 0.0

    def time(self) -> float:
        return super().time() + self.seconds
