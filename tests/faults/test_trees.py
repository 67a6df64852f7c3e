"""Random workflows come to what plain Python evaluates them to, while processes die all the time."""

from __future__ import annotations

import pytest

from tests.faults.conftest import Form, MakeFleet
from tests.faults.fleet import Fleet, lasts
from tests.faults.oracles import Figures
from tests.unit.canvas.trees import evaluate, random_tree, signature
from umbel.clock import SYSTEM

pytestmark = pytest.mark.faults

#: Seconds between two deaths, and seconds that all may take.
PAUSE, PATIENCE = 0.3, 120.0


@pytest.mark.forms("short", "full")
def test_random_workflows_under_random_kills(make_fleet: MakeFleet, form: Form) -> None:
    """X3: children and whole nodes are killed until all have come to their ends."""
    # Each call may die as often as it happens to: this is not about dead letters.
    with make_fleet(worker_max_deliveries=1000) as fleet:
        run_under_kills(fleet, form)


@pytest.mark.engine
@pytest.mark.forms("short", "full")
def test_random_workflows_on_rabbitmq_under_random_kills(
    make_rabbit_fleet: MakeFleet, form: Form
) -> None:
    """The same where messages are on RabbitMQ, and results elsewhere."""
    with make_rabbit_fleet(worker_max_deliveries=1000) as fleet:
        run_under_kills(fleet, form)


def run_under_kills(fleet: Fleet, form: Form) -> None:
    """Kill until all workflows have ended, and compare what they came to."""
    dice, kills = form.dice, 0
    nodes = fleet.start("one", "two")
    trees = [random_tree(dice, 3) for _ in range(form.pick(40, 1000))]
    results = [signature(tree, fleet.app).apply_async(("x",)) for tree in trees]
    for _ in lasts(PATIENCE):
        if all(result.ready() for result in results):
            break
        if dice.random() < 0.1:
            place = dice.randrange(2)
            nodes[place].kill_all()
            nodes[place].destroy()
            nodes[place] = fleet.launch(nodes[place].name, {})
            kills += 1
        elif children := [(node, pid) for node in nodes for pid in node.children()]:
            node, pid = dice.choice(children)
            node.kill_child(pid)
            kills += 1
        SYSTEM.sleep(PAUSE)
    for tree, result in zip(trees, results, strict=True):
        assert result.get(timeout=30.0) == evaluate(tree, "x")
    assert kills
    fleet.keep_figures(Figures(trials=1, tasks=len(trees), faults=kills))
