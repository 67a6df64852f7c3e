"""Memory: processes that the system ends for want of it, and those that must not take more with each task."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial

import pytest

from tests.faults.conftest import MEASURED, Form, MakeFleet, Settle
from tests.faults.fleet import Fleet, Node, wait_until
from tests.faults.memory import Taken, limited
from tests.faults.oracles import Figures
from umbel import states
from umbel.exceptions import WorkerLostError

pytestmark = pytest.mark.faults

#: What a node with two children may have, and what a task of it takes.
LIMIT, MUCH = 256, 400


def test_tasks_that_take_more_memory_than_there_is(
    make_fleet: MakeFleet, form: Form, settle: Settle
) -> None:
    """P4: the system kills their child; they become dead letters that say why, and the others run."""
    with make_fleet() as fleet:
        (node,) = fleet.start("one")
        greedy: set[str] = set()
        with limited(node.members(), LIMIT):
            for _ in range(form.pick(1, 20)):
                fleet.send_load(form.pick(30, 100), form.dice)
                greedy.update(fleet.send("grow", [(MUCH,)]))
                starved = fleet.app.tasks["starve"].delay()
                fleet.send_load(form.pick(30, 100), form.dice)
                assert isinstance(starved.get(timeout=30.0, propagate=False), MemoryError)
                fleet.wait_until_quiet()
            figures = settle(fleet)
        evidence = fleet.evidence()
        assert set(evidence.dead) == greedy
        assert figures.dead == len(greedy)
        for id in greedy:
            assert [start.crashes for start in evidence.starts(id)] == [0, 1, 2]
            assert "for want of memory" in evidence.dead[id]
            assert isinstance(evidence.results[id].result, WorkerLostError)


#: Bytes that a process may take with each task. In the short form its tasks are too few to tell more: a child
#: took from 0.2 to 1.7 MB while it found room for what it keeps, whether for 2,000 tasks or for 8,000.
BYTES = (400.0, 6.0)


#: Things that an engine may keep beside those of before, of workers that just then wait, or fetch.
LASTING = 20


def test_nothing_grows_with_each_task(
    make_fleet: MakeFleet, form: Form, request: pytest.FixtureRequest
) -> None:
    """M1, M2: neither memory nor open files, threads and what the broker keeps."""
    rounds, tasks = form.pick((8, 1_000), (12, 100_000))
    settings = {"task_ignore_result": True, "task_store_errors_even_if_ignored": False}
    with make_fleet(**settings) as fleet:
        fleet.concurrency = 1
        (node,) = fleet.start("one")
        parts = {"supervisor": [node.pid], "child": node.children()}
        _run_mix(fleet, tasks)  # until everything is there that is made once
        before = {name: Taken.by(pids) for name, pids in parts.items()}
        kept = fleet.stored()
        for _ in range(rounds):
            _run_mix(fleet, tasks)
        wait_until(
            lambda: sum(fleet.stored().values()) <= sum(kept.values()) + LASTING,
            60.0,
            Stored(fleet, kept),
        )
        for name, pids in parts.items():
            first = before[name]
            wait_until(partial(_has_no_more, pids, first), 5.0, f"the {name} to have {first}")
            grown = (Taken.by(pids).memory - first.memory) / (rounds * tasks)
            request.node.user_properties.append((f"bytes a task: {name}", grown))
            assert grown <= form.pick(*BYTES), (name, grown)
        assert node.children() == parts["child"], node.text()[-3000:]
        _end(fleet, node)
    figures = Figures(trials=1, tasks=(rounds + 1) * tasks)
    request.node.user_properties.append((MEASURED, asdict(figures)))


class Stored:
    """What was to go, as a text that says what is there."""

    def __init__(self, fleet: Fleet, before: dict[str, int]) -> None:
        self._fleet = fleet
        self._before = before

    def __str__(self) -> str:
        return (
            f"what is kept of tasks to go; there is {self._fleet.stored()}, and was {self._before}"
        )


def _has_no_more(pids: list[int], first: Taken) -> bool:
    """Tell whether they have no more than before, but for a thread that a child starts when it needs it."""
    now = Taken.by(pids)
    return now.files <= first.files and now.threads <= first.threads + 1


def _run_mix(fleet: Fleet, tasks: int) -> None:
    """Run tasks of which one in ten fails, and one in ten asks to run again."""
    tenth = tasks // 10
    for name, count in (("noop", 8 * tenth), ("fails", tenth), ("again", tenth)):
        for begun in range(0, count, 1_000):
            fleet.app.tasks[name].delay_many([()] * min(1_000, count - begun))
    fleet.wait_until_quiet(60.0 + tasks / 100)


def _end(fleet: Fleet, node: Node) -> None:
    assert not fleet.app.queues.dead_letters(1), states.FAILURE
    node.stop()
    assert node.wait() == 0
    wait_until(lambda: not fleet.residue(), 5.0, "nothing to be left behind")
