"""A process dies, or its broker refuses, at every fail point there is: between any two durable writes.

Each experiment plays its scene until the fail point has struck, and fails if it never does.
"""

from __future__ import annotations

import random
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import umbel
from tests.faults.conftest import Form, Settle
from tests.faults.fleet import Fleet, wait_until
from tests.faults.scenes import (
    at,
    keep_busy,
    operation_of,
    refusals,
    run_client,
    send_a_long_one,
    send_a_stuck_one,
    send_early,
    send_one,
    send_some,
    stop_under_load,
)
from umbel.failpoints import NAMES

pytestmark = pytest.mark.faults
SOURCE = Path(umbel.__file__).parent


# Who comes to which
CLIENT = at("sqlite.publish")
CHILD = at("child.", "sqlite.fetch", "sqlite.settle", "sqlite.mark_early", "sqlite.release")
LEAVING = at("sqlite.close")
TWO_STORES = at("settler.")
TAKING_OVER = at("supervisor.", "sqlite.reclaim")
TAKING_BACK = at("sqlite.take_back")


def test_each_stands_in_the_source() -> None:
    code = "".join(path.read_text() for path in SOURCE.rglob("*.py"))
    assert [name for name in NAMES if f'fail_point("{name}")' not in code] == []


def test_each_is_died_at() -> None:
    tested = [*CLIENT, *CHILD, *LEAVING, *TWO_STORES, *TAKING_OVER, *TAKING_BACK]
    # Those of Redis are in test_redis.py, which checks the same.
    assert sorted(tested) == [name for name in sorted(NAMES) if not name.startswith("redis.")]


#: What makes a child come to a fail point.
SCENES: dict[str, Callable[[Fleet, random.Random], None]] = {
    "child": send_some,
    "settler": send_some,
    "sqlite.fetch": send_one,
    "sqlite.settle": send_some,
    "sqlite.mark_early": send_early,
    "sqlite.release": send_a_long_one,
}


# Processes that die


@pytest.mark.parametrize("point", CLIENT)
def test_client_dies(place: Path, form: Form, settle: Settle, point: str) -> None:
    with Fleet(place) as fleet:
        fleet.start("one")
        nth = form.dice.randint(1, 20)
        client = run_client(fleet, f"{point}=kill@{nth}")
        assert client.returncode == -signal.SIGKILL
        assert fleet.has_struck(point)
        settle(fleet)
        sent = fleet.history().sent.values()
        assert [call.outcome for call in sent] == ["ok"] * (nth - 1) + ["unknown"]
        ran = len(fleet.started())
        assert ran == (nth if point.endswith("after_commit") else nth - 1)


@pytest.mark.parametrize("point", CHILD)
def test_child_dies(place: Path, form: Form, settle: Settle, point: str) -> None:
    dice, scene = form.dice, SCENES[operation_of(point)]
    with Fleet(place) as fleet:
        often = scene is send_some
        nth = dice.randint(1, 20 if often else 2)
        fleet.start("one", environment=fleet.fail_point(f"{point}=kill@{nth}"))
        fleet.until_struck([point], lambda: scene(fleet, dice))
        figures = settle(fleet)
        assert max(figures.recoveries, default=0.0) <= 1.0


@pytest.mark.parametrize("point", LEAVING)
def test_child_dies_while_leaving(place: Path, form: Form, settle: Settle, point: str) -> None:
    with Fleet(place) as fleet:
        (one,) = fleet.start("one", environment=fleet.fail_point(f"{point}=kill"))
        stop_under_load(fleet, one, form.dice)
        assert fleet.has_struck(point)
        fleet.start("two")
        figures = settle(fleet)
        assert figures.duplicates == 0


@pytest.mark.parametrize("point", TWO_STORES)
def test_child_dies_with_two_stores(place: Path, form: Form, settle: Settle, point: str) -> None:
    """Results in another file than messages: one step becomes two or three, and any may be the last."""
    dice = form.dice
    with _two_stores(place, point, "kill") as fleet:
        fleet.until_struck([point], lambda: send_some(fleet, dice))
        figures = settle(fleet)
        assert max(figures.recoveries, default=0.0) <= 1.0


@contextmanager
def _two_stores(place: Path, point: str, how: str) -> Iterator[Fleet]:
    """Start a node that keeps results in another file than messages, with a fail point."""
    with Fleet(place, broker_url=_file(place, 1), result_backend=_file(place, 2)) as fleet:
        environment = fleet.fail_point(f"{point}={how}")
        if point == "settler.after_publish":
            environment["FAULTS_BROKER"] = "two-steps"
            fleet.follow_ups_repeat = True
        fleet.start("one", environment=environment)
        yield fleet


def _file(directory: Path, number: int) -> str:
    return f"sqlite:///{directory}/{number}.db"


@pytest.mark.parametrize("point", TAKING_OVER)
def test_supervisor_dies(place: Path, form: Form, settle: Settle, point: str) -> None:
    """It takes over what a dead child held, and dies over that; a neighbour finishes the work."""
    with Fleet(place) as fleet:
        one = fleet.launch("one", fleet.fail_point(f"{point}=kill"))
        fleet.start("two")
        wait_until(one.is_ready, 30.0, "the first node to be ready")
        keep_busy(fleet, 4)
        one.kill_child(form.dice.choice(one.children()))
        wait_until(lambda: fleet.has_struck(point), 10.0, f"the supervisor to die at {point}")
        figures = settle(fleet)
        assert max(figures.recoveries, default=0.0) <= 3.0


@pytest.mark.parametrize("point", TAKING_BACK)
def test_supervisor_dies_taking_back(place: Path, form: Form, settle: Settle, point: str) -> None:
    """It takes back what waits in a stuck child, and dies over that."""
    with Fleet(place) as fleet:
        (one,) = fleet.start("one", environment=fleet.fail_point(f"{point}=kill"))
        one.children()  # has them noted as those whom its death disturbs
        fleet.until_struck([point], lambda: send_a_stuck_one(fleet))
        fleet.start("two")
        figures = settle(fleet)
        assert max(figures.recoveries, default=0.0) <= 3.0


@pytest.mark.parametrize("point", LEAVING)
def test_supervisor_dies_while_leaving(place: Path, form: Form, settle: Settle, point: str) -> None:
    """Its children died just before, so that it holds what they held, and is the first to leave."""
    with Fleet(place) as fleet:
        (one,) = fleet.start("one", environment=fleet.fail_point(f"{point}=kill"))
        fleet.send("work", [(1.0,)] * 4)
        wait_until(lambda: len(fleet.started()) >= 2, 5.0, "both children to be busy")
        children = one.children()
        one.stop()
        wait_until(lambda: "Warm shutdown" in one.text(), 5.0, "the node to stop")
        for pid in children:
            one.kill_child(pid)
        wait_until(lambda: fleet.has_struck(point), 10.0, f"the supervisor to die at {point}")
        assert fleet.struck_by(point) == one.pid
        assert one.wait() == -signal.SIGKILL
        fleet.start("two")
        settle(fleet)


# A broker that refuses: first to do something, then to say that it did


def test_client_is_refused(place: Path, form: Form, settle: Settle) -> None:
    """It tries again with the same tag, so that there is one message of each call.

    No worker runs meanwhile. That an answer gets lost is made up here, for SQLite is part of the client's
    process; an engine where it happens remembers tags longer than their messages (`Features.remembers`).
    """
    with Fleet(place) as fleet:
        client = run_client(fleet, refusals("sqlite.publish", form.dice, 20))
        assert (client.returncode, client.stdout) == (0, "")
        assert fleet.has_struck(*CLIENT)
        fleet.start("one")
        figures = settle(fleet)
        history = fleet.history()
        assert [call.outcome for call in history.sent.values()] == ["ok"] * 20
        assert len(history.starts) == 20
        assert figures.duplicates == 0


def test_client_that_does_not_try_again_is_told(place: Path, form: Form, settle: Settle) -> None:
    """It does not know then whether there is a message; there is, if the answer was all that failed."""
    with Fleet(place) as fleet:
        fleet.start("one")
        plan = refusals("sqlite.publish", form.dice, 19)
        client = run_client(fleet, plan, "--no-retry")
        assert client.returncode == 0
        told = sorted(client.stdout.splitlines())
        assert told == sorted(f"The fail point {point} struck." for point in CLIENT)
        figures = settle(fleet)
        history = fleet.history()
        assert [call.outcome for call in history.sent.values()].count("unknown") == 2
        assert len(history.starts) == 19
        assert figures.duplicates == 0


@pytest.mark.parametrize(
    "operation", ["sqlite.fetch", "sqlite.settle", "sqlite.mark_early", "sqlite.release"]
)
def test_child_is_refused(place: Path, form: Form, settle: Settle, operation: str) -> None:
    """It asks until it is answered, and nothing runs twice, whatever the broker did meanwhile."""
    dice, scene = form.dice, SCENES[operation]
    with Fleet(place) as fleet:
        plan = refusals(operation, dice, 10 if scene is send_some else 2)
        (one,) = fleet.start("one", environment=fleet.fail_point(plan))
        fleet.until_struck(at(operation), lambda: scene(fleet, dice))
        figures = settle(fleet)
        assert figures.duplicates == 0
        assert "was not stored" not in one.text()
        # The helper, who settles and gives back too, tries again without a word.
        if operation in ("sqlite.fetch", "sqlite.mark_early"):
            assert "The broker answers again" in one.text()


@pytest.mark.parametrize("point", TWO_STORES)
def test_child_is_refused_with_two_stores(
    place: Path, form: Form, settle: Settle, point: str
) -> None:
    """It settles the same again, of which the store and the broker have done a part: each task ran once."""
    dice = form.dice
    with _two_stores(place, point, f"raise@{dice.randint(1, 3)}") as fleet:
        fleet.until_struck([point], lambda: send_some(fleet, dice))
        figures = settle(fleet)
        assert figures.dead == 0
        if not fleet.follow_ups_repeat:
            assert figures.duplicates == 0


@pytest.mark.parametrize("point", at("child."))
def test_child_fails(place: Path, form: Form, settle: Settle, point: str) -> None:
    """What looks like no answer of the broker is waited out; anywhere else it is a bug, which ends the child.

    Then its supervisor takes over, as if it had been killed.
    """
    dice = form.dice
    with Fleet(place) as fleet:
        plan = f"{point}=raise@{dice.randint(1, 20)}"
        (one,) = fleet.start("one", environment=fleet.fail_point(plan))
        fleet.until_struck([point], lambda: send_some(fleet, dice))
        if point != "child.before_settle":
            fleet.note_end(point)
        figures = settle(fleet)
        assert figures.dead == 0
        ended = "ended with" in one.text()
        assert ended is (point != "child.before_settle")
        assert max(figures.recoveries, default=0.0) <= 1.0


def test_leaving_child_is_refused(place: Path, form: Form, settle: Settle) -> None:
    """It leaves all the same, and its supervisor takes over what it could not give back."""
    with Fleet(place) as fleet:
        plan = refusals("sqlite.close", form.dice)
        (one,) = fleet.start("one", environment=fleet.fail_point(plan))
        stop_under_load(fleet, one, form.dice)
        assert fleet.has_struck(*LEAVING)
        assert "Leaving without the broker's answer" in one.text()
        fleet.start("two")
        figures = settle(fleet)
        assert figures.duplicates == 0


@pytest.mark.parametrize("operation", ["sqlite.reclaim", "supervisor"])
def test_supervisor_is_refused_taking_over(
    place: Path, form: Form, settle: Settle, operation: str
) -> None:
    """Also what it took over without hearing of it runs again at once."""
    with Fleet(place) as fleet:
        plan = refusals(operation, form.dice)
        (one,) = fleet.start("one", environment=fleet.fail_point(plan))
        keep_busy(fleet, 2)
        one.kill_child(form.dice.choice(one.children()))
        figures = settle(fleet)
        assert fleet.has_struck(*at(f"{operation}."))
        assert "The broker does not answer the supervisor" in one.text()
        assert max(figures.recoveries, default=0.0) <= 2.0


def test_supervisor_is_refused_taking_back(place: Path, form: Form, settle: Settle) -> None:
    """It asks again, and what waits behind the stuck task runs elsewhere, once."""
    with Fleet(place) as fleet:
        plan = refusals("sqlite.take_back", form.dice)
        (one,) = fleet.start("one", environment=fleet.fail_point(plan))
        fleet.until_struck(TAKING_BACK, lambda: send_a_stuck_one(fleet))
        figures = settle(fleet)
        assert "The broker does not answer the supervisor" in one.text()
        assert figures.duplicates == 0
