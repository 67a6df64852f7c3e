"""What a channel takes, whatever the order in which a server says things."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any, cast

import pytest

from umbel.engines.rabbitmq import wire
from umbel.engines.rabbitmq.channel import Channel
from umbel.engines.rabbitmq.link import Link
from umbel.engines.rabbitmq.wire import Event, Name, method


class Told:
    """A link whose server says what a test wants, in that order."""

    def __init__(self, *names: Name) -> None:
        self.address = self
        self.timeout = 1.0
        self.reading = nullcontext()
        self._left = [*names]
        self.sent = b""

    def refresh(self) -> None:
        pass

    def send(self, *data: bytes) -> None:
        self.sent += b"".join(data)

    def receive(self, timeout: float) -> Event | None:
        return None  # nothing comes while it waits

    def expect(
        self, names: Sequence[Name], timeout: float, other: Callable[[Event], None] | None = None
    ) -> Event:
        while True:
            event = Event(self._left.pop(0), ["u1", 7, False, "", "celery"])
            if event.name in names:
                return event
            if other is not None:
                other(event)


def channel(*names: Name) -> Channel:
    return Channel(cast(Link, Told(*names)))


def test_what_a_quorum_queue_sent_before_it_heard_of_the_end_goes_back() -> None:
    """It may come behind the server's answer. Held for a consumer that is cancelled, it might be lost."""
    told = Told(wire.CANCEL_OK, wire.DELIVER, wire.FLOW_OK)
    assert Channel(cast(Link, told)).wait(["jobs"], 0.01, ["jobs"]) == []
    assert told.sent.endswith(method(wire.REJECT, "Lb", 7, True))


def test_what_a_classic_queue_sent_before_it_heard_of_the_end_is_taken() -> None:
    told = (wire.DELIVER, wire.CANCEL_OK)
    ((event, queue),) = channel(*told).wait(["jobs"], 0.01)
    assert (event.name, queue) == (wire.DELIVER, "jobs")


@pytest.mark.parametrize("quorum", [False, True])
def test_a_wait_that_ends_with_nothing(quorum: bool) -> None:
    said: Any = (wire.CANCEL_OK, wire.FLOW_OK) if quorum else (wire.CANCEL_OK,)
    assert channel(*said).wait(["jobs"], 0.01, ["jobs"] if quorum else []) == []
