"""What a supervisor knows of a child."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ManualClock
from umbel.worker.bootstrap import Orders, Source
from umbel.worker.children import PAUSE, STATUS_WAIT, ChildProcess, Nursery
from umbel.worker.forkserver import Channel
from umbel.worker.page import Page

ORDERS = Orders(Source("app", "/", {}), ("celery",), "celery@host", "node", 1, "INFO")
#: No system has a process of this number.
NOBODY = 1 << 30


@pytest.fixture
def child(tmp_path: Path) -> Iterator[ChildProcess]:
    """A child that is gone, and nobody has told how."""
    page = Page.create(tmp_path / "child.page")
    page.identify(NOBODY, 1.0, "owner")
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ChildProcess(1, page, ours, 0.0, pid=NOBODY, hung_up=True)
    page.close()


def test_the_fork_server_has_a_moment_to_tell_how_a_child_ended(child: ChildProcess) -> None:
    assert not child.is_dead(10.0)
    assert not child.is_dead(10.0 + STATUS_WAIT)
    assert child.is_dead(10.1 + STATUS_WAIT)


def test_nobody_waits_for_the_word_of_a_dead_fork_server(child: ChildProcess) -> None:
    child.orphaned = True
    assert child.is_dead(10.0)


@pytest.mark.parametrize(
    ("told", "status", "well"),
    [
        (True, 0, True),
        (True, None, True),
        (True, 1, False),
        (True, -9, False),
        (False, 0, False),
        (False, None, False),
    ],
)
def test_which_ends_are_those_that_were_asked_for(
    child: ChildProcess, told: bool, status: int | None, well: bool
) -> None:
    child.told_to_stop, child.status = told, status
    assert child.went_as_told() is well


@pytest.mark.parametrize(("status", "well"), [(0, True), (None, True), (1, False), (-9, False)])
def test_a_child_may_leave_by_itself_when_it_has_said_so(
    child: ChildProcess, status: int | None, well: bool
) -> None:
    child.retires, child.status = True, status
    assert child.went_as_told() is well


def test_who_was_killed_for_a_time_limit(child: ChildProcess) -> None:
    assert not child.was_condemned()
    child.page.condemn("a")
    assert child.was_condemned()


def test_a_child_that_was_still_importing_may_end_as_it_likes(
    child: ChildProcess, tmp_path: Path
) -> None:
    child.page.close()
    child.page = Page.create(tmp_path / "other.page")
    child.told_to_stop, child.status = True, 1
    assert child.went_as_told()


@pytest.fixture
def nursery(clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Nursery]:
    """A nursery on a system that starts no process for it; it may not fork, as a socket is open."""
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Nursery(ORDERS.source, clock)


def test_a_fork_server_that_cannot_be_started_is_tried_again_later(
    nursery: Nursery, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    def told() -> int:
        return caplog.text.count("The fork server cannot be started; trying again.")

    for _ in range(3):
        assert not nursery.is_ready()
    assert (told(), nursery.connection) == (1, None)
    clock.now += PAUSE
    assert not nursery.is_ready()
    assert told() == 2


def test_a_child_that_cannot_be_spawned_leaves_nothing_open(
    nursery: Nursery, child: ChildProcess
) -> None:
    nursery._spawning = True
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(FileNotFoundError):
        nursery.start(1, child.page, ORDERS)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_child_that_a_dead_fork_server_should_fork(
    nursery: Nursery, child: ChildProcess, caplog: pytest.LogCaptureFixture
) -> None:
    ours, theirs = socket.socketpair()
    nursery._channel = Channel(ours)
    theirs.close()
    with pytest.raises(BrokenPipeError):
        nursery.start(1, child.page, ORDERS)
    nursery.listen()
    assert nursery.connection is None
    assert "The fork server died" in caplog.text


def test_nothing_is_said_of_a_fork_server_that_is_not_needed_any_more(
    nursery: Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    ours, theirs = socket.socketpair()
    nursery._channel = Channel(ours)
    theirs.close()
    nursery.listen(stopping=True)
    assert nursery.connection is None
    assert not caplog.messages
