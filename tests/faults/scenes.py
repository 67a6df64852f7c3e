"""Scenes that bring a process to its fail points, on any engine."""

from __future__ import annotations

import random
import subprocess
import sys

from tests.faults.fleet import Fleet, Node, wait_until
from umbel.failpoints import NAMES


def at(*beginnings: str) -> list[str]:
    """Return the fail points whose names begin like that."""
    return [name for name in NAMES if name.startswith(beginnings)]


def operation_of(point: str) -> str:
    """Return what a fail point is part of."""
    return point.rpartition(".")[0]


def send_some(fleet: Fleet, dice: random.Random) -> None:
    for _ in range(6):
        fleet.send("work", [(dice.uniform(0.0, 0.02),) for _ in range(10)])
    fleet.send("twice", [(0.005,)] * 10)
    fleet.send("once", [(0.005,)] * 10)


def send_one(fleet: Fleet, dice: random.Random) -> None:
    """To children that wait, so that it is fetched for itself and not while others are settled."""
    fleet.send("work", [(dice.uniform(0.0, 0.02),)])


def send_early(fleet: Fleet, dice: random.Random) -> None:
    fleet.send("once", [(dice.uniform(0.0, 0.02),) for _ in range(10)])


def send_a_long_one(fleet: Fleet, dice: random.Random) -> None:
    """Among short ones, which the child that took them together gives back."""
    _let_children_take_many(fleet)
    fleet.send("work", [(dice.uniform(0.1, 0.2),)] + [(0.0,)] * 20)


def send_a_stuck_one(fleet: Fleet) -> None:
    """Before short ones, which the supervisor takes back from the child that cannot do so itself."""
    _let_children_take_many(fleet)
    fleet.send("stuck", [(0.7,)] + [(0.0,)] * 20)


def _let_children_take_many(fleet: Fleet) -> None:
    fleet.send("work", [(0.0,)] * 100)
    fleet.wait_until_quiet()


def run_client(fleet: Fleet, plan: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Let a process send 20 calls."""
    return subprocess.run(
        [sys.executable, "tasks.py", "20", "work", *options],
        cwd=fleet.directory,
        env=fleet.environment(fleet.fail_point(plan)),
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        timeout=30,
    )


def stop_under_load(fleet: Fleet, node: Node, dice: random.Random) -> None:
    fleet.send("work", [(0.001,)] * 50)
    fleet.send_load(10, dice)
    fleet.send_load(10, dice, "once")
    wait_until(fleet.started, 5.0, "a task to start")
    node.stop()
    assert node.wait() == 0, node.text()


def keep_busy(fleet: Fleet, children: int) -> None:
    fleet.send("work", [(0.2,)] * 2 * children)
    fleet.send("once", [(0.05,)] * 2 * children)
    wait_until(lambda: len(fleet.started()) >= children, 5.0, "all children to be busy")


def refusals(operation: str, dice: random.Random, most: int = 1) -> str:
    """Return the plan in which both fail points of an operation raise."""
    return ",".join(f"{point}=raise@{dice.randint(1, most)}" for point in at(f"{operation}."))
