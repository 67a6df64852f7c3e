"""Children that die: killed from outside, by their own task, or stuck."""

from __future__ import annotations

import random

import pytest

from tests.faults.conftest import Form, MakeFleet, Settle
from tests.faults.fleet import Fleet, Node, lasts, wait_until
from tests.faults.oracles import percentile
from tests.faults.scenes import EVERYWHERE
from umbel.clock import SYSTEM

pytestmark = pytest.mark.faults


@EVERYWHERE
def test_children_killed_under_load(make_fleet: MakeFleet, form: Form, settle: Settle) -> None:
    """P1: a random child is killed every 500 ms."""
    seconds, dice = form.pick(2.5, 60.0), form.dice
    with make_fleet() as fleet:
        nodes = fleet.start("one", "two")
        fleet.send_load(int(seconds * 100), dice)
        kills = 0
        for _ in lasts(seconds):
            children = [(node, pid) for node in nodes for pid in node.children()]
            if children:
                node, pid = dice.choice(children)
                node.kill_child(pid)
                kills += 1
            SYSTEM.sleep(0.5)
        figures = settle(fleet)
        assert figures.duplicates <= kills
        assert percentile(figures.recoveries, 0.99) <= 1.0


@pytest.mark.parametrize("pool", ["threads", "asyncio"])
def test_children_killed_with_many_tasks_in_flight(
    make_fleet: MakeFleet, form: Form, settle: Settle, pool: str
) -> None:
    """P1, with children that run eight tasks at a time: each takes all of them with it."""
    with make_fleet(worker_pool=pool, worker_processes=2) as fleet:
        fleet.concurrency = 8
        (node,) = fleet.start("one")
        for name in ("work", "wait"):
            fleet.send(name, [(0.4,)] * form.pick(24, 400))
        for _ in range(form.pick(2, 20)):
            wait_until(lambda: len(_running(fleet, node)) >= 8, 10.0, "many tasks to run")
            running = _running(fleet, node)
            pid = form.dice.choice(list(running.values()))
            node.kill_child(pid)
            # A task that dies three times is a dead letter, and runs alone before that.
            hit = {id for id, owner in running.items() if owner == pid}
            _wait_for_ends(fleet, hit)
        figures = settle(fleet)
        assert figures.dead == 0
        assert percentile(figures.recoveries, 0.99) <= 1.0


@EVERYWHERE
@pytest.mark.parametrize("pool", ["threads", "asyncio"])
def test_task_that_kills_its_process_and_its_neighbours(
    make_fleet: MakeFleet, form: Form, settle: Settle, pool: str
) -> None:
    """P5: others die with it, but it alone becomes a dead letter: before that, each has run alone."""
    with make_fleet(worker_pool=pool, worker_processes=2) as fleet:
        fleet.concurrency = 8
        fleet.start("one")
        poisoned: set[str] = set()
        for _ in range(form.pick(2, 20)):
            fleet.send("work", [(0.2,)] * 12)
            poisoned.update(fleet.send("poison", [()]))
            fleet.send("work", [(0.2,)] * 12)
        fleet.wait_until_quiet(form.pick(30.0, 120.0))  # what was hit often runs alone, one by one
        settle(fleet)
        assert set(fleet.evidence().dead) == poisoned


@pytest.mark.alone
@pytest.mark.parametrize("pool", ["prefork", "threads", "asyncio"])
def test_what_waits_behind_a_task_that_turns_out_long(
    make_fleet: MakeFleet, form: Form, settle: Settle, pool: str
) -> None:
    """It is handed back within half a second, and another child runs it."""
    with make_fleet(worker_pool=pool, worker_processes=2) as fleet:
        fleet.concurrency = 2 if pool == "prefork" else 1
        fleet.start("one")
        waits = []
        for _ in range(form.pick(2, 50)):
            fleet.send("work", [(0.0,)] * 100)  # of such a child takes many at a time
            long, *short = fleet.send("work", [(1.0,)] + [(0.0,)] * 30)
            _wait_for_ends(fleet, {long, *short})
            history = fleet.history()
            (begun,) = [start.t for start in history.starts if start.id == long]
            waits.append(max(end.t for end in history.ends if end.id in short) - begun)
        figures = settle(fleet, *waits)
        assert max(waits) <= 0.5, waits
        assert (figures.duplicates, figures.dead) == (0, 0)


def _running(fleet: Fleet, node: Node) -> dict[str, int]:
    """Return the tasks that run, by id, and the pids of the children in which they do."""
    children, history = set(node.children()), fleet.history()
    ended = {one.run for one in history.ends}
    runs = [one for one in history.starts if one.pid in children and one.run not in ended]
    return {one.id: one.pid for one in runs}


def _wait_for_ends(fleet: Fleet, ids: set[str]) -> None:
    def ended() -> bool:
        return ids <= {one.id for one in fleet.history().ends}

    wait_until(ended, 20.0, "tasks to end")


@EVERYWHERE
@pytest.mark.quick_on_rabbitmq
def test_task_that_kills_its_process(make_fleet: MakeFleet, form: Form, settle: Settle) -> None:
    """P5: 1 % of the tasks kill their process; each is a dead letter after three deliveries.

    What RabbitMQ gives back is marked and not counted, and of whoever held it nobody knows how it ended.
    """
    with make_fleet() as fleet:
        fleet.start("one", "two")
        poisoned = _send_mix(fleet, 200, form.dice)
        figures = settle(fleet)
        evidence, counts = fleet.evidence(), fleet.app.broker.features.counts
        assert figures.dead == len(poisoned)
        for id in poisoned:
            crashes = [start.crashes for start in evidence.starts(id)]
            assert crashes == [0, int(counts), 2], evidence.story(id)
            assert evidence.dead[id].startswith("3 processes died running it")
            assert "SIGKILL" in evidence.dead[id] or not counts


@EVERYWHERE
@pytest.mark.forms("full")
def test_neighbours_of_tasks_that_kill(make_fleet: MakeFleet, form: Form, settle: Settle) -> None:
    """P5: they keep 80 % of the pace that they have without such tasks."""
    with make_fleet() as fleet:
        fleet.start("one", "two")
        paces = []
        for poison in (False, True):
            begun = SYSTEM.monotonic()
            if poison:
                _send_mix(fleet, 2000, form.dice)
            else:
                fleet.send_load(1980, form.dice)
            fleet.wait_until_quiet(180.0)
            paces.append(1980 / (SYSTEM.monotonic() - begun))
        settle(fleet)
        assert paces[1] >= 0.8 * paces[0], paces


def _send_mix(fleet: Fleet, tasks: int, dice: random.Random) -> set[str]:
    poisoned: set[str] = set()
    for _ in range(tasks // 100):
        fleet.send_load(50, dice)
        poisoned.update(fleet.send("poison", [()]))
        fleet.send_load(49, dice)
    return poisoned


def test_child_stuck_in_c_code(make_fleet: MakeFleet, form: Form, settle: Settle) -> None:
    """What waits behind a task that holds the interpreter's lock runs elsewhere within a second."""
    with make_fleet() as fleet:
        fleet.start("one")
        fleet.send("work", [(0.0,)] * 300)  # so short that each child will take many at a time
        fleet.wait_until_quiet()
        # In one transaction, so that one child takes them all.
        # On Redis a child that waits is given the first alone.
        _, stuck, *behind = fleet.send("stuck", [(0.0,), (form.pick(2.0, 30.0),)] + [(0.0,)] * 20)
        wait_until(lambda: set(behind) <= fleet.started(), 3.0, "the others to run elsewhere")
        first = {start.id: start for start in reversed(fleet.history().starts)}
        delay = max(first[id].t for id in behind) - first[stuck].t
        assert first[stuck].pid not in {first[id].pid for id in behind}
        assert delay <= 1.0
        settle(fleet, delay)
