"""Backends of Celery's kind as result stores of an app: what they are told, and what of them is read."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from typing import Any

import pytest

from tests.unit.backends.kept import PLACES, Mapped, Plain, Recorded
from umbel import Umbel
from umbel.backends.store import BackendEngine, BackendStore
from umbel.exceptions import OperationalError, TaskRevokedError
from umbel.ports import FetchRequest, GroupPart, Owner
from umbel.records import PLAIN, ResultRecord, TaskResult, encode, meta
from umbel.worker.decide import decide, started
from umbel.worker.execute import Runner
from umbel.worker.settler import Settler

KEPT = "tests.unit.backends.kept"


@pytest.fixture(autouse=True)
def _nothing_kept() -> Iterator[None]:
    yield
    PLACES.clear()


def app_of(memory: str, backend: str, **settings: Any) -> Umbel:
    return Umbel("proj", broker=memory, backend=backend, **settings)


def run_all(app: Umbel) -> Settler:
    """Run and settle what waits, as a child does."""
    consumer = app.broker.consumer(Owner("o", "node", "host", 1), 60.0)
    settler = Settler(app.broker, consumer, app.results)
    runner = Runner(app, "w1@host")
    settings = app.conf.snapshot
    for delivery in consumer.fetch(FetchRequest(("celery",), 100), 0.0):
        prepared = runner.prepare(delivery)
        record = started(prepared, "w1@host", 1, settings, app.clock)
        if record is not None:
            settler.store(record, prepared)
        settler.settle([decide(runner.run(prepared), settings, app.clock)])
    return settler


def test_what_a_worker_stores_is_read_by_clients(memory: str) -> None:
    app = app_of(memory, f"{KEPT}:Mapped")
    add = app.task(name="add")(lambda x, y: x + y)
    bad = app.task(name="bad")(lambda: dict[str, int]()["x"])
    sum_, failed = add.delay(1, 2), bad.delay()
    assert sum_.state == "PENDING"
    run_all(app)
    assert sum_.get(timeout=5) == 3
    assert isinstance(sum_.date_done, datetime)
    with pytest.raises(KeyError, match="x"):
        failed.get(timeout=5)
    assert "KeyError" in str(failed.traceback)
    assert app.AsyncResult("unknown").state == "PENDING"
    sum_.forget()
    assert not sum_.exists()
    # What is stored is Celery's document, under Celery's key.
    assert list(PLACES[None]) == [f"celery-task-meta-{failed.id}".encode()]


def test_who_waits_is_told(memory: str) -> None:
    app = app_of(memory, f"{KEPT}.Plain")
    add = app.task(name="add")(lambda x, y: x + y)
    result = add.delay(1, 2)
    threading.Timer(0.05, run_all, (app,)).start()
    assert result.get(timeout=20) == 3


def test_a_backend_is_told_of_the_call(memory: str) -> None:
    app = app_of(memory, f"{KEPT}:Recorded", result_extended=True, task_track_started=True)

    @app.task(name="outer", bind=True)
    def outer(self: Any, x: int) -> int:
        self.update_state(state="PROGRESS", meta={"done": x})
        states.append(app.AsyncResult(self.request.id).state)
        inner.delay(x)
        return x

    states: list[str] = []
    inner = app.task(name="inner", ignore_result=True)(lambda x: x)
    result = outer.apply_async((7,), headers={"periodic_task_name": "nightly"})
    run_all(app)
    request = PLACES[None][result.id]["request"]
    assert states == ["PROGRESS"]
    assert (request.id, request.task, request.hostname) == (result.id, "outer", "w1@host")
    assert (request.args, request.argsrepr, request.kwargsrepr) == ([7], "(7,)", "{}")
    assert request.periodic_task_name == "nightly"
    assert PLACES[None][result.id]["children"] == [child.as_tuple() for child in request.children]
    assert len(request.children) == 1
    assert result.children is not None
    assert app.backend.get_task_meta(result.id)["mine"] == "extra"


def test_and_of_a_call_that_did_not_run(memory: str) -> None:
    app = app_of(memory, f"{KEPT}:Recorded")
    result = app.task(name="t")(lambda x: x).apply_async((1,), expires=-1)
    run_all(app)
    request = PLACES[None][result.id]["request"]
    assert (request.id, request.task, request.args) == (result.id, "t", [1])
    with pytest.raises(TaskRevokedError):
        result.get(timeout=5)


def test_of_a_result_alone_it_is_told_what_its_document_says() -> None:
    app = Umbel("proj", broker="memory://")
    store = BackendEngine(Recorded, app, "url", None).results
    ids = (("child", None), None)
    store.put([encode(TaskResult("1", "SUCCESS", 3, parent_id="p", group_id="g", children=[ids]))])
    found = PLACES[None]["1"]
    assert (found["request"].parent_id, found["request"].group) == ("p", "g")
    assert found["children"] == [[["child", None], None]]


@pytest.mark.parametrize("kind", [Mapped, Plain, Recorded])
def test_a_success_stays(kind: Any) -> None:
    store = BackendEngine(kind, Umbel("proj", broker="memory://"), "url", None).results
    store.put(
        [encode(TaskResult("1", "SUCCESS", 1)), encode(TaskResult("1", "FAILURE", KeyError()))]
    )
    assert meta(store.get(["1", "2"])["1"], PLAIN)["result"] == 1


def test_many_are_read_at_once() -> None:
    app = Umbel("proj", broker="memory://")
    for kind in (Mapped, Plain):
        store = BackendEngine(kind, app, "url", kind.__name__).results
        store.put([encode(TaskResult(name, "SUCCESS", name)) for name in ("a", "b")])
        found = store.get(["a", "b", "c"])
        assert {name: meta(one, PLAIN)["result"] for name, one in found.items()} == {
            "a": "a",
            "b": "b",
        }


def test_a_state_that_holds_an_exception_is_told_once() -> None:
    store = BackendEngine(Mapped, Umbel("proj", broker="memory://"), "url", None).results
    store.put([encode(TaskResult("1", "RETRY", KeyError("x")))])
    with closing(store.subscribe()) as heard:
        heard.add(["1"])
        assert set(heard.receive(5.0)) == {"1"}
        assert heard.receive(0.05) == {}


# Errors


class DataError(Exception):
    """As databases call what they do not take."""


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ConnectionError("away"), OperationalError),
        (RuntimeError("who knows"), OperationalError),
        (OperationalError("ours"), OperationalError),
        (TypeError("no such value"), TypeError),
        (DataError("too long"), DataError),
    ],
)
def test_what_a_backend_raises(error: Exception, told: type[Exception], monkeypatch: Any) -> None:
    monkeypatch.setattr(Mapped, "error", error)
    store = BackendEngine(Mapped, Umbel("proj", broker="memory://"), "url", None).results
    with pytest.raises(told, match=str(error)):
        store.put([encode(TaskResult("1", "SUCCESS", 1))])


def test_a_task_whose_result_cannot_be_stored_now_is_not_lost(
    memory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = app_of(memory, f"{KEPT}:Mapped")
    result = app.task(name="t")(lambda: 5).delay()
    consumer = app.broker.consumer(Owner("o", "node", "host", 1), 60.0)
    settler = Settler(app.broker, consumer, app.results)
    runner = Runner(app, "h")
    (delivery,) = consumer.fetch(FetchRequest(("celery",), 10), 0.0)
    verdict = decide(runner.run(runner.prepare(delivery)), app.conf.snapshot, app.clock)
    monkeypatch.setattr(Mapped, "error", ConnectionError("away"))
    with pytest.raises(OperationalError, match="The result backend Mapped failed: ConnectionError"):
        settler.settle([verdict])
    assert app.queues.depths()["celery"].leased == 1
    monkeypatch.setattr(Mapped, "error", None)
    settler.settle([verdict])
    assert result.get(timeout=5) == 5
    assert app.queues.depths()["celery"].leased == 0


def test_an_error_that_a_backend_knows_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    class Knowing(Mapped):
        told = 0

        def exception_safe_to_retry(self, exc: Exception) -> bool:
            return isinstance(exc, ValueError)

        def on_backend_retryable_error(self, exc: Exception) -> None:
            self.told += 1
            self.error = None if self.told == 2 else exc

    settings: dict[str, Any] = {"result_backend_always_retry": True}
    app = Umbel("proj", broker="memory://", **settings)
    store = BackendEngine(Knowing, app, "url", None).results
    assert isinstance(store, BackendStore)
    store.backend.error = ValueError("closed")
    store.put([encode(TaskResult("1", "SUCCESS", 1))])
    assert store.backend.told == 2
    app.conf.result_backend_always_retry = False
    patient = BackendEngine(Knowing, app, "url", None).results
    assert isinstance(patient, BackendStore)
    patient.backend.error = ValueError("closed")
    with pytest.raises(OperationalError):
        patient.put([encode(TaskResult("1", "SUCCESS", 1))])


@pytest.mark.parametrize("serializer", ["json", "pickle"])
def test_a_group_is_saved_and_restored(memory: str, serializer: str) -> None:
    app = app_of(
        memory, f"{KEPT}:Mapped", result_serializer=serializer, accept_content=["json", "pickle"]
    )
    inner = app.GroupResult("inner", [app.AsyncResult("3")])
    group = app.GroupResult("g", [app.AsyncResult("1"), app.AsyncResult("2"), inner])
    group.parent = app.AsyncResult("0")
    assert app.GroupResult.restore("g") is None
    assert group.save() is group
    found = app.GroupResult.restore("g")
    assert found == group
    assert found.parent == group.parent
    assert list(PLACES[None]) == [b"celery-taskset-meta-g"]
    own = Mapped(app)
    assert app.GroupResult.restore("g", backend=own) == group  # type: ignore[arg-type]
    found.delete()
    assert app.GroupResult.restore("g") is None


def test_a_backend_that_saves_no_groups_says_so(memory: str) -> None:
    app = app_of(memory, f"{KEPT}:Recorded")
    group = app.GroupResult("g", [app.AsyncResult("1")])
    refused = "Recorded saves no groups: it has no _"
    with pytest.raises(NotImplementedError, match=refused):
        group.save()
    with pytest.raises(NotImplementedError, match=refused):
        group.delete()
    with pytest.raises(NotImplementedError, match=refused):
        app.GroupResult.restore("g")


def test_parts_are_refused() -> None:
    store = BackendEngine(Mapped, Umbel("proj", broker="memory://"), "url", None).results
    for act in (
        lambda: store.open_group("g", 2, None),
        lambda: store.add_parts([GroupPart("g", "1", 0, "", "me")]),
        lambda: store.parts("g"),
        lambda: store.close_group("g", "me"),
    ):
        with pytest.raises(NotImplementedError, match="Mapped counts the results of chords"):
            act()


# One for each thread


def test_each_thread_has_a_backend_of_its_own_unless_it_is_safe() -> None:
    for safe in (False, True):
        settings: dict[str, Any] = {"result_backend_thread_safe": safe}
        app = Umbel("proj", broker="memory://", **settings)
        store = BackendEngine(Recorded, app, "url", None).results
        assert isinstance(store, BackendStore)
        found: list[Any] = []
        thread = threading.Thread(target=lambda: found.append(store.backend))  # noqa: B023
        thread.start()
        thread.join()
        assert (found[0] is store.backend) is safe
        assert store.backend is store.backend


def test_a_backend_is_told_of_cleaning_and_of_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Recorded, "cleaned", 0)
    monkeypatch.setattr(Recorded, "closed", 0)
    engine = BackendEngine(Recorded, Umbel("proj", broker="memory://"), "url", None)
    engine.close()
    assert engine.results.cleanup() == 0
    engine.close()
    engine.close()
    assert (Recorded.cleaned, Recorded.closed) == (1, 1)
    monkeypatch.setattr(Recorded, "supports_autoexpire", True)
    engine.results.cleanup()
    assert Recorded.cleaned == 1


def test_a_record_that_was_read_elsewhere_has_what_was_read() -> None:
    found = ResultRecord("1", "SUCCESS", "", meta={"status": "SUCCESS", "own": 1})
    assert meta(found) == {"status": "SUCCESS", "result": None, "own": 1}
