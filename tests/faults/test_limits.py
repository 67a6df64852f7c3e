"""Tasks that exceed their time, and children that are replaced: each task has one outcome."""

from __future__ import annotations

import random
from functools import partial
from itertools import pairwise

import pytest

from tests.faults.conftest import Form, MakeFleet, Settle
from tests.faults.fleet import Fleet, lasts, wait_until
from umbel import states
from umbel.clock import SYSTEM, unique_id

pytestmark = pytest.mark.faults


def send_limited(fleet: Fleet, name: str, seconds: float, limit: float) -> str:
    """Send a call that has a hard time limit; return its id."""
    id = unique_id()
    fleet.app.tasks[name].apply_async((seconds,), task_id=id, time_limit=limit)
    fleet.ledger.sent(id, "ok", early=name == "once")
    return id


def has_started(fleet: Fleet, id: str) -> bool:
    return id in fleet.started()


def lateness(fleet: Fleet, id: str, limit: float) -> float:
    """Wait until a task is recorded; return how much later than its limit that was."""
    result = fleet.app.AsyncResult(id)
    wait_until(result.ready, limit + 10.0, f"the result of {id}")
    found = SYSTEM.monotonic()
    (start,) = [start for start in fleet.history().starts if start.id == id]
    return found - start.t - limit


@pytest.mark.quick_on_servers
@pytest.mark.parametrize("name", ["stuck", "work", "once"])
def test_task_that_exceeds_its_hard_limit(
    make_fleet: MakeFleet, form: Form, settle: Settle, name: str
) -> None:
    """P6: it is recorded within a second, also if it holds the interpreter's lock."""
    limit = form.pick(0.4, 2.0)
    with make_fleet() as fleet:
        fleet.start("one")
        late = []
        for _ in range(form.pick(1, 20)):
            fleet.send_load(30, form.dice)
            id = send_limited(fleet, name, 600.0, limit)
            fleet.send_load(30, form.dice)
            late.append(lateness(fleet, id, limit))
        figures = settle(fleet, *late)
        assert max(late) <= 1.0, late
        assert (figures.duplicates, figures.dead) == (0, 0)


def test_tasks_that_end_at_their_limit(make_fleet: MakeFleet, form: Form, settle: Settle) -> None:
    """Each has ended in time or not; what ran before and after it in its process never pays for that."""
    limit = 0.1
    with make_fleet() as fleet:
        fleet.start("one")
        ids = []
        for _ in range(form.pick(12, 200)):
            seconds = limit + form.dice.uniform(-0.02, 0.01)
            ids.append(send_limited(fleet, "work", seconds, limit))
            fleet.send("work", [(0.0,)] * 3)
        figures = settle(fleet)
        evidence = fleet.evidence()
        assert (figures.duplicates, figures.dead) == (0, 0)
        assert all(len(evidence.starts(id)) == 1 for id in ids)
        assert {evidence.state(id) for id in ids} <= {states.SUCCESS, states.FAILURE}


def test_children_killed_while_tasks_exceed_their_limits(
    make_fleet: MakeFleet, form: Form, settle: Settle
) -> None:
    """A task that was killed with its process, by whomever, runs again or has failed."""
    seconds, dice = form.pick(2.5, 60.0), form.dice
    with make_fleet() as fleet:
        nodes = fleet.start("one", "two")
        kills = 0
        for left in lasts(seconds):
            _send_some(fleet, dice)
            children = [(node, pid) for node in nodes for pid in node.children()]
            if children and left > 0.3:
                node, pid = dice.choice(children)
                node.kill_child(pid)
                kills += 1
            SYSTEM.sleep(0.3)
        assert settle(fleet).duplicates <= kills


def _send_some(fleet: Fleet, dice: random.Random) -> None:
    fleet.send_load(15, dice)
    for _ in range(2):
        send_limited(fleet, "work", dice.choice((0.05, 600.0)), 0.15)


@pytest.mark.parametrize("pool", ["threads", "asyncio"])
def test_tasks_that_exceed_their_limits_among_many_in_a_process(
    make_fleet: MakeFleet, form: Form, settle: Settle, pool: str
) -> None:
    """P6, with children that run eight tasks at a time: recorded in time, and no neighbour counts a crash."""
    with make_fleet(worker_pool=pool, worker_processes=2) as fleet:
        fleet.concurrency = 8
        fleet.start("one")
        late, dice, limit = [], form.dice, form.pick(0.4, 2.0)
        for _ in range(form.pick(1, 10)):
            for name in ("wait", "work", "stuck"):
                fleet.send("work", [(dice.uniform(0.0, 0.5),) for _ in range(12)])
                fleet.send("wait", [(dice.uniform(0.0, 0.5),) for _ in range(12)])
                id = send_limited(fleet, name, 30.0, limit)
                wait_until(partial(has_started, fleet, id), 10.0, f"{id} to start")
                if name == "stuck":  # with it goes its process
                    (start,) = [start for start in fleet.history().starts if start.id == id]
                    fleet.ledger.fault("stuck", [start.pid], start.t)
                late.append(lateness(fleet, id, limit))
        figures = settle(fleet, *late)
        assert max(late) <= 1.0, late
        assert figures.dead == 0


@pytest.mark.parametrize("threads", [False, True])
def test_children_that_are_replaced_after_each_task(
    make_fleet: MakeFleet, form: Form, settle: Settle, threads: bool
) -> None:
    """P7: no task is lost, runs twice, or waits for a child that hangs.

    Also where the app leaves a thread that holds a lock.
    """
    tasks = form.pick(4, 60) if threads else form.pick(20, 500)
    with make_fleet(worker_max_tasks_per_child=1) as fleet:
        fleet.start("one", environment={"FAULTS_THREAD": "1"} if threads else {})
        ids = fleet.send("work", [(0.001,)] * tasks)
        fleet.wait_until_quiet(tasks * 5.0)
        figures = settle(fleet)
        assert (figures.duplicates, figures.dead) == (0, 0)
        starts = [start for start in fleet.history().starts if start.id in ids]
        assert len({start.pid for start in starts}) == tasks
        moments = sorted(start.t for start in starts)
        assert all(after - before <= 5.0 for before, after in pairwise(moments))
