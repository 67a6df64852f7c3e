"""Results that expire before a chord is complete, and before somebody waits for them (X4)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from tests.unit.worker.support import consumer_of
from umbel import TimeoutError, Umbel, chord, states
from umbel.clock import SYSTEM
from umbel.ports import FetchRequest
from umbel.testing import run_pending
from umbel.testing.conformance.groups import part
from umbel.testing.conformance.support import PATIENCE, until
from umbel.worker.completing import Chords
from umbel.worker.decide import decide
from umbel.worker.execute import Runner
from umbel.worker.settler import Settler

#: Seconds that results are kept.
SHORT = 0.2


@pytest.fixture
def heard() -> list[Any]:
    return []


@pytest.fixture
def app(place: str, heard: list[Any]) -> Iterator[Umbel]:
    with Umbel("expired", broker=place, backend=place, result_expires=SHORT) as app:

        @app.task(name="same")
        def same(value: Any) -> Any:
            return value

        @app.task(name="total")
        def total(numbers: list[int]) -> None:
            heard.append(numbers)

        yield app


def run_one(app: Umbel) -> None:
    """Run the first call that waits, and no other."""
    with closing(consumer_of(app)) as consumer, closing(Runner(app, "w@host")) as runner:
        settler = Settler(app.broker, consumer, app.results, Chords(app, app.results))
        (delivery,) = consumer.fetch(FetchRequest(("celery",), 1), PATIENCE)
        run = runner.run(runner.prepare(delivery))
        settler.settle([decide(run, app.conf.snapshot, app.clock)])


def test_a_chord_has_the_values_of_results_that_have_expired(app: Umbel, heard: list[Any]) -> None:
    same, total = app.tasks["same"], app.tasks["total"]
    header = chord([same.s(n) for n in range(3)], total.s()).delay().parent
    for _ in range(2):
        run_one(app)
    until(lambda: not any(app.AsyncResult(one.id).exists() for one in header))
    assert heard == []
    run_pending(app)
    assert heard == [[0, 1, 2]]


def test_who_waits_for_what_has_expired_waits_no_longer_than_was_said(app: Umbel) -> None:
    result = app.tasks["same"].delay(5)
    run_one(app)
    until(lambda: not result.exists())
    again = app.AsyncResult(result.id)
    assert again.state == states.PENDING
    with pytest.raises(TimeoutError, match="did not arrive"):
        again.get(timeout=0.1)
    with pytest.raises(TimeoutError, match="1 of 1 results"):
        app.GroupResult("g", [again]).get(timeout=0.1)


def test_what_was_read_before_it_expired_is_remembered(app: Umbel) -> None:
    app.conf.result_expires = 2
    result = app.tasks["same"].delay(5)
    run_one(app)
    assert result.get(timeout=PATIENCE) == 5
    app.backend.forget(result.id)
    assert (result.get(timeout=0), result.state) == (5, states.SUCCESS)


def test_counters_of_a_chord_live_as_long_as_results_come(app: Umbel) -> None:
    store, now = app.result_store(), SYSTEM.time()
    store.open_group("g", 2, now + SHORT)
    assert store.add_parts([part("g", 0, "a", "me", expires=now + PATIENCE)]) == [False]
    until(lambda: SYSTEM.time() > now + 2 * SHORT)
    while store.cleanup():
        pass
    assert store.add_parts([part("g", 1, "b", "me", expires=now + PATIENCE)]) == [True]
