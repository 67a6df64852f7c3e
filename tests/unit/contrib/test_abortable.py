"""Tasks that are asked to stop."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.worker.support import take
from umbel import ImproperlyConfigured, Umbel
from umbel.clock import unique_id
from umbel.contrib.abortable import ABORTED, AbortableAsyncResult, AbortableTask
from umbel.worker.decide import decide
from umbel.worker.execute import Runner


def app_with(backend: str | None) -> Umbel:
    return Umbel("proj", broker=f"memory://{unique_id()}", backend=backend)


def test_a_task_that_is_asked_to_stop_sees_it() -> None:
    app = app_with(f"memory://{unique_id()}")
    seen: list[bool] = []

    @app.task(bind=True, base=AbortableTask)
    def work(self: Any) -> str:
        seen.append(self.is_aborted())
        AbortableAsyncResult(self.request.id, app=app).abort()
        seen.append(self.is_aborted())
        return "stopped"

    result: Any = work.delay()
    assert isinstance(result, AbortableAsyncResult)
    assert not result.is_aborted()
    (delivery,) = take(app)
    runner = Runner(app, "worker1@host")
    decide(runner.run(runner.prepare(delivery)), app.conf.snapshot, app.clock)
    assert seen == [False, True]
    assert (result.state, result.is_aborted(), result.ready()) == (ABORTED, True, False)
    assert not work.is_aborted()  # type: ignore[attr-defined]  # the decorator's type is Task


def test_where_it_is_called_it_runs_as_any_other() -> None:
    app = app_with(None)
    app.conf.task_always_eager = True
    assert app.task(base=AbortableTask)(lambda: 5).delay().get() == 5


def test_without_a_result_store_nobody_can_ask() -> None:
    result = AbortableAsyncResult[Any]("i", app=app_with(None))
    with pytest.raises(ImproperlyConfigured, match="Results are not kept"):
        result.abort()
