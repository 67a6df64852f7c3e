"""What a queue is taken for that was declared otherwise by somebody else."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from tests.rabbitmq_servers import connected, delete_queue
from umbel.clock import unique_id
from umbel.engines.rabbitmq.topology import Topology, declare_queue
from umbel.entities import Queue

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
