"""A process dies, or its broker refuses, at every fail point there is: between any two durable writes.

Each experiment plays its scene until the fail point has struck, and fails if it never does.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import umbel
from tests.e2e.test_redis_cluster import BETWEEN_PLACES
from tests.faults import test_rabbitmq
from tests.faults.conftest import Form, MakeFleet, Settle
from tests.faults.fleet import Fleet, wait_until
from tests.faults.scenes import (
    SERVERS,
    at,
    at_each,
    keep_busy,
    operation_of,
    operations_of,
    points_of,
    refusals,
    run_client,
    scene_of,
    send_a_stuck_one,
    send_some,
    stop_under_load,
)
from tests.faults.test_chords import CHORDS
from tests.faults.test_references import PIECES
from umbel.failpoints import NAMES

pytestmark = pytest.mark.faults
SOURCE = Path(umbel.__file__).parent


# Who comes to which
CLIENT = points_of("publish")
CHILD = points_of("child", "fetch", "settle", "mark_early", "release")
LEAVING = points_of("close")
#: On a server what follows is always published in the step that settles.
TWO_STORES = [
    (engine, point)
    for engine, point in points_of("settler")
    if engine not in SERVERS or point != "settler.after_publish"
]
TAKING_OVER = points_of("supervisor", "reclaim")
TAKING_BACK = points_of("take_back")
#: In test_beats.py.
BEATS = points_of("beat", "change")


def test_each_stands_in_the_source() -> None:
    code = "".join(path.read_text() for path in SOURCE.rglob("*.py"))
    assert [name for name in NAMES if f'fail_point("{name}")' not in code] == []


def test_each_is_died_at() -> None:
    dying = (CLIENT, CHILD, LEAVING, TWO_STORES, TAKING_OVER, TAKING_BACK, CHORDS, PIECES, BEATS)
    tested = {point for scenes in dying for _, point in scenes}
    assert sorted(tested.union(test_rabbitmq.POINTS, BETWEEN_PLACES)) == sorted(NAMES)


# Processes that die


@at_each("point", CLIENT)
def test_client_dies(make_fleet: MakeFleet, form: Form, settle: Settle, point: str) -> None:
    with make_fleet() as fleet:
        fleet.start("one")
        nth = form.dice.randint(1, 20)
        client = run_client(fleet, f"{point}=kill@{nth}")
        assert client.returncode == -signal.SIGKILL
        assert fleet.has_struck(point)
        settle(fleet)
        sent = fleet.history().sent.values()
        assert [call.outcome for call in sent] == ["ok"] * (nth - 1) + ["unknown"]
        ran = len(fleet.started())
        assert ran == (nth if ".after" in point else nth - 1)


@pytest.mark.quick_on_servers
@at_each("point", CHILD)
def test_child_dies(make_fleet: MakeFleet, form: Form, settle: Settle, point: str) -> None:
    dice, scene = form.dice, scene_of(operation_of(point))
    with make_fleet() as fleet:
        often = scene is send_some
        nth = dice.randint(1, 20 if often else 2)
        fleet.start("one", environment=fleet.fail_point(f"{point}=kill@{nth}"))
        fleet.until_struck([point], lambda: scene(fleet, dice))
        figures = settle(fleet)
        assert max(figures.recoveries, default=0.0) <= 1.0


@pytest.mark.quick_on_servers
@at_each("point", LEAVING)
def test_child_dies_while_leaving(
    make_fleet: MakeFleet, form: Form, settle: Settle, point: str
) -> None:
    with make_fleet() as fleet:
        (one,) = fleet.start("one", environment=fleet.fail_point(f"{point}=kill"))
        stop_under_load(fleet, one, form.dice)
        assert fleet.has_struck(point)
        fleet.start("two")
        figures = settle(fleet)
        assert figures.duplicates == 0


@at_each("point", TWO_STORES)
def test_child_dies_with_two_stores(
    make_fleet: MakeFleet, place: Path, form: Form, settle: Settle, point: str
) -> None:
    """Results in another file than messages: one step becomes two or three, and any may be the last."""
    dice = form.dice
    with _two_stores(make_fleet, place, point, "kill") as fleet:
        fleet.until_struck([point], lambda: send_some(fleet, dice))
        figures = settle(fleet)
        assert max(figures.recoveries, default=0.0) <= 1.0


@contextmanager
def _two_stores(make_fleet: MakeFleet, place: Path, point: str, how: str) -> Iterator[Fleet]:
    """Start a node that keeps results in another file than messages, with a fail point."""
    with make_fleet(result_backend=f"sqlite:///{place}/results.db") as fleet:
        environment = fleet.fail_point(f"{point}={how}")
        if point == "settler.after_publish":
            environment["FAULTS_BROKER"] = "two-steps"
            fleet.follow_ups_repeat = True
        fleet.start("one", environment=environment)
        yield fleet


@pytest.mark.quick_on_servers
@at_each("point", TAKING_OVER)
def test_supervisor_dies(make_fleet: MakeFleet, form: Form, settle: Settle, point: str) -> None:
    """It takes over what a dead child held, and dies over that; a neighbour finishes the work."""
    with make_fleet() as fleet:
        one = fleet.launch("one", fleet.fail_point(f"{point}=kill"))
        fleet.start("two")
        wait_until(one.is_ready, 30.0, "the first node to be ready")
        keep_busy(fleet, 4)
        one.kill_child(form.dice.choice(one.children()))
        wait_until(lambda: fleet.has_struck(point), 10.0, f"the supervisor to die at {point}")
        figures = settle(fleet)
        assert max(figures.recoveries, default=0.0) <= 3.0


@pytest.mark.quick_on_servers
@at_each("point", TAKING_BACK)
def test_supervisor_dies_taking_back(
    make_fleet: MakeFleet, form: Form, settle: Settle, point: str
) -> None:
    """It takes back what waits in a stuck child, and dies over that."""
    with make_fleet() as fleet:
        (one,) = fleet.start("one", environment=fleet.fail_point(f"{point}=kill"))
        one.children()  # has them noted as those whom its death disturbs
        fleet.until_struck([point], lambda: send_a_stuck_one(fleet))
        fleet.start("two")
        figures = settle(fleet)
        assert max(figures.recoveries, default=0.0) <= 3.0


@at_each("point", LEAVING)
def test_supervisor_dies_while_leaving(
    make_fleet: MakeFleet, form: Form, settle: Settle, point: str
) -> None:
    """Its children died just before, so that it holds what they held, and is the first to leave."""
    with make_fleet() as fleet:
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


@pytest.mark.quick_on_servers
def test_client_is_refused(make_fleet: MakeFleet, form: Form, settle: Settle, engine: str) -> None:
    """It tries again with the same tag, so that there is one message of each call.

    No worker runs meanwhile, unless the engine remembers tags longer than their messages
    (`Features.remembers`). SQLite need not: it is part of the client's process, where no answer gets lost.
    """
    with make_fleet() as fleet:
        if fleet.app.broker.features.remembers:
            fleet.start("one")
        client = run_client(fleet, refusals(f"{engine}.publish", form.dice, 20))
        assert (client.returncode, client.stdout) == (0, "")
        assert fleet.has_struck(*at(f"{engine}.publish"))
        if not fleet.nodes:
            fleet.start("one")
        figures = settle(fleet)
        history = fleet.history()
        assert [call.outcome for call in history.sent.values()] == ["ok"] * 20
        assert len(history.starts) == 20
        assert figures.duplicates == 0


def test_client_that_does_not_try_again_is_told(
    make_fleet: MakeFleet, form: Form, settle: Settle, engine: str
) -> None:
    """It does not know then whether there is a message; there is, if the answer was all that failed."""
    with make_fleet() as fleet:
        fleet.start("one")
        plan = refusals(f"{engine}.publish", form.dice, 19)
        client = run_client(fleet, plan, "--no-retry")
        assert client.returncode == 0
        told = sorted(client.stdout.splitlines())
        assert told == sorted(
            f"The fail point {point} struck." for point in at(f"{engine}.publish")
        )
        figures = settle(fleet)
        history = fleet.history()
        assert [call.outcome for call in history.sent.values()].count("unknown") == 2
        assert len(history.starts) == 19
        assert figures.duplicates == 0


@pytest.mark.quick_on_servers
@at_each("operation", operations_of("fetch", "settle", "mark_early", "release"))
def test_child_is_refused(
    make_fleet: MakeFleet, form: Form, settle: Settle, operation: str
) -> None:
    """It asks until it is answered, and nothing runs twice, whatever the broker did meanwhile."""
    dice, scene = form.dice, scene_of(operation)
    with make_fleet() as fleet:
        plan = refusals(operation, dice, 10 if scene is send_some else 2)
        (one,) = fleet.start("one", environment=fleet.fail_point(plan))
        fleet.until_struck(at(f"{operation}."), lambda: scene(fleet, dice))
        figures = settle(fleet)
        assert figures.duplicates == 0
        assert "was not stored" not in one.text()
        # The helper, who settles and gives back too, tries again without a word.
        if operation.endswith(("fetch", "mark_early")):
            assert "The broker answers again" in one.text()


@at_each("point", TWO_STORES)
def test_child_is_refused_with_two_stores(
    make_fleet: MakeFleet, place: Path, form: Form, settle: Settle, point: str
) -> None:
    """It settles the same again, of which the store and the broker have done a part: each task ran once."""
    dice = form.dice
    with _two_stores(make_fleet, place, point, f"raise@{dice.randint(1, 3)}") as fleet:
        fleet.until_struck([point], lambda: send_some(fleet, dice))
        figures = settle(fleet)
        assert figures.dead == 0
        assert figures.duplicates == 0


@at_each("point", points_of("child"))
def test_child_fails(make_fleet: MakeFleet, form: Form, settle: Settle, point: str) -> None:
    """What looks like no answer of the broker is waited out; anywhere else it is a bug, which ends the child.

    Then its supervisor takes over, as if it had been killed.
    """
    dice = form.dice
    with make_fleet() as fleet:
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


def test_leaving_child_is_refused(
    make_fleet: MakeFleet, form: Form, settle: Settle, engine: str
) -> None:
    """It leaves all the same, and its supervisor takes over what it could not give back."""
    with make_fleet() as fleet:
        plan = refusals(f"{engine}.close", form.dice)
        (one,) = fleet.start("one", environment=fleet.fail_point(plan))
        stop_under_load(fleet, one, form.dice)
        assert fleet.has_struck(*at(f"{engine}.close"))
        assert "Leaving without the broker's answer" in one.text()
        fleet.start("two")
        figures = settle(fleet)
        assert figures.duplicates == 0


@at_each("operation", operations_of("reclaim", "supervisor"))
def test_supervisor_is_refused_taking_over(
    make_fleet: MakeFleet, form: Form, settle: Settle, operation: str
) -> None:
    """Also what it took over without hearing of it runs again at once."""
    with make_fleet() as fleet:
        plan = refusals(operation, form.dice)
        (one,) = fleet.start("one", environment=fleet.fail_point(plan))
        keep_busy(fleet, 2)
        one.kill_child(form.dice.choice(one.children()))
        figures = settle(fleet)
        assert fleet.has_struck(*at(f"{operation}."))
        assert "The broker does not answer the supervisor" in one.text()
        assert max(figures.recoveries, default=0.0) <= 2.0


def test_supervisor_is_refused_taking_back(
    make_fleet: MakeFleet, form: Form, settle: Settle, engine: str
) -> None:
    """It asks again, and what waits behind the stuck task runs elsewhere, once."""
    with make_fleet() as fleet:
        plan = refusals(f"{engine}.take_back", form.dice)
        (one,) = fleet.start("one", environment=fleet.fail_point(plan))
        fleet.until_struck(at(f"{engine}.take_back"), lambda: send_a_stuck_one(fleet))
        figures = settle(fleet)
        assert "The broker does not answer the supervisor" in one.text()
        assert figures.duplicates == 0
