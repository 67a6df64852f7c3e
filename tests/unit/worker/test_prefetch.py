from __future__ import annotations

import pytest

from umbel.worker.page import CAPACITY
from umbel.worker.prefetch import TARGET, Pace, Prefetch


def grown(prefetch: Prefetch, seconds: float, batches: int = 50) -> list[int]:
    """Run batches of tasks of a length; return the limit after each."""
    limits = []
    for _ in range(batches):
        prefetch.observe(prefetch.limit, prefetch.limit * seconds)
        limits.append(prefetch.limit)
    return limits


def test_it_begins_with_one() -> None:
    assert Prefetch().limit == 1


def test_tiny_tasks_fill_the_page() -> None:
    limits = grown(Prefetch(), 1e-6)
    assert limits[-1] == CAPACITY
    assert all(later <= 2 * earlier for earlier, later in zip([1, *limits], limits, strict=False))


@pytest.mark.parametrize(("seconds", "affordable"), [(0.001, 30), (0.005, 6), (0.02, 1), (10.0, 1)])
def test_it_holds_what_runs_within_the_target(seconds: float, affordable: int) -> None:
    assert abs(grown(Prefetch(), seconds)[-1] - affordable) <= 1


def test_it_falls_at_once_when_tasks_turn_out_long() -> None:
    prefetch = Prefetch()
    grown(prefetch, 1e-6)
    prefetch.observe(CAPACITY, CAPACITY * 2 * TARGET)
    assert prefetch.limit == 1


def test_one_short_batch_does_not_make_it_forget() -> None:
    prefetch = Prefetch()
    grown(prefetch, 1.0, 5)
    prefetch.observe(1, 1e-6)
    assert prefetch.limit == 1


@pytest.mark.parametrize("bound", [1, 4, 100])
def test_a_bound_is_kept(bound: int) -> None:
    assert max(grown(Prefetch(bound), 1e-6)) == bound


@pytest.mark.parametrize("bound", [0, CAPACITY, 10 * CAPACITY])
def test_no_bound_is_above_the_page(bound: int) -> None:
    assert max(grown(Prefetch(bound), 1e-6)) == CAPACITY


def test_tasks_that_take_no_time_at_all() -> None:
    prefetch = Prefetch()
    prefetch.observe(1, 0.0)
    assert prefetch.limit >= 1


def test_settling_is_no_part_of_what_tasks_take() -> None:
    pace = Pace()
    pace.begin(100.0)
    pace.waited(0.5)
    pace.waited(0.25)
    assert pace.worked(101.0) == 0.25
    pace.begin(200.0)
    assert pace.worked(200.5) == 0.5


def test_settled_every_ten_milliseconds_where_that_costs_little() -> None:
    pace = Pace()
    pace.begin(100.0)
    assert not pace.is_due(100.009)
    assert pace.is_due(100.011)
    pace.settled(100.011, 100.012)
    assert not pace.is_due(100.021)
    assert pace.is_due(100.023)


def test_a_slow_settle_is_made_less_often() -> None:
    pace = Pace()
    pace.settled(99.0, 99.05)
    pace.begin(100.0)
    assert not pace.is_due(100.19)
    assert pace.is_due(100.21)
