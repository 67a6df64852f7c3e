"""Scenes that bring a process to its fail points, on any engine."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest

from tests.faults.fleet import Fleet, Node, wait_until
from umbel.failpoints import NAMES

ENGINES = ("sqlite", "redis", "postgres")
#: Those that are servers.
SERVERS = ENGINES[1:]
#: RabbitMQ with classic queues, and with quorum queues. Only experiments that name it are made there.
RABBITMQ = ("rabbitmq", "quorum")
#: An engine, and a fail point to which a process on it can come, or the operation that has such points.
Place = tuple[str, str]


def at(*beginnings: str) -> list[str]:
    """Return the fail points whose names begin like that."""
    return [name for name in NAMES if name.startswith(beginnings)]


def points_of(*parts: str, engines: Sequence[str] = ENGINES) -> list[Place]:
    """Return the fail points of operations of engines, or of a part of the worker on each engine."""
    found = []
    for name in NAMES:
        first, second = name.split(".")[:2]
        if first in parts:
            found += [(engine, name) for engine in engines]
        elif second in parts:
            found += [(engine, name) for engine in engines if first == _kind(engine)]
    return found


def _kind(engine: str) -> str:
    return "rabbitmq" if engine in RABBITMQ else engine


def operations_of(*parts: str) -> list[Place]:
    """Return the same without what is before or after."""
    return sorted({(engine, operation_of(point)) for engine, point in points_of(*parts)})


def at_each(name: str, places: Iterable[Place]) -> pytest.MarkDecorator:
    """Play an experiment at each of these, which is given as `name`."""
    return pytest.mark.parametrize(
        ("engine", name), [on(engine, place, id=_id(engine, place)) for engine, place in places]
    )


def on(engine: str, *values: str, id: str | None = None) -> Any:
    """Return parameters of an experiment on an engine."""
    marks = [] if engine == "sqlite" else [pytest.mark.engine]
    return pytest.param(engine, *values, marks=marks, id=id)


def _id(engine: str, place: str) -> str:
    return place if place.startswith(engine) else f"{engine}-{place}"


#: Play an experiment on RabbitMQ, too.
EVERYWHERE = pytest.mark.parametrize("engine", [on(engine) for engine in (*ENGINES, *RABBITMQ)])


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
    _let_one_child_take_many(fleet)
    fleet.send("work", [(0.0,), (dice.uniform(0.1, 0.2),)] + [(0.0,)] * 20)


def send_a_stuck_one(fleet: Fleet) -> None:
    """Before short ones, which the supervisor takes back from the child that cannot do so itself."""
    _let_one_child_take_many(fleet)
    fleet.send("stuck", [(0.0,), (0.7,)] + [(0.0,)] * 20)


#: What makes a child come to the fail points of an operation, where that is not what is sent otherwise.
SCENES: dict[str, Callable[[Fleet, random.Random], None]] = {
    "fetch": send_one,
    "claim": send_early,
    "mark_early": send_early,
    "release": send_a_long_one,
}


def scene_of(operation: str) -> Callable[[Fleet, random.Random], None]:
    """Return what makes a child come to the fail points of an operation."""
    return SCENES.get(operation.rpartition(".")[2], send_some)


def _let_one_child_take_many(fleet: Fleet) -> None:
    """Let children find that tasks are short, and then keep one of the two busy for a while.

    The other is given the first of what comes next, and takes the rest together.
    """
    fleet.send("work", [(0.0,)] * 100)
    fleet.wait_until_quiet()
    (busy,) = fleet.send("work", [(0.3,)])
    wait_until(lambda: busy in fleet.started(), 5.0, "a child to be busy")


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
