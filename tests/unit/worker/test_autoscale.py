from __future__ import annotations

import pytest

from umbel.exceptions import ImproperlyConfigured
from umbel.worker.autoscale import Autoscaler, Bounds, keepalive


@pytest.fixture
def scaler() -> Autoscaler:
    return Autoscaler(Bounds(most=10, fewest=2), 30.0)


@pytest.mark.parametrize(
    ("present", "busy", "waiting", "wanted"),
    [
        (2, 2, 1, 3),
        (2, 2, 50, 4),  # at most twice as many
        (8, 8, 50, 10),
        (10, 10, 50, 10),
        (2, 2, 0, 2),  # nothing waits
        (2, 1, 50, 2),  # somebody takes it
    ],
)
def test_it_grows_while_all_are_busy_and_more_waits(
    scaler: Autoscaler, present: int, busy: int, waiting: int, wanted: int
) -> None:
    assert scaler.wanted(100.0, present, busy, waiting) == wanted


def test_nobody_is_asked_what_waits_where_that_changes_nothing(scaler: Autoscaler) -> None:
    assert scaler.may_grow(2, 2)
    assert not scaler.may_grow(2, 1)
    assert not scaler.may_grow(10, 10)


def test_those_that_idle_leave_after_a_while(scaler: Autoscaler) -> None:
    assert scaler.wanted(100.0, 8, 8, 0) == 8
    assert scaler.wanted(130.0, 8, 3, 0) == 8
    assert scaler.wanted(130.1, 8, 3, 0) == 3
    assert scaler.wanted(131.0, 3, 0, 0) == 3  # the others again only after that time
    assert scaler.wanted(160.2, 3, 0, 0) == 2
    assert scaler.wanted(260.0, 2, 0, 0) == 2


def test_how_long_is_celerys_variable() -> None:
    assert keepalive({}) == 30.0
    assert keepalive({"AUTOSCALE_KEEPALIVE": "0.5"}) == 0.5
    with pytest.raises(
        ImproperlyConfigured, match="AUTOSCALE_KEEPALIVE is 'long', which is no num"
    ):
        keepalive({"AUTOSCALE_KEEPALIVE": "long"})


def test_where_children_have_many_slots_all_of_them_are_to_be_taken() -> None:
    scaler = Autoscaler(Bounds(most=400, fewest=50).divided(100), 30.0, slots=100)
    assert not scaler.may_grow(1, 99)
    assert scaler.may_grow(1, 100)
    assert scaler.wanted(100.0, 1, 100, 1) == 2
    assert scaler.wanted(101.0, 2, 200, 150) == 4
    assert scaler.wanted(102.0, 4, 400, 500) == 4
    # As few as have slots for what runs.
    assert scaler.wanted(140.0, 4, 201, 0) == 3
    assert scaler.wanted(180.0, 3, 1, 0) == 1
