"""What is called on a result backend answers as Celery 5.7's does (observed with ``cache+memory://``)."""

from __future__ import annotations

import json
import threading
from decimal import Decimal
from typing import Any

import pytest

from tests.conftest import ManualClock
from umbel import Umbel, states
from umbel.backend import Backend
from umbel.current import running
from umbel.exceptions import (
    ContentDisallowed,
    ImproperlyConfigured,
    RemoteError,
    TaskRevokedError,
    TimeoutError,
)
from umbel.request import Request
from umbel.testing.conformance.support import PATIENCE

DONE = "2001-09-09T01:46:40+00:00"


@pytest.fixture
def backend(memory: str, clock: ManualClock) -> Backend:
    return Umbel("proj", broker=memory, backend=memory, clock=clock, result_expires=None).backend


def document(backend: Backend, id: str) -> dict[str, Any]:
    record = backend.record(id)
    assert record is not None
    found: dict[str, Any] = json.loads(record.document)
    return found


def test_nothing_is_known(backend: Backend) -> None:
    assert backend.get_task_meta("x") == {"status": "PENDING", "result": None}
    assert (backend.get_state("x"), backend.get_status("x")) == ("PENDING", "PENDING")
    assert backend.get_result("x") is None
    assert (backend.get_traceback("x"), backend.get_children("x")) == (None, None)
    assert (backend.task_result_exists("x"), backend.is_cached("x")) == (False, False)


def test_a_state_of_ones_own(backend: Backend) -> None:
    assert backend.store_result("p", {"done": 5}, "PROGRESS") == {"done": 5}
    assert backend.get_task_meta("p") == {
        "status": "PROGRESS",
        "result": {"done": 5},
        "traceback": None,
        "children": None,
        "date_done": None,
        "task_id": "p",
    }
    assert backend.task_result_exists("p")
    result = backend.app.backend.record("p")
    assert result is not None
    assert not result.ready


def test_a_failure(backend: Backend) -> None:
    assert backend.store_result("f", ValueError("boom"), "FAILURE", traceback="TB") == {
        "exc_type": "ValueError",
        "exc_message": ["boom"],
        "exc_module": "builtins",
    }
    meta = backend.get_task_meta("f")
    assert repr(meta.pop("result")) == "ValueError('boom')"
    assert meta == {
        "status": "FAILURE",
        "traceback": "TB",
        "children": None,
        "date_done": DONE,
        "task_id": "f",
    }
    assert backend.get_traceback("f") == "TB"


def test_marks(backend: Backend) -> None:
    assert backend.mark_as_started("s", pid=1, hostname="h") == {"pid": 1, "hostname": "h"}
    backend.mark_as_done("d", 4)
    backend.mark_as_failure("f", KeyError("k"), traceback="T")
    retried = backend.mark_as_retry("r", KeyError("k"), traceback="T")
    assert retried == {"exc_type": "KeyError", "exc_message": ["k"], "exc_module": "builtins"}
    backend.mark_as_revoked("v", "why")
    found = {id: backend.get_task_meta(id) for id in "sdfrv"}
    assert {id: (meta["status"], repr(meta["result"])) for id, meta in found.items()} == {
        "s": ("STARTED", "{'pid': 1, 'hostname': 'h'}"),
        "d": ("SUCCESS", "4"),
        "f": ("FAILURE", "KeyError('k')"),
        "r": ("RETRY", "KeyError('k')"),
        "v": ("REVOKED", "TaskRevokedError('why')"),
    }
    assert {id: meta["date_done"] for id, meta in found.items()} == {
        "s": None,
        "d": DONE,
        "f": DONE,
        "r": None,
        "v": DONE,
    }


def test_marks_that_store_nothing(backend: Backend) -> None:
    backend.mark_as_done("d", 4, request=Request(id="d", ignore_result=True))
    backend.mark_as_done("d", 4, store_result=False)
    backend.mark_as_failure("d", KeyError("k"), store_result=False)
    backend.mark_as_revoked("d", store_result=False)
    assert not backend.task_result_exists("d")


def test_what_succeeded_stays(backend: Backend) -> None:
    backend.store_result("s", 3, "SUCCESS")
    backend.store_result("s", 1, "FAILURE")
    assert (backend.get_state("s"), backend.get_result("s")) == ("SUCCESS", 3)


def test_a_request_adds_what_it_knows(backend: Backend) -> None:
    child = Umbel.AsyncResult(backend.app, "child")
    request = Request(
        id="i",
        task="t",
        args=(1,),
        kwargs={},
        group="g",
        parent_id="p",
        hostname="h",
        retries=2,
        delivery_info={"routing_key": "mails"},
        children=[child],
        stamped_headers=["customer", "status"],
        stamps={"customer": 5, "status": "hidden", "other": 7},
    )
    backend.store_result("i", 1, "SUCCESS", request=request)
    plain = {
        "status": "SUCCESS",
        "result": 1,
        "traceback": None,
        "children": [[["child", None], None]],
        "date_done": DONE,
        "group_id": "g",
        "parent_id": "p",
        "task_id": "i",
    }
    assert document(backend, "i") == plain
    assert backend.get_children("i") == [[["child", None], None]]
    backend.app.conf.result_extended = True
    backend.store_result("i", 1, "SUCCESS", request=request)
    assert document(backend, "i") == plain | {
        "name": "t",
        "args": [1],
        "kwargs": {},
        "worker": "h",
        "retries": 2,
        "queue": "mails",
        "stamped_headers": ["customer", "status"],
        "customer": 5,
    }


def test_within_a_task_its_children_are_stored(backend: Backend) -> None:
    token = running.set(Request(id="i", task="t"))
    backend.store_result("i", {"done": 5}, "PROGRESS")
    running.reset(token)
    assert backend.get_children("i") == []


def test_results_expire(backend: Backend, clock: ManualClock) -> None:
    backend.app.conf.update(result_expires=10, result_failure_expires=20)
    backend.mark_as_done("d", 1)
    backend.mark_as_failure("f", KeyError("k"))
    records = [backend.record(id) for id in "df"]
    assert records == [None, None]  # the clock of this test is long past
    clock.now = 1e11
    backend.mark_as_done("d", 1)
    backend.mark_as_failure("f", KeyError("k"))
    assert [backend.record(id).expires - 1e11 for id in "df"] == [10, 20]  # type: ignore[union-attr,operator]
    assert backend.expires == 10


def test_forgetting_and_cleaning_up(backend: Backend) -> None:
    for id in "abcd":
        backend.mark_as_done(id, 1)
    backend.forget("a")
    backend.forget_many(["b", "c", "x"])
    assert [backend.task_result_exists(id) for id in "abcd"] == [False, False, False, True]
    backend.app.conf.result_expires = 1
    backend.mark_as_done("old", 1)
    backend.cleanup()
    backend.process_cleanup()
    assert backend.store.cleanup() == 0


def test_waiting(backend: Backend) -> None:
    timer = threading.Timer(0.01, lambda: backend.mark_as_done("i", 4))
    timer.start()
    assert backend.wait_for("i")["result"] == 4
    timer.join()
    with pytest.raises(TimeoutError):
        backend.wait_for("never", timeout=0)


def test_many_are_waited_for_at_once(backend: Backend) -> None:
    backend.mark_as_done("a", 1)
    told: list[str] = []
    found = backend.get_many(
        ["a", "b"], PATIENCE, on_message=lambda meta: told.append(meta["status"])
    )
    assert next(found)[0] == "a"
    backend.mark_as_failure("b", KeyError("k"))
    ((id, meta),) = found
    assert (id, meta["status"], told) == ("b", "FAILURE", ["SUCCESS", "FAILURE"])
    assert list(backend.get_many([])) == []
    with pytest.raises(TimeoutError, match="task never"):
        list(backend.get_many(["a", "never"], timeout=0))


def test_values(backend: Backend) -> None:
    result: Any = Umbel.AsyncResult(backend.app, "i")
    assert backend.prepare_value(result) == (("i", None), None)
    assert backend.prepare_value(Decimal("1.5")) == Decimal("1.5")
    assert backend.add_pending_result(result) is backend.remove_pending_result(result) is result
    assert backend.prepare_exception(KeyError("k", {1})) == {
        "exc_type": "KeyError",
        "exc_message": ["k", "{1}"],
        "exc_module": "builtins",
    }


def test_exceptions(backend: Backend) -> None:
    error = KeyError("a")
    assert backend.exception_to_python(None) is None
    assert backend.exception_to_python(error) is error
    data = {"exc_type": "ValueError", "exc_module": "builtins", "exc_message": ["x"]}
    assert repr(backend.exception_to_python(data)) == "ValueError('x')"
    assert isinstance(backend.exception_to_python({"exc_type": "Foo"}), RemoteError)
    with pytest.raises(ValueError, match="exc_type"):
        backend.exception_to_python({"a": 1})
    with pytest.raises(TypeError, match="not 5"):
        backend.exception_to_python(5)
    meta = backend.meta_from_decoded({"status": "REVOKED", "result": data})
    assert repr(meta["result"]) == "ValueError('x')"
    assert backend.meta_from_decoded({"status": "SUCCESS", "result": data})["result"] is data
    assert issubclass(TaskRevokedError, Exception)


def test_what_it_says_of_itself(backend: Backend) -> None:
    assert backend.get_key_for_task("x") == "celery-task-meta-x"
    assert (backend.is_async, backend.supports_autoexpire, backend.persistent) == (True, True, True)
    assert backend.READY_STATES == states.READY_STATES
    assert backend.TimeoutError is TimeoutError
    assert repr(backend) == f"<Backend: {backend.url}>"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://:pw@host:1/0", "redis://:********@host:1/0"),
        ("memory://name", "memory://name"),
        ("disabled://", "disabled://"),
    ],
)
def test_the_password_is_shown_only_if_wanted(url: str, shown: str) -> None:
    backend = Umbel("proj", backend=url).backend
    assert backend.as_uri() == shown
    assert backend.as_uri(include_password=True) == url


def test_without_a_store_storing_does_nothing_and_reading_says_why(memory: str) -> None:
    backend = Umbel("proj", broker=memory).backend
    assert backend.store_result("i", 1, "SUCCESS") == 1
    assert backend.as_uri() == "disabled://"
    with pytest.raises(ImproperlyConfigured, match="Results are not kept"):
        backend.get_state("i")


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_the_settings_say_how_results_are_written_and_read(
    app: Umbel, compression: str | None
) -> None:
    app.conf.update(result_serializer="pickle", accept_content=["json", "pickle"])
    app.conf.result_compression = compression
    app.backend.mark_as_done("s", {1, 2})
    app.backend.mark_as_failure("f", error := ValueError({3}))
    assert app.backend.get_result("s") == {1, 2}
    assert app.backend.prepare_exception(error) is error
    assert app.backend.prepare_exception(error, "json")["exc_message"] == ["{3}"]
    assert repr(app.backend.get_result("f")) == "ValueError({3})"
    assert app.AsyncResult("f").get(propagate=False).args == ({3},)
    seen: list[object] = []
    assert app.AsyncResult("s").get(on_message=seen.append, timeout=5) == {1, 2}
    app.conf.result_accept_content = ["json"]
    with pytest.raises(ContentDisallowed):
        app.backend.get_result("s")
