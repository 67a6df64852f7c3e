"""The page of a child that runs many deliveries at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from umbel.worker.page import CAPACITY, Course, Held, Page
from umbel.worker.slot_page import SlotPage


@pytest.fixture
def page(tmp_path: Path) -> Iterator[SlotPage]:
    page = SlotPage.create(tmp_path / "a.page", SlotPage.capacity_for(4))
    page.identify(1, 2.0, "owner")
    yield page
    page.close()


def put(page: SlotPage, *keys: str) -> list[int]:
    indexes = [page.take() for _ in keys]
    page.put(indexes, keys)
    return indexes


def test_what_runs_has_a_clock_of_its_own(page: SlotPage) -> None:
    first, second, _ = put(page, "a", "b", "c")
    assert page.start(first, 10.0, 11.0, 12.0)
    assert page.start(second, 20.0)
    snapshot = Page.open(page.path).read()  # as a supervisor does
    assert snapshot is not None
    assert snapshot.held == {"a": Held.RUNNING, "b": Held.RUNNING, "c": Held.WAITING}
    assert snapshot.courses == {"a": Course(10.0, 11.0, 12.0), "b": Course(20.0)}
    assert snapshot.running_since == 20.0
    seen = page.glance()
    assert (seen.held, seen.waiting, seen.running, seen.running_since) == (3, 1, 2, 20.0)
    page.finish(first)
    snapshot = page.read()
    assert snapshot is not None
    assert snapshot.keys(Held.FINISHED) == ["a"]


def test_places_are_used_again(page: SlotPage) -> None:
    assert page.room == 4 + CAPACITY
    for _ in range(3 * (4 + CAPACITY)):
        (index,) = put(page, "a")
        assert page.start(index, 1.0)
        page.finish(index)
        page.drop(index)
    assert page.room == 4 + CAPACITY
    assert page.glance().held == 0


def test_a_fence_closes_all_batches_up_to_one(page: SlotPage) -> None:
    (old,) = put(page, "old")
    (middle,) = put(page, "middle")
    page.fence(page.glance().batch)
    (new,) = put(page, "new")
    assert not page.start(old, 1.0)
    assert not page.start(middle, 1.0)
    assert page.start(new, 1.0)
    snapshot = page.read()
    assert snapshot is not None
    assert snapshot.keys(Held.WAITING) == ["old", "middle"]


def test_a_file_of_another_size_is_no_page(page: SlotPage) -> None:
    with page.path.open("ab") as file:
        file.write(b"x")
    with pytest.raises(ValueError, match="is no page of a child"):
        Page.open(page.path)
