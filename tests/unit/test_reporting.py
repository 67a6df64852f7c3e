"""Tasks tell how far they are, and results know it."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from tests.conftest import ManualClock
from tests.unit.test_task import plain, run_as
from umbel import Task, Umbel, current_task, states
from umbel.clock import SYSTEM
from umbel.exceptions import OperationalError
from umbel.progress import EVERY, Progress
from umbel.testing import run_pending


def test_a_task_tells_how_far_it_is(app: Umbel) -> None:
    heard: list[tuple[str, Progress | None]] = []

    @app.task(bind=True)
    def work(self: Task[..., Any]) -> str:
        result = app.AsyncResult(self.request.id or "")
        self.progress(1, 4, "reading")
        heard.append((result.state, result.progress))
        current_task.progress(4, 4)
        heard.append((result.state, asyncio.run(result.aprogress())))
        return "done"

    result = work.delay()
    assert result.progress is None
    run_pending(app)
    assert heard == [
        ("PROGRESS", Progress(1, 4, "reading")),
        ("PROGRESS", Progress(4, 4)),
    ]
    assert (result.get(), result.progress) == ("done", None)


def test_an_async_task_tells_it_too(app: Umbel) -> None:
    heard: list[Progress | None] = []

    @app.task(bind=True)
    async def work(self: Task[..., Any]) -> None:
        await self.aprogress(1, 2)
        heard.append(await app.AsyncResult(self.request.id or "").aprogress())

    work.delay()
    run_pending(app)
    assert heard == [Progress(1, 2)]


def test_what_comes_too_soon_is_not_stored_but_for_the_last(
    app: Umbel, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock.now = SYSTEM.time()  # else it is long over for the store
    monkeypatch.setattr(app, "clock", clock)
    task, result = app.task(plain), app.AsyncResult("i")
    with run_as(task):
        task.progress(1, 3)
        task.progress(2, 3)
        assert result.progress == Progress(1, 3)
        clock.sleep(EVERY + 0.01)
        task.progress(2, 3)
        assert result.progress == Progress(2, 3)
        task.progress(3, 3)
        assert result.progress == Progress(3, 3)
    with run_as(task, id="another"):
        task.progress(0)
        assert app.AsyncResult("another").progress == Progress(0)


@pytest.mark.parametrize("state", sorted(states.READY_STATES))
def test_what_has_ended_stays_so(app: Umbel, state: str) -> None:
    task, result = app.task(plain), app.AsyncResult("i")
    with run_as(task):
        app.backend.store_result("i", None if state == states.SUCCESS else ValueError("x"), state)
        task.progress(1, 3)
    assert (result.state, result.progress) == (state, None)


def test_nothing_is_stored_of_what_will_have_no_result(app: Umbel) -> None:
    task, quiet = app.task(plain), app.task(name="quiet", ignore_result=True)(plain)
    task.progress(1, 2)  # nothing runs
    with run_as(task, ignore_result=True):
        task.progress(1, 2)
    with run_as(quiet):
        quiet.progress(1, 2)
    with run_as(task, is_eager=True):
        task.progress(1, 2)
        assert not app.AsyncResult("i").exists()
        app.conf.task_store_eager_result = True
        task.progress(1, 2)
    assert app.AsyncResult("i").progress == Progress(1, 2)


def test_a_store_that_fails_does_not_fail_the_task(
    app: Umbel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(records: object) -> None:
        raise OperationalError("away")

    task = app.task(plain)
    monkeypatch.setattr(app.result_store(), "put_of", refuse)
    with run_as(task), caplog.at_level(logging.WARNING):
        task.progress(1, 2)
    assert "The progress of task i was not stored. away" in caplog.text


def test_words_that_are_no_progress_are_refused_at_once(app: Umbel) -> None:
    task = app.task(plain)
    with pytest.raises(TypeError, match="done must be a number"):
        task.progress("half")  # type: ignore[arg-type]


def test_a_set_of_results_tells_how_many_have_ended(app: Umbel) -> None:
    task = app.task(plain)
    results = app.ResultSet([task.delay(n) for n in range(3)])
    assert results.progress == Progress(0, 3)
    app.backend.store_result(results[0].id, 1, states.SUCCESS)
    app.backend.store_result(results[1].id, ValueError(), states.FAILURE)
    assert asyncio.run(results.aprogress()) == Progress(2, 3)


def test_other_tasks_states_are_read_as_progress_too(app: Umbel) -> None:
    app.backend.store_result("i", {"current": 5, "total": 10}, "CRUNCHING")
    assert app.AsyncResult("i").progress == Progress(5, 10)
    app.backend.store_result("i", {"current": 5, "total": 10}, states.SUCCESS)
    assert app.AsyncResult("i").progress is None
