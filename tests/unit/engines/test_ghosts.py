"""Owners whose attaching was not answered are forgotten, also when they come late."""

from __future__ import annotations

import pytest

from tests.conftest import ManualClock
from umbel.engines.ghosts import LATE, Ghosts
from umbel.exceptions import OperationalError


def fail(ghosts: Ghosts, name: str) -> list[str]:
    """Fail to attach an owner; return what was to be forgotten."""
    with pytest.raises(OperationalError), ghosts.attaching(name) as found:
        raise OperationalError("away")
    return found


def attach(ghosts: Ghosts, name: str) -> list[str]:
    with ghosts.attaching(name) as found:
        return found


def test_each_that_attaches_forgets_those_before_for_as_long_as_they_may_come() -> None:
    clock = ManualClock()
    ghosts = Ghosts(clock)
    assert fail(ghosts, "a") == []
    assert fail(ghosts, "b") == ["a"]
    clock.now += LATE - 1
    assert attach(ghosts, "c") == ["a", "b"] == ghosts.names()
    clock.now += 2
    assert attach(ghosts, "d") == ["a", "b"]
    assert attach(ghosts, "e") == [] == ghosts.names()


def test_who_attaches_in_the_end_is_not_forgotten() -> None:
    ghosts = Ghosts(ManualClock())
    fail(ghosts, "a")
    fail(ghosts, "a")
    assert attach(ghosts, "a") == []
    assert attach(ghosts, "b") == [] == ghosts.names()


def test_who_is_attached_by_one_thread_and_not_by_another_is_not_forgotten() -> None:
    """As where an owner takes leases from several places."""
    ghosts = Ghosts(ManualClock())
    attach(ghosts, "a")
    fail(ghosts, "a")
    assert attach(ghosts, "b") == [] == ghosts.names()
    with ghosts.attaching("c"):
        fail(ghosts, "c")
    assert attach(ghosts, "b") == [] == ghosts.names()
