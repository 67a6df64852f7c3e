"""A process dies at every fail point there is: between any two durable writes."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import umbel
from tests.faults.conftest import Form, Settle
from tests.faults.fleet import Fleet, wait_until
from umbel import failpoints

pytestmark = pytest.mark.faults
SOURCE = Path(umbel.__file__).parent
NAMES = failpoints.NAMES


def at(*beginnings: str) -> list[str]:
    """Return the fail points whose names begin like that."""
    return [name for name in NAMES if name.startswith(beginnings)]


def test_each_stands_in_the_source() -> None:
    code = "".join(path.read_text() for path in SOURCE.rglob("*.py"))
    assert [name for name in NAMES if f'fail_point("{name}")' not in code] == []


def test_each_is_died_at() -> None:
    tested = at("sqlite.publish", "sqlite.settle", "child.", "settler.", "supervisor.")
    assert set(tested) == set(NAMES)


@pytest.mark.parametrize("point", at("sqlite.publish"))
def test_client_dies(place: Path, form: Form, settle: Settle, point: str) -> None:
    with Fleet(place) as fleet:
        fleet.start("one")
        nth = form.dice.randint(1, 20)
        client = subprocess.run(
            [sys.executable, "tasks.py", "20", "work"],
            cwd=place,
            env=fleet.environment(fleet.fail_point(f"{point}=kill@{nth}")),
            check=False,
            timeout=30,
        )
        assert client.returncode == -signal.SIGKILL
        settle(fleet)
        sent = fleet.history().sent.values()
        assert [call.outcome for call in sent] == ["ok"] * (nth - 1) + ["unknown"]
        ran = len(fleet.started())
        assert ran == (nth if point.endswith("after_commit") else nth - 1)


@pytest.mark.parametrize("point", at("sqlite.settle", "child."))
def test_child_dies(place: Path, form: Form, settle: Settle, point: str) -> None:
    with Fleet(place) as fleet:
        fleet.start("one", environment=fleet.fail_point(f"{point}=kill@{form.dice.randint(1, 20)}"))
        _send_some(fleet, form.dice)
        wait_until(fleet.struck.exists, 10.0, f"a child to die at {point}")
        figures = settle(fleet)
        assert max(figures.recoveries, default=0.0) <= 1.0


def _send_some(fleet: Fleet, dice: random.Random) -> None:
    for _ in range(6):
        fleet.send("work", [(dice.uniform(0.0, 0.02),) for _ in range(10)])
    fleet.send("twice", [(0.005,)] * 10)
    fleet.send("once", [(0.005,)] * 10)


@pytest.mark.parametrize("point", at("settler."))
def test_child_dies_with_two_stores(place: Path, form: Form, settle: Settle, point: str) -> None:
    """Results in another file than messages: one step becomes two or three, and any may be the last."""
    with Fleet(place, broker_url=_file(place, 1), result_backend=_file(place, 2)) as fleet:
        environment = fleet.fail_point(f"{point}=kill")
        if point == "settler.after_publish":
            environment["FAULTS_BROKER"] = "two-steps"
            fleet.follow_ups_repeat = True
        fleet.start("one", environment=environment)
        _send_some(fleet, form.dice)
        wait_until(fleet.struck.exists, 10.0, f"a child to die at {point}")
        figures = settle(fleet)
        assert max(figures.recoveries, default=0.0) <= 1.0


def _file(directory: Path, number: int) -> str:
    return f"sqlite:///{directory}/{number}.db"


@pytest.mark.parametrize("point", at("supervisor."))
def test_supervisor_dies(place: Path, form: Form, settle: Settle, point: str) -> None:
    """It takes over what a dead child held, and dies over that; a neighbour finishes the work."""
    with Fleet(place) as fleet:
        (one,) = fleet.start("one", environment=fleet.fail_point(f"{point}=kill"))
        fleet.start("two")
        fleet.send("work", [(0.3,)] * 8)
        fleet.send("once", [(0.05,)] * 8)
        wait_until(lambda: len(fleet.started()) >= 4, 5.0, "all children to be busy")
        one.kill_child(form.dice.choice(one.children()))
        wait_until(fleet.struck.exists, 10.0, f"the supervisor to die at {point}")
        figures = settle(fleet)
        assert max(figures.recoveries, default=0.0) <= 3.0
