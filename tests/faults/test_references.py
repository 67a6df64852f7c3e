"""Workflows by reference, while processes die: chords end once, chains come to their ends, no piece is left.

What is judged is as in test_chords.py and test_trees.py. Pieces are made so small that these workflows have
some.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.faults.conftest import Form, MakeFleet
from tests.faults.fleet import Fleet
from tests.faults.oracles import Figures
from tests.faults.scenes import ENGINES, at, at_each, on, points_of
from tests.faults.test_chords import (
    CHORDS,
    ON_RABBITMQ,
    TWICE,
    judge,
    judge_on_rabbitmq,
    let_it_die,
)
from tests.faults.test_trees import run_under_kills
from umbel import canvas
from umbel.canvas import pieces
from umbel.ports import GroupOpening

pytestmark = pytest.mark.faults

#: Where a child may die over any call.
ELSEWHERE = points_of("child", "settle")
#: What only they come to.
PIECES = points_of("pieces")
LONGER = pytest.mark.forms("short", "full")


@pytest.fixture(autouse=True)
def _in_small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "PIECE", 600)
    monkeypatch.setattr(pieces, "BODY", 100)
    monkeypatch.setenv("FAULTS_PIECES", f"{pieces.PIECE} {pieces.BODY}")


@LONGER
@pytest.mark.parametrize("engine", [on(engine) for engine in ENGINES])
def test_random_workflows_under_random_kills(make_fleet: MakeFleet, form: Form) -> None:
    with make_fleet(worker_max_deliveries=1000, workflow_by_reference=True) as fleet:
        run_under_kills(fleet, form)


@pytest.mark.engine
@LONGER
def test_random_workflows_on_rabbitmq_under_random_kills(
    make_rabbit_fleet: MakeFleet, form: Form
) -> None:
    """Where messages are on RabbitMQ, and results and pieces elsewhere."""
    with make_rabbit_fleet(worker_max_deliveries=1000, workflow_by_reference=True) as fleet:
        run_under_kills(fleet, form)


@pytest.mark.quick_on_servers
@at_each("point", [*CHORDS, *PIECES])
@pytest.mark.parametrize("how", ["kill", pytest.param("raise", marks=LONGER)])
def test_child_comes_to_harm_over_a_chord(
    make_fleet: MakeFleet, form: Form, point: str, how: str
) -> None:
    """It dies, or its store does not answer; nothing is sent twice."""
    with make_fleet(workflow_by_reference=True) as fleet:
        judge(fleet, let_it_die(fleet, form, point, how))


@LONGER
@at_each("point", CHORDS)
def test_child_dies_over_a_chord_with_two_stores(
    make_fleet: MakeFleet, place: Path, form: Form, point: str
) -> None:
    """Results and pieces in another file than messages: there pieces expire, so none is forgotten."""
    settings = {"workflow_by_reference": True, "result_backend": f"sqlite:///{place}/results.db"}
    with make_fleet(**settings) as fleet:
        judge(fleet, let_it_die(fleet, form, point))


@pytest.mark.engine
@LONGER
@pytest.mark.parametrize("point", ON_RABBITMQ)
def test_child_dies_over_a_chord_on_rabbitmq(
    make_rabbit_fleet: MakeFleet, form: Form, point: str
) -> None:
    with make_rabbit_fleet(workflow_by_reference=True) as fleet:
        sent = let_it_die(fleet, form, point)
        judge_on_rabbitmq(fleet, sent, messages=2 if point in TWICE else 1)


@at_each("point", [*ELSEWHERE, *PIECES])
def test_child_dies_over_a_chain(
    make_fleet: MakeFleet, form: Form, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    """It goes on to its end, and leaves no piece but those that somebody was about to delete who died."""
    with make_fleet(workflow_by_reference=True) as fleet:
        chains = Chains(fleet, form, monkeypatch)
        chains.run(point)
        fleet.wait_until_quiet()
        assert len(chains.left()) <= (chains.many if point in SETTLED else 0)


@pytest.mark.engine
@LONGER
@pytest.mark.parametrize("point", [one for one in ON_RABBITMQ if not one.startswith("chords.")])
def test_child_dies_over_a_chain_on_rabbitmq(
    make_rabbit_fleet: MakeFleet, form: Form, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    """It goes on to its end; pieces stay until they expire."""
    with make_rabbit_fleet(workflow_by_reference=True) as fleet:
        Chains(fleet, form, monkeypatch).run(point)


#: Where what is settled has not been tidied up.
SETTLED = ("pieces.before_forget", *at("sqlite.settle.after", "redis.settle.after"))
SETTLED += tuple(at("postgres.settle.after"))


class Chains:
    """Chains of a fleet, and the pieces that were kept of them."""

    def __init__(self, fleet: Fleet, form: Form, monkeypatch: pytest.MonkeyPatch) -> None:
        self._fleet, self._dice = fleet, form.dice
        self._store = fleet.app.result_store()
        self._note = fleet.app.tasks["note"]
        #: Chains of a scene, and steps of each.
        self.many, self._steps = form.pick((4, 30), (20, 60))
        self._patience = form.pick(30.0, 300.0)
        self.results: list[Any] = []
        self.kept: list[str] = []
        keep = self._store.open_groups

        def note(openings: Sequence[GroupOpening]) -> None:
            self.kept += [one.group for one in openings]
            keep(openings)

        monkeypatch.setattr(self._store, "open_groups", note)

    def run(self, point: str) -> None:
        """Send chains until a child has died at a fail point; see that they come to their ends."""
        nth = self._dice.randint(1, 2 if point.startswith("pieces") else 20)
        plan = self._fleet.fail_point(f"{point}=kill@{nth}")
        self._fleet.start("one", environment=plan)
        self._fleet.until_struck([point], self.send, self._patience)
        for result in self.results:
            assert result.get(timeout=self._patience) == self.value
        assert self.kept
        self._fleet.keep_figures(Figures(trials=1, tasks=len(self.results), faults=1))

    def send(self) -> None:
        """Send some."""
        for _ in range(self.many):
            steps = (self._note.s(name) for name in range(1, self._steps))
            self.results.append(canvas.chain(self._note.s("x", 0), *steps).apply_async())

    @property
    def value(self) -> Any:
        """What each comes to."""
        value: Any = "x"
        for name in range(self._steps):
            value = [name, value]
        return value

    def left(self) -> list[str]:
        """Return the pieces that are still there."""
        return [id for id in self.kept if self._store.saved_group(id) is not None]
