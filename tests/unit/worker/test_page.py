from __future__ import annotations

import mmap
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from umbel.worker.page import _STATES_AT, CAPACITY, KEY_SIZE, SIZE, Held, Page, Snapshot


@pytest.fixture
def sides(tmp_path: Path) -> Iterator[tuple[Page, Page]]:
    """The page as its child and as its supervisor sees it."""
    supervisors = Page.create(tmp_path / "child.page")
    childs = Page.open(tmp_path / "child.page")
    childs.identify(4711, 12.5, "owner")
    yield childs, supervisors
    childs.close()
    supervisors.close()


def read(page: Page) -> Snapshot:
    found = page.read()
    assert found is not None
    return found


def test_the_file_is_its_owners_alone_and_new(tmp_path: Path) -> None:
    path = tmp_path / "child.page"
    Page.create(path).close()
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.stat().st_size == SIZE
    with pytest.raises(FileExistsError):
        Page.create(path)


@pytest.mark.parametrize("content", [b"", b"short"])
def test_a_file_that_is_no_page_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "child.page"
    path.write_bytes(content)
    with pytest.raises((OSError, ValueError)):
        Page.open(path)


def test_a_page_says_nothing_until_its_child_identified_itself(tmp_path: Path) -> None:
    page = Page.create(tmp_path / "child.page")
    assert page.read() is None
    page.identify(1, 2.0, "owner")
    found = read(page)
    assert (found.pid, found.started, found.owner, found.held) == (1, 2.0, "owner", {})
    page.close()


def test_the_way_of_a_batch(sides: tuple[Page, Page]) -> None:
    child, supervisor = sides
    child.load(["a", "b", "c", "d"])
    assert set(read(supervisor).held.items()) == {(key, Held.WAITING) for key in "abcd"}
    assert child.start(0, 5.0, soft=6.0, hard=7.0)
    found = read(supervisor)
    assert found.keys(Held.RUNNING) == ["a"]
    assert (found.running_since, found.soft_deadline, found.hard_deadline) == (5.0, 6.0, 7.0)
    child.finish(0)
    child.drop(3)
    found = read(supervisor)
    assert found.held == {"a": Held.FINISHED, "b": Held.WAITING, "c": Held.WAITING}
    assert found.keys(Held.WAITING) == ["b", "c"]
    child.clear()
    assert read(supervisor).held == {}


def test_a_child_and_its_supervisor_agree_on_what_exceeds_its_limit(
    sides: tuple[Page, Page],
) -> None:
    child, supervisor = sides
    child.load(["a" * 40, "b"])
    child.start(0, 5.0, hard=7.0)
    assert (supervisor.hard_deadline, read(supervisor).condemned) == (7.0, "")
    supervisor.condemn("a" * 40)
    assert read(supervisor).condemned == "a" * 40
    assert child.lift(0) == "a" * 40
    assert (supervisor.hard_deadline, read(supervisor).running_since) == (0.0, 5.0)
    supervisor.pardon()
    assert (child.lift(0), read(supervisor).condemned) == ("", "")
    assert read(supervisor).held == {"a" * 40: Held.RUNNING, "b": Held.WAITING}


def test_each_batch_has_a_number(sides: tuple[Page, Page]) -> None:
    child, supervisor = sides
    numbers = []
    for _ in range(3):
        child.load(["a"])
        numbers.append(read(supervisor).batch)
        child.clear()
    assert len(set(numbers)) == 3


def test_a_batch_shows_nothing_of_the_one_before(sides: tuple[Page, Page]) -> None:
    child, supervisor = sides
    child.load(["a-long-key", "b"])
    child.start(0, 1.0)
    child.finish(1)
    child.load(["c"])
    assert read(supervisor).held == {"c": Held.WAITING}


@pytest.mark.parametrize("count", [0, 1, CAPACITY])
def test_it_holds_its_capacity(sides: tuple[Page, Page], count: int) -> None:
    child, supervisor = sides
    keys = [f"{number:0{KEY_SIZE}}" for number in range(count)]
    child.load(keys)
    assert list(read(supervisor).held) == keys


def test_a_heartbeat(sides: tuple[Page, Page]) -> None:
    child, supervisor = sides
    child.beat(7.5)
    assert read(supervisor).heartbeat == 7.5


def test_identifying_again_changes_the_owner(sides: tuple[Page, Page]) -> None:
    child, supervisor = sides
    child.identify(4711, 12.5, "another")
    assert read(supervisor).owner == "another"


def test_both_owners_are_named_while_one_takes_over_from_the_other(
    sides: tuple[Page, Page],
) -> None:
    child, supervisor = sides
    assert read(supervisor).former == ""
    child.succeed("owner")
    child.identify(4711, 12.5, "another")
    assert (read(supervisor).former, read(supervisor).owner) == ("owner", "another")
    child.succeed("")
    assert (read(supervisor).former, read(supervisor).owner) == ("", "another")


def test_who_was_stopped_is_blameless(sides: tuple[Page, Page]) -> None:
    child, supervisor = sides
    child.load(["a", "b"])
    child.start(0, 1.0)
    assert read(supervisor).blameless().held == {"a": Held.FINISHED, "b": Held.WAITING}


def test_what_has_ended_is_blamed_where_nothing_ran(sides: tuple[Page, Page]) -> None:
    child, supervisor = sides
    child.load(["a", "b", "c"])
    child.start(0, 1.0)
    child.finish(0)
    assert read(supervisor).blamed().keys(Held.RUNNING) == ["a"]
    assert read(supervisor).blameless().blamed().keys(Held.RUNNING) == []
    child.start(1, 2.0)
    assert read(supervisor).blamed().keys(Held.RUNNING) == ["b"]
    child.finish(1)
    supervisor.condemn("b")
    assert read(supervisor).blamed().keys(Held.RUNNING) == []


# The fence


def test_nothing_of_a_fenced_batch_starts(sides: tuple[Page, Page]) -> None:
    child, supervisor = sides
    child.load(["a", "b"])
    assert child.start(0, 1.0)
    supervisor.fence(read(supervisor).batch)
    assert not child.start(1, 2.0)
    assert read(supervisor).held == {"a": Held.RUNNING, "b": Held.WAITING}


def test_the_next_batch_is_free(sides: tuple[Page, Page]) -> None:
    child, supervisor = sides
    child.load(["a"])
    supervisor.fence(read(supervisor).batch)
    assert not child.start(0, 1.0)
    child.clear()
    child.load(["b"])
    assert child.start(0, 1.0)


def test_a_fence_of_an_earlier_batch_has_no_effect(sides: tuple[Page, Page]) -> None:
    child, supervisor = sides
    child.load(["a"])
    seen = read(supervisor).batch
    child.load(["b"])
    supervisor.fence(seen)
    assert child.start(0, 1.0)


def test_of_each_delivery_child_or_supervisor_knows(sides: tuple[Page, Page]) -> None:
    """The fence may come at any moment: what started is never seen as waiting afterwards."""
    child, supervisor = sides
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(100):
            child.load(["a"] * 20)
            batch = read(supervisor).batch
            started: list[int] = []
            go = threading.Barrier(2)

            def run(go: threading.Barrier = go, started: list[int] = started) -> None:
                go.wait()
                started.extend(index for index in range(20) if child.start(index, 1.0))

            thread = threading.Thread(target=run)
            thread.start()
            go.wait()
            supervisor.fence(batch)
            thread.join()
            # All but those started before the fence was seen are waiting again.
            assert started == list(range(len(started)))
            states = supervisor._memory[_STATES_AT : _STATES_AT + 20]
            assert states == bytes(
                [Held.RUNNING] * len(started) + [Held.WAITING] * (20 - len(started))
            )
    finally:
        sys.setswitchinterval(interval)


class Interrupted(mmap.mmap):
    """Memory in which something happens between two looks of the same read."""

    between: list[Callable[[], None]]

    def __getitem__(self, place: Any) -> Any:
        if self.between:
            self.between.pop(0)()
        return super().__getitem__(place)


@pytest.mark.parametrize("moment", [0, 1])
def test_a_torn_batch_never_shows_keys_of_another(sides: tuple[Page, Page], moment: int) -> None:
    """The child may load its next batch at any moment of a read."""
    child, supervisor = sides
    with supervisor.path.open("r+b") as file:
        memory = Interrupted(file.fileno(), SIZE)
    memory.between = [lambda: None] * moment + [lambda: child.load(["new-1", "new-2"])]
    child.load(["old-1", "old-2", "old-3"])
    before = read(supervisor).batch
    found = read(Page(supervisor.path, memory))
    assert memory.between == []
    assert found.held.keys() == {"new-1", "new-2"}
    assert found.batch == before + 1
    memory.close()


def test_a_batch_that_is_being_loaded_is_empty(sides: tuple[Page, Page]) -> None:
    """A child may die in the middle of `load`; what is there then is not said to be held."""
    child, supervisor = sides
    child.load(["old-1", "old-2"])

    class Death(Exception):
        pass

    class Keys(list[str]):
        def __iter__(self) -> Iterator[str]:
            raise Death

    with pytest.raises(Death):
        child.load(Keys(["new-1", "new-2"]))
    assert read(supervisor).held == {}
