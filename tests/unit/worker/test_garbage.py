"""How soon a child collects garbage."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import pytest

from umbel.worker.garbage import EACH, Allowance

BATCH = 300


@pytest.fixture(autouse=True)
def _thresholds() -> Iterator[None]:
    """Begin with Python's own thresholds, and put back what there was."""
    before = gc.get_threshold()
    gc.set_threshold(700, 10, 10)
    yield
    gc.set_threshold(*before)


@pytest.fixture
def collections() -> Iterator[list[str]]:
    """Give a list that has an entry for each collection."""
    found: list[str] = []

    def note(phase: str, _: dict[str, Any]) -> None:
        if phase == "start":
            found.append(phase)

    gc.callbacks.append(note)
    yield found
    gc.callbacks.remove(note)


def batch() -> list[list[Any]]:
    """Return as many objects as a batch consists of."""
    return [[None] for _ in range(BATCH * EACH)]


def test_what_a_batch_consists_of_is_not_looked_at(collections: list[str]) -> None:
    allowance = Allowance()
    allowance.expect(BATCH)
    gc.collect()
    collections.clear()
    for _ in range(5):
        allowance.expect(BATCH)
        held = batch()
        assert held
        del held
    assert collections == []


def test_without_an_allowance_it_is(collections: list[str]) -> None:
    held = batch()
    assert held
    assert len(collections) > 5


def test_garbage_is_collected_within_a_batch(collections: list[str]) -> None:
    Allowance().expect(BATCH)
    gc.collect()
    collections.clear()
    for _ in range(BATCH * EACH + 1000):
        circle: list[Any] = []
        circle.append(circle)
    assert collections


def test_the_next_batch_has_an_allowance_of_its_own() -> None:
    allowance = Allowance()
    allowance.expect(BATCH)
    assert gc.get_threshold() == (700 + BATCH * EACH, 10, 10)
    allowance.expect(1)
    assert gc.get_threshold() == (700 + EACH, 10, 10)


@pytest.mark.parametrize("chosen", [(0, 10, 10), (50_000, 10, 10), (700 + BATCH * EACH, 5, 5)])
def test_who_chooses_thresholds_keeps_them(chosen: tuple[int, int, int]) -> None:
    allowance = Allowance()
    allowance.expect(BATCH)
    gc.set_threshold(*chosen)
    allowance.expect(1)
    assert gc.get_threshold() == chosen


def test_an_app_without_collections_stays_so() -> None:
    gc.set_threshold(0)
    Allowance().expect(BATCH)
    assert gc.get_threshold()[0] == 0
