"""Two owners finish one call: the one that was taken for dead, and the one that got it then (X2).

In every order: one outcome counts, what follows is sent once, and a success that was stored stays.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import closing, suppress
from typing import Any

import pytest

from tests.unit.worker.support import consumer_of
from umbel import Umbel, states
from umbel.clock import unique_id
from umbel.exceptions import LeaseLost
from umbel.ports import Consumer, FetchRequest
from umbel.testing.conformance.support import PATIENCE
from umbel.worker.completing import Chords
from umbel.worker.decide import Verdict, decide
from umbel.worker.execute import Runner
from umbel.worker.settler import Settler

#: Trials in each share of the slow form, and in the quick one.
SHARES, MANY, FEW = 4, 250, 10


def make_app(url: str, results: str, share: int) -> Umbel:
    """Return an app whose task ends as its dice say: each time it runs in another way, perhaps."""
    app = Umbel("owners", broker=url, backend=results)
    dice = random.Random(2 * share)

    @app.task(name="work")
    def work() -> float:
        if dice.random() < 0.3:
            raise ValueError("no")
        return dice.random()

    @app.task(name="after")
    def after(value: float) -> float:
        return value

    return app


class Owner:
    """Somebody who has run a delivery, and has not settled it yet."""

    def __init__(self, app: Umbel) -> None:
        self._app = app
        self.consumer: Consumer = consumer_of(app)
        self._settler = Settler(app.broker, self.consumer, app.results, Chords(app, app.results))
        self.verdict: Verdict | None = None

    def run(self, task_id: str) -> None:
        """Fetch the call and run it."""
        (delivery,) = self.consumer.fetch(FetchRequest(("celery",), 1), PATIENCE)
        assert delivery.message.task_id == task_id
        with closing(Runner(self._app, "w@host")) as runner:
            run = runner.run(runner.prepare(delivery))
        self.verdict = decide(run, self._app.conf.snapshot, self._app.clock)

    def settle(self) -> None:
        """Settle it, as far as that is still its own."""
        assert self.verdict is not None
        with suppress(LeaseLost):
            self._settler.settle([self.verdict])

    def close(self) -> None:
        """Leave, if it is not gone for the broker already."""
        with suppress(LeaseLost):
            self.consumer.close()

    @property
    def state(self) -> str:
        """What its run came to."""
        assert self.verdict is not None
        assert self.verdict.settlement.result is not None
        return self.verdict.settlement.result.state

    @property
    def document(self) -> Any:
        """What its run has stored, or would have."""
        assert self.verdict is not None
        assert self.verdict.settlement.result is not None
        return self.verdict.settlement.result.document


@pytest.fixture(params=["one store", "two stores"])
def joint(request: pytest.FixtureRequest) -> bool:
    """Whether messages and results are in one place."""
    return bool(request.param == "one store")


@pytest.fixture
def share() -> int:
    """Which share of the trials it is."""
    return 0


@pytest.fixture
def app(place: str, joint: bool, share: int) -> Iterator[Umbel]:
    """An app on each engine that fences those who were taken for dead."""
    with make_app(place, place if joint else f"memory://{unique_id()}", share) as app:
        yield app


def test_one_of_two_owners_wins(app: Umbel, joint: bool, share: int) -> None:
    _let_them_finish(app, joint, share, FEW)


@pytest.mark.slow
@pytest.mark.parametrize("share", range(SHARES))
def test_one_of_two_owners_wins_many_times(app: Umbel, joint: bool, share: int) -> None:
    assert len(_let_them_finish(app, joint, share, MANY)) == 8


def _let_them_finish(
    app: Umbel, joint: bool, share: int, trials: int
) -> set[tuple[bool, str, str]]:
    """Let two owners finish calls; return in which orders, with which ends.

    Who got the last call has the next one first: on servers a new owner is a new connection.
    """
    dice = random.Random(2 * share + 1)
    ends: set[tuple[bool, str, str]] = set()
    second = Owner(app)
    for _ in range(trials):
        result = app.tasks["work"].apply_async(link=app.tasks["after"].s())
        first, second = second, Owner(app)
        first.run(result.id)
        second.consumer.reclaim(first.consumer.owner.id, None)
        second.run(result.id)
        in_order = dice.random() < 0.5
        for owner in (first, second) if in_order else (second, first):
            owner.settle()
        ends.add((in_order, first.state, second.state))
        _check(app, result.id, first, second, joint)
        first.close()
    second.close()
    return ends


def _check(app: Umbel, task_id: str, first: Owner, second: Owner, joint: bool) -> None:
    found = app.result_store().get([task_id])[task_id]
    assert second.verdict is not None
    if joint:
        assert found.document == second.document
    elif states.SUCCESS in (first.state, second.state):
        assert found.state == states.SUCCESS
    depth = app.queues.depths()["celery"]
    follow = len(second.verdict.settlement.publish)
    assert (depth.leased, depth.ready) == (0, follow)
    assert follow == (second.state == states.SUCCESS)
    app.queues.purge("celery")
