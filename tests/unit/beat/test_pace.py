from __future__ import annotations

from umbel.beat.pace import AT_ONCE, MOST_APART, RETRY_AFTER, Pace


def test_one_of_many_that_cannot_be_sent_is_found_and_then_alone() -> None:
    pace, names, steps = Pace(), [f"n{number}" for number in range(AT_ONCE)], 0
    while len(names) > 1:
        pace.failed(names, 0.0)
        names, steps = names[: pace.at_once], steps + 1
    pace.failed(names, 0.0)
    assert steps == 6
    assert pace.is_apart("n0")
    pace.sent(["n1"])
    assert pace.is_apart("n0")
    pace.sent(["n0"])
    assert not pace.is_apart("n0")


def test_who_is_alone_waits_longer_each_time_while_others_are_sent() -> None:
    pace, waits = Pace(), []
    for _ in range(9):
        waits.append(pace.failed(["bad"], 0.0))
        pace.sent(["good"])
    assert waits == [1, 2, 4, 8, 16, 32, MOST_APART, MOST_APART, MOST_APART]
    pace.forget("bad")
    assert pace.failed(["bad"], 0.0) == RETRY_AFTER


def test_while_nothing_can_be_sent_all_rest_and_none_waits_longer() -> None:
    pace = Pace()
    pace.failed(["a"], 5.0)
    assert pace.rest(5.0) == 0.0  # it may be the message, and not the broker
    assert [pace.failed(["a"], 6.0 + number) for number in range(3)] == [RETRY_AFTER] * 3
    assert pace.rest(8.5) == 0.5
    assert pace.at_once == 1
    for _ in range(9):
        pace.sent(["a"])
    assert pace.at_once == AT_ONCE
