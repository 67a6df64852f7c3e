"""Many calls at a time: how soon Python collects garbage meanwhile. What is sent: test_task.py."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from umbel import Umbel
from umbel.bulk import BATCH, EACH, Allowance
from umbel.message import Publication
from umbel.testing.conformance.support import PATIENCE

OWN = (700, 10, 10)
OBJECTS = 5000


@pytest.fixture(autouse=True)
def _thresholds() -> Iterator[None]:
    """Begin with Python's own thresholds, and put back what there was."""
    before = gc.get_threshold()
    gc.set_threshold(*OWN)
    yield
    gc.set_threshold(*before)


@pytest.fixture
def collections() -> Iterator[list[int]]:
    """Give a list that has an entry for each collection."""
    found: list[int] = []

    def note(phase: str, about: dict[str, Any]) -> None:
        if phase == "start":
            found.append(about["generation"])

    gc.callbacks.append(note)
    yield found
    gc.callbacks.remove(note)


def add(x: int, y: int) -> int:
    return x + y


def test_a_batch_is_not_looked_at_while_it_is_made(app: Umbel, collections: list[int]) -> None:
    """All that there is to look at in the end are its results."""
    seen: list[int] = []
    publish = app.publish

    def counting(publications: Sequence[Publication], options: Any = None) -> None:
        seen.append(len(collections))
        publish(publications, options)

    app.publish = counting  # type: ignore[method-assign]
    task = app.task(add)
    task.delay(1, 2)
    arguments = [(n, n) for n in range(BATCH)]
    gc.collect()
    collections.clear()
    results = task.delay_many(arguments)
    assert len(results) == BATCH
    assert seen[-1] == 0
    assert collections.count(0) <= 1


def test_a_batch_has_no_more_objects_than_are_allowed_for(app: Umbel) -> None:
    alive: list[int] = []
    publish = app.publish

    def counting(publications: Sequence[Publication], options: Any = None) -> None:
        alive.append(gc.get_count()[0])
        publish(publications, options)

    app.publish = counting  # type: ignore[method-assign]
    task = app.task(add)
    task.delay(1, 2)
    gc.collect()
    task.delay_many((n, n) for n in range(BATCH))
    assert BATCH < alive[-1] < BATCH * EACH * 0.8


def test_garbage_is_collected_within_a_block(collections: list[int]) -> None:
    with Allowance(OBJECTS):
        gc.collect()
        collections.clear()
        for _ in range(OBJECTS + 1000):
            circle: list[Any] = []
            circle.append(circle)
    assert collections == [0]


def test_the_thresholds_are_what_they_were_when_a_batch_fails(app: Umbel) -> None:
    with pytest.raises(TypeError):
        app.task(add).delay_many([(1, 2, 3)])
    assert gc.get_threshold() == OWN


@pytest.mark.parametrize("chosen", [(0, 10, 10), (50_000, 10, 10), (700 + OBJECTS, 5, 5)])
def test_who_chooses_thresholds_meanwhile_keeps_them(chosen: tuple[int, int, int]) -> None:
    with Allowance(OBJECTS):
        gc.set_threshold(*chosen)
    assert gc.get_threshold() == chosen


def test_a_program_without_collections_stays_so() -> None:
    gc.set_threshold(0)
    with Allowance(OBJECTS):
        assert gc.get_threshold()[0] == 0
    assert gc.get_threshold()[0] == 0


class Within:
    """A thread that stays in a block until it is let go."""

    def __init__(self, allowance: Allowance) -> None:
        self._allowance = allowance
        self._entered, self._leave = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._stay)

    def _stay(self) -> None:
        with self._allowance:
            self._entered.set()
            self._leave.wait(PATIENCE)

    def enter(self) -> None:
        self._thread.start()
        assert self._entered.wait(PATIENCE)

    def leave(self) -> None:
        self._leave.set()
        self._thread.join(PATIENCE)


def test_the_last_of_several_threads_ends_it() -> None:
    allowance = Allowance(OBJECTS)
    other = Within(allowance)
    with allowance:
        other.enter()
    assert gc.get_threshold() == (700 + OBJECTS, 10, 10)
    other.leave()
    assert gc.get_threshold() == OWN


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system knows no forks")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_child_of_a_fork_begins_without_it() -> None:
    allowance = Allowance(OBJECTS)
    other = Within(allowance)
    other.enter()
    try:
        child = os.fork()
        if not child:
            right = gc.get_threshold() == OWN
            with allowance:
                right = right and gc.get_threshold() == (700 + OBJECTS, 10, 10)
            os._exit(0 if right and gc.get_threshold() == OWN else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        other.leave()
