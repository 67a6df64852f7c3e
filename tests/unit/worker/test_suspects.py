"""How long what must run alone waits for that, and for how long it is put off then."""

from __future__ import annotations

import pytest

from tests.conftest import ManualClock
from umbel.message import Delivery, Message
from umbel.worker.outcome import Prepared, Unprocessable, Waiting
from umbel.worker.suspects import FIRST, MOST, REMEMBERED, Suspects


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def suspect(tag: str) -> Waiting:
    delivery = Delivery(f"key of {tag}", "celery", Message({}, {}, b""), tag, crashes=2)
    return Waiting(0, Prepared(delivery, Unprocessable(ValueError(), "no call")))


def test_the_one_that_came_first_runs_first(clock: ManualClock) -> None:
    suspects = Suspects(clock)
    one, other = suspect("1"), suspect("2")
    suspects.add(one)
    suspects.add(other)
    assert len(suspects) == 2
    assert [suspects.next(), suspects.next(), suspects.next()] == [one, other, None]


def test_each_time_it_is_put_off_it_waits_twice_as_long_up_to_some_minutes(
    clock: ManualClock,
) -> None:
    suspects, waited = Suspects(clock), []
    for _ in range(12):
        one = suspect("1")
        suspects.add(one)
        assert suspects.impatient() == []
        while not (found := suspects.impatient()):
            clock.sleep(FIRST / 2)
        assert [item for item, _ in found] == [one]
        waited.append(found[0][1])
        assert len(suspects) == 0
    assert waited == [min(FIRST * 2**n, MOST) for n in range(12)]


def test_what_ran_waits_for_a_moment_again(clock: ManualClock) -> None:
    suspects = Suspects(clock)
    for expected in (FIRST, 2 * FIRST):
        suspects.add(suspect("1"))
        clock.sleep(MOST)
        assert [seconds for _, seconds in suspects.impatient()] == [expected]
    suspects.add(suspect("1"))
    suspects.next()
    suspects.add(suspect("1"))
    clock.sleep(FIRST)
    assert [seconds for _, seconds in suspects.impatient()] == [FIRST]


def test_all_go_back_at_once_and_one_that_came_later_waits_longer(clock: ManualClock) -> None:
    suspects = Suspects(clock)
    one, other = suspect("1"), suspect("2")
    suspects.add(one)
    clock.sleep(FIRST)
    suspects.add(other)
    assert suspects.impatient() == [(one, FIRST)]
    suspects.add(one)
    assert suspects.take_all() == [other, one]
    assert suspects.take_all() == []


def test_of_many_messages_those_that_waited_last_are_remembered(clock: ManualClock) -> None:
    suspects = Suspects(clock)

    def put_off(tag: str) -> float:
        suspects.add(suspect(tag))
        clock.sleep(MOST)
        [(_, seconds)] = suspects.impatient()
        return seconds

    for number in range(REMEMBERED + 1):
        put_off(str(number))
    assert put_off("0") == FIRST
    assert put_off(str(REMEMBERED)) == 2 * FIRST
