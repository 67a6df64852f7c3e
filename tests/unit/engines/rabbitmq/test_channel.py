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


class Queued:
    """A link whose server has a queue of so many messages, and answers channels in reverse."""

    def __init__(self, count: int, most: int = 32) -> None:
        self.address = self
        self.timeout = 1.0
        self.reading = nullcontext()
        self.count, self.most, self.first = count, most, 0
        self.asked: list[int] = []
        self._answers: list[Event] = []

    def open_channels(self, count: int, other: object) -> int:
        return min(count, self.most)

    def send(self, before: bytes, *gets: bytes) -> None:
        self.asked.append(len(gets))
        for channel in range(1, len(gets) + 1):
            if self.first < self.count:
                self.first += 1
                arguments = [self.first, False, "", "jobs", self.count - self.first]
                self._answers.append(Event(wire.GET_OK, arguments, channel=channel))
            else:
                self._answers.append(Event(wire.GET_EMPTY, [""], channel=channel))

    def expect(self, names: Sequence[Name], timeout: float, other: object) -> Event:
        return self._answers.pop()


@pytest.mark.parametrize(
    ("count", "limit", "asked"),
    [
        (0, 9, [1]),
        (1, 9, [1]),
        (5, 9, [1, 4]),
        (90, 9, [1, 8]),
        (90, 70, [1, 32, 32, 5]),
        (40, 70, [1, 32, 7]),
        (9, 1, [1]),
    ],
)
def test_a_batch_is_asked_for_round_by_round(count: int, limit: int, asked: list[int]) -> None:
    told = Queued(count)
    taken = Channel(cast(Link, told)).take("jobs", limit, quorum=True)
    assert [event.arguments[0] for event, _ in taken] == [*range(1, min(count, limit) + 1)]
    assert told.asked == asked


def test_the_next_batch_begins_with_what_was_left() -> None:
    told = Queued(60)
    asks = Channel(cast(Link, told))
    assert [len(asks.take("jobs", limit, quorum=True)) for limit in (50, 50, 50)] == [50, 10, 0]
    assert told.asked == [1, 32, 17, 10, 1]


def test_what_others_took_meanwhile_ends_a_batch() -> None:
    told = Queued(60)
    asks = Channel(cast(Link, told))
    asks.take("jobs", 40, quorum=True)
    told.count = 45
    assert len(asks.take("jobs", 40, quorum=True)) == 5
    assert told.asked[-1] == 20
    assert asks.heard == {*range(1, 21)}


def test_as_many_channels_are_used_as_there_may_be() -> None:
    told = Queued(9, most=4)
    assert len(Channel(cast(Link, told)).take("jobs", 9, quorum=True)) == 9
    assert told.asked == [1, 4, 4]
