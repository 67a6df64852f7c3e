"""What a child says of a broker that does not answer: once what is new, and nothing of what goes on."""

from __future__ import annotations

import pytest

from umbel.clock import SystemClock
from umbel.worker.outage import LEAST_PATIENCE, MOST_PATIENCE, QUIET, SOON, Outage

AWAY = "The broker does not answer; trying until it does. "
BACK = "The broker answers again"


class Settable(SystemClock):
    """A clock that stands still."""

    now = 1000.0

    def monotonic(self) -> float:
        """Return what it was set to."""
        return self.now


@pytest.fixture
def clock() -> Settable:
    return Settable()


@pytest.fixture
def outage(clock: Settable) -> Outage:
    return Outage(clock)


def _said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [text.partition(",")[0].rstrip(".") for text in caplog.messages]


def test_each_outage_is_said_once_with_its_end(
    outage: Outage, clock: Settable, caplog: pytest.LogCaptureFixture
) -> None:
    outage.ends()
    for _ in range(2):
        for _ in range(9):
            assert outage.begins(OSError("gone")) <= MOST_PATIENCE
        clock.now += 2.5
        outage.ends()
        outage.ends()
        assert caplog.messages[-1] == "The broker answers again, after 2.5 s."
        clock.now += SOON
        assert outage.begins(OSError("gone")) <= LEAST_PATIENCE
        outage.ends()
        clock.now += SOON
    assert _said(caplog) == [AWAY + "gone", BACK] * 4


def test_what_is_refused_again_and_again_while_all_else_is_answered_is_no_news(
    outage: Outage, clock: Settable, caplog: pytest.LogCaptureFixture
) -> None:
    """And it is asked for less and less often."""
    for _ in range(500):
        last = outage.begins(OSError("not allowed"))
        clock.now += 0.3
        outage.ends()
        clock.now += 0.001
    assert last >= MOST_PATIENCE / 2
    assert _said(caplog) == [AWAY + "not allowed", BACK, AWAY + "not allowed"]
    # Also where there was much to do in between.
    clock.now += QUIET / 2
    outage.ends()
    outage.begins(OSError("not allowed"))
    outage.ends()
    assert len(caplog.messages) == 3
    clock.now += QUIET
    outage.ends()
    outage.ends()
    assert caplog.messages[3:] == ["The broker answers again."]


def test_another_reason_is_news(
    outage: Outage, clock: Settable, caplog: pytest.LogCaptureFixture
) -> None:
    for text in ("one", "one", "one", "two", "two", "two"):
        outage.begins(OSError(text))
        outage.ends()
    assert _said(caplog) == [AWAY + "one", BACK, AWAY + "one", AWAY + "two", BACK, AWAY + "two"]
