"""How long a child waits for what must run alone there, and for how long it is put off then."""

from __future__ import annotations

import logging

import pytest

from tests.conftest import ManualClock
from umbel.message import Delivery, Message
from umbel.worker.outcome import Prepared, Unprocessable, Waiting
from umbel.worker.suspects import FIRST, LATER, MOST, Suspects


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def suspect(tag: str = "1") -> Waiting:
    delivery = Delivery(f"key of {tag}", "celery", Message({}, {}, b""), tag, crashes=2)
    return Waiting(0, Prepared(delivery, Unprocessable(ValueError(), "no call")))


def until_put_off(suspects: Suspects, clock: ManualClock) -> tuple[float, float]:
    """Let time pass until all are put off; return how long they waited, and for how long they are."""
    begun = clock.monotonic()
    while not (found := suspects.impatient()):
        clock.sleep(FIRST / 4)
    assert len(suspects) == 0
    [seconds] = {round(later.due - clock.time(), 6) for _, later in found}
    return clock.monotonic() - begun, seconds


def test_the_one_that_came_first_runs_first(clock: ManualClock) -> None:
    suspects = Suspects(clock)
    one, other = suspect("1"), suspect("2")
    suspects.add(one)
    suspects.add(other)
    assert len(suspects) == 2
    assert [suspects.next(), suspects.next(), suspects.next()] == [one, other, None]


def test_each_time_in_vain_a_child_waits_twice_as_long_up_to_some_minutes(
    clock: ManualClock,
) -> None:
    suspects, waited = Suspects(clock), []
    for _ in range(12):
        suspects.add(suspect())
        seconds, later = until_put_off(suspects, clock)
        waited.append(seconds)
        assert later == min(seconds, LATER)
        clock.sleep(seconds)
    assert waited == [min(FIRST * 2**n, MOST) for n in range(12)]


@pytest.mark.parametrize("many", [1, 2, 30])
def test_however_many_there_are_nothing_is_waited_for_half_of_the_time(
    clock: ManualClock, many: int
) -> None:
    """They come one by one, as soon as the child takes anything, and again when they are due."""
    suspects, waited = Suspects(clock), 0.0
    due = dict.fromkeys(map(str, range(many)), clock.time())
    begun = clock.time()
    while (now := clock.time()) - begun < 2000 * FIRST:
        ready = [tag for tag, moment in due.items() if moment <= now]
        if not ready:
            clock.sleep(FIRST / 4)
            continue
        suspects.add(suspect(ready[0]))
        seconds, later = until_put_off(suspects, clock)
        waited += seconds
        due[ready[0]] = clock.time() + later
    assert 0.3 < waited / (clock.time() - begun) < 0.67


def test_what_comes_after_others_waited_in_vain_is_put_off_at_once(
    clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    suspects = Suspects(clock)
    suspects.add(suspect("1"))
    assert until_put_off(suspects, clock) == (FIRST, FIRST)
    clock.sleep(FIRST / 4)
    with caplog.at_level(logging.INFO):
        suspects.add(suspect("2"))
        assert until_put_off(suspects, clock) == (0.0, FIRST * 3 / 4)
    levels = {record.levelname: record.getMessage() for record in caplog.records}
    assert "did not end within 1s, so it comes back in 1s" in levels["WARNING"]
    assert "did not end yet, so it comes back in 0.75s" in levels["INFO"]


def test_where_one_ran_they_wait_for_a_moment_again(clock: ManualClock) -> None:
    suspects = Suspects(clock)
    for expected in (FIRST, 2 * FIRST):
        suspects.add(suspect())
        assert until_put_off(suspects, clock)[0] == expected
        clock.sleep(expected)
    suspects.add(suspect())
    suspects.next()
    suspects.add(suspect())
    assert until_put_off(suspects, clock)[0] == FIRST


def test_those_that_wait_while_one_runs_have_waited_long_enough_after_a_second(
    clock: ManualClock,
) -> None:
    suspects = Suspects(clock)
    suspects.add(suspect("1"))
    clock.sleep(FIRST)
    suspects.next()
    assert not suspects.wait_behind_another(clock.monotonic() + FIRST)
    suspects.add(suspect("2"))
    assert not suspects.wait_behind_another(clock.monotonic())
    assert suspects.wait_behind_another(clock.monotonic() + FIRST)


def test_those_that_wait_are_put_off_together(clock: ManualClock) -> None:
    suspects = Suspects(clock)
    one, other = suspect("1"), suspect("2")
    suspects.add(one)
    clock.sleep(FIRST / 2)
    suspects.add(other)
    assert suspects.impatient() == []
    clock.sleep(FIRST / 2)
    assert [item for item, _ in suspects.impatient()] == [one, other]
    suspects.add(one)
    assert suspects.take_all() == [one]
    assert suspects.take_all() == []
