from __future__ import annotations

import pytest

from tests.conftest import ManualClock
from umbel.engines.memory import MemoryEngine
from umbel.worker.namesakes import EVERY, LASTS, Namesakes


class Time:
    """A fleet's time: two nodes of one name look at every step of it."""

    def __init__(self, clock: ManualClock) -> None:
        state = MemoryEngine("memory://namesakes", {}, clock).state
        self.clock = clock
        self.nodes = [Namesakes(state, "one@host", node, clock) for node in "ab"]

    def passes(self, seconds: float, *nodes: Namesakes) -> None:
        end = self.clock.monotonic() + seconds
        while self.clock.monotonic() < end:
            self.clock.now += EVERY / 4
            for node in nodes:
                node.renew()


@pytest.fixture
def time(clock: ManualClock) -> Time:
    return Time(clock)


def test_another_of_the_same_name_is_said_once(
    time: Time, caplog: pytest.LogCaptureFixture
) -> None:
    time.passes(LASTS, *time.nodes)
    assert not caplog.messages
    time.passes(4 * LASTS, *time.nodes)
    (told,) = caplog.messages
    assert "Another worker on this broker has the name one@host, too" in told


def test_one_that_died_or_left_is_no_other(time: Time, caplog: pytest.LogCaptureFixture) -> None:
    first, second = time.nodes
    time.passes(LASTS, first)
    time.passes(4 * LASTS, second)
    second.leave()
    time.passes(4 * LASTS, first)
    assert not caplog.messages
