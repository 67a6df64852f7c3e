"""What is revoked never starts, whoever dies meanwhile, and nobody else is hurt by what ends a task."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from tests.faults.conftest import Form, MakeFleet
from tests.faults.fleet import Fleet, Node
from umbel.clock import SYSTEM, unique_id

pytestmark = [pytest.mark.faults, pytest.mark.quick_on_servers]


def test_what_is_revoked_before_its_time_never_starts(make_fleet: MakeFleet, form: Form) -> None:
    """X5: calls for a moment from now, half of them revoked before; children, nodes and all of them die."""
    rounds, dice = form.pick(6, 250), form.dice
    with make_fleet() as fleet:
        nodes = fleet.start("one", "two")
        revoked, others = set[str](), set[str]()
        for number in range(rounds):
            for _ in range(2):
                sent, gone = _send_and_revoke(fleet, dice)
                revoked |= gone
                others |= sent - gone
                nodes = _kill_any(fleet, nodes, dice)
            if number % 3 == 2:  # all are down, and who comes then has heard of nothing
                for node in nodes:
                    node.kill_all()
                sent, gone = _send_and_revoke(fleet, dice)
                revoked |= gone
                others |= sent - gone
                nodes = fleet.start("one", "two")
        fleet.wait_until_quiet(60.0)
        fleet.stop()
        starts = Counter(start.id for start in fleet.history().starts)
        assert not starts.keys() & revoked
        states = _states(fleet, revoked | others)
        assert {states[one] for one in revoked} == {"REVOKED"}
        # By chance the same one may run whenever a child is killed: then it is a dead letter.
        most = fleet.app.conf.worker_max_deliveries
        unlucky = {one for one in others if starts[one] >= most}
        failed = {
            one: str(fleet.app.AsyncResult(one).result)
            for one in others
            if states[one] != "SUCCESS"
        }
        assert not {one: (starts[one], why) for one, why in failed.items() if one not in unlucky}
        assert all(f"{most} processes died running it" in why for why in failed.values())
        assert len(revoked) >= rounds * 20


def test_ending_tasks_hurts_no_other(make_fleet: MakeFleet, form: Form) -> None:
    """X5: short tasks are terminated at random moments, many of which have just ended."""
    rounds, dice = form.pick(4, 200), form.dice
    with make_fleet() as fleet:
        fleet.start("one")
        revoked, sent = set[str](), set[str]()
        for _ in range(rounds):
            sent.update(fleet.send_load(40, dice))
            for _ in range(5):
                running = [start.id for start in fleet.history().starts[-3:]]
                for one in set(running) - revoked:
                    fleet.app.control.terminate(one)
                    revoked.add(one)
                SYSTEM.sleep(dice.uniform(0.0, 0.1))
        fleet.wait_until_quiet(60.0)
        fleet.stop()
        states = _states(fleet, sent)
        assert {states[one] for one in sent - revoked} == {"SUCCESS"}
        assert {states[one] for one in revoked} <= {"SUCCESS", "REVOKED"}
        starts = Counter(start.id for start in fleet.history().starts)
        assert max(starts.values()) == 1  # nothing ran again for the end of another
        assert not fleet.app.queues.dead_letters(1)


def _send_and_revoke(fleet: Fleet, dice: random.Random) -> tuple[set[str], set[str]]:
    """Send calls, and revoke half of them; return the ids, and those that were revoked before their time.

    Some are revoked by their ids, and some by a stamp of which each has a value of its own.
    """
    task, due, lots = fleet.app.tasks["work"], {}, {}
    for number in range(30):
        later, lot = dice.uniform(0.3, 1.0), [number, unique_id()]
        call, begun = task.s(dice.uniform(0.0, 0.01)).stamp(lot=lot), SYSTEM.time()
        sent = call.apply_async(countdown=later).id
        due[sent], lots[sent] = begun + later, lot[1]
    chosen = dice.sample(sorted(due), 15)
    gone = set[str]()
    for first in range(0, len(chosen), 5):
        some = chosen[first : first + 5]
        if dice.random() < 0.5:
            fleet.app.control.revoke(some)
        else:
            fleet.app.control.revoke_by_stamped_headers({"lot": [lots[one] for one in some]})
        # A message may be returned a millisecond early: stores keep no more.
        gone |= {one for one in some if SYSTEM.time() < due[one] - 0.01}
    late = set(chosen) - gone
    return due.keys() - late, gone


def _kill_any(fleet: Fleet, nodes: list[Node], dice: random.Random) -> list[Node]:
    """Kill a child, a supervisor or a whole node, which is started again."""
    node, how = dice.choice(nodes), dice.random()
    children = node.children()
    if how < 0.7 and children:
        node.kill_child(dice.choice(children))
        return nodes
    (node.kill_supervisor if how < 0.85 else node.kill_all)()
    return [one for one in nodes if one is not node] + fleet.start(node.name)


def _states(fleet: Fleet, ids: set[str]) -> dict[str, str]:
    return {one: fleet.app.AsyncResult(one).state for one in ids}
