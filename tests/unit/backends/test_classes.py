"""The classes that packages subclass: what they call and override, as in Celery."""

from __future__ import annotations

import pickle
from datetime import timedelta
from typing import Any

import pytest

from tests.conftest import ManualClock
from tests.unit.backends.kept import PLACES, Mapped, Plain, Recorded
from umbel import Umbel
from umbel.backends.base import (
    BaseBackend,
    DisabledBackend,
    KeyValueStoreBackend,
    get_current_task,
)
from umbel.exceptions import ContentDisallowed, TaskRevokedError, TimeoutError
from umbel.request import Request


@pytest.fixture
def app() -> Umbel:
    PLACES.clear()
    return Umbel("proj", broker="memory://", clock=ManualClock())


def test_values_are_written_by_the_serializer(app: Umbel) -> None:
    backend = Mapped(app=app)
    assert backend.encode({"a": 1}) == '{"a": 1}'
    assert backend._encode([1]) == ("application/json", "utf-8", "[1]")
    assert backend.decode(backend.encode([1])) == [1]
    assert backend.decode(memoryview(b"[1]")) == [1]
    assert backend.decode(None) is None
    pickled = Mapped(app, serializer="pickle", accept=["pickle"])
    assert pickled._encode([1])[:2] == ("application/x-python-serialize", "binary")
    assert pickled.decode(pickled.encode((1,))) == (1,)
    with pytest.raises(ContentDisallowed):
        Mapped(app, serializer="pickle").decode(pickled.encode((1,)))


def test_they_are_compressed_where_the_backend_can(
    app: Umbel, caplog: pytest.LogCaptureFixture
) -> None:
    app.conf.result_compression = "gzip"
    packed = Mapped(app).encode("x" * 1000)
    assert len(packed) < 200
    assert Plain(app).decode(packed) == "x" * 1000
    assert Plain(app).encode("x") == '"x"'
    assert "Plain keeps no compressed results" in caplog.text


def test_exceptions_become_data_and_come_back(app: Umbel) -> None:
    backend = Mapped(app)
    data = backend.encode_result(KeyError("x"), "FAILURE")
    assert data == {"exc_type": "KeyError", "exc_message": ["x"], "exc_module": "builtins"}
    found = backend.exception_to_python(data)
    assert (type(found), str(found)) == (KeyError, "'x'")
    assert backend.exception_to_python(None) is None
    with pytest.raises(TypeError):
        backend.exception_to_python([1])
    assert isinstance(
        Mapped(app, serializer="pickle").encode_result(KeyError(), "FAILURE"), KeyError
    )
    meta = backend.meta_from_decoded({"status": "FAILURE", "result": data})
    assert isinstance(meta["result"], KeyError)


def test_what_it_is_made_with_goes_before_the_settings(app: Umbel) -> None:
    app.conf.result_expires = 60
    assert Mapped(app).expires == 60
    assert Mapped(app, expires=timedelta(minutes=2)).expires == 120
    assert Mapped(app, expires=1.5, expires_type=int).expires == 1
    assert Mapped(app).prepare_persistent() is True
    assert Mapped(app).prepare_persistent(False) is False
    assert Mapped(app, url="x://u:p@there").as_uri() == "x://u:********@there"
    assert Mapped(app, url="x://u:p@there").as_uri(include_password=True) == "x://u:p@there"


def test_a_document_is_celerys(app: Umbel) -> None:
    app.conf.result_extended = True
    request = Request(
        id="1",
        task="t",
        args=[1],
        kwargs={"a": 2},
        hostname="h",
        group="g",
        parent_id="p",
        stamped_headers=["s"],
        stamps={"s": 1},
        delivery_info={"routing_key": "q"},
    )
    meta = Mapped(app)._get_result_meta(7, "SUCCESS", None, request)
    assert {
        name: meta[name] for name in ("group_id", "parent_id", "name", "worker", "queue", "s")
    } == {
        "group_id": "g",
        "parent_id": "p",
        "name": "t",
        "worker": "h",
        "queue": "q",
        "s": 1,
    }
    assert meta["date_done"].startswith("2001-09-09")
    encoded = Mapped(app)._get_result_meta(7, "STARTED", None, request, encode=True)
    assert (encoded["args"], encoded["kwargs"], encoded["date_done"]) == (b"[1]", b'{"a": 2}', None)
    assert Mapped(app)._get_result_meta(7, "STARTED", None, None)["children"] is None


def test_results_are_marked(app: Umbel) -> None:
    backend = Recorded(app)
    backend.mark_as_started("1", pid=3)
    assert (backend.get_state("1"), backend.get_result("1")) == ("STARTED", {"pid": 3})
    backend.mark_as_retry("1", KeyError("x"), "text")
    assert (backend.get_state("1"), backend.get_traceback("1")) == ("RETRY", "text")
    backend.mark_as_revoked("1", "why")
    assert isinstance(backend.get_result("1"), TaskRevokedError)
    backend.mark_as_failure("1", KeyError("x"), "text")
    assert isinstance(backend.get_result("1"), KeyError)
    backend.mark_as_done("1", 5, Request(ignore_result=True))
    assert backend.get_state("1") == "FAILURE"
    backend.mark_as_done("1", 5)
    assert backend.wait_for("1")["result"] == 5
    assert backend.get_children("1") is None
    assert backend.task_result_exists("1")
    backend.forget("1")
    assert not backend.task_result_exists("1")


def test_waiting_looks_again_and_again(app: Umbel) -> None:
    backend = Mapped(app)
    looks: list[int] = []

    def look() -> None:
        looks.append(1)
        if len(looks) == 3:
            backend.store_result("1", 5, "SUCCESS")

    assert backend.wait_for("1", timeout=10, interval=1, on_interval=look)["result"] == 5
    with pytest.raises(TimeoutError):
        backend.wait_for("2", timeout=0.7)
    assert [*backend.get_many(["2"], max_iterations=1)] == []
    assert (backend.is_async, backend.is_cached("1")) == (False, False)


def test_keys(app: Umbel) -> None:
    app.conf.result_backend_transport_options = {"global_keyprefix": "shop"}
    assert Mapped(app).get_key_for_task("1") == b"shop_celery-task-meta-1"
    assert Plain(app).get_key_for_group("1") == "shop_celery-taskset-meta-1"
    assert Plain(app).get_key_for_chord("1", ".x") == "shop_chord-unlock-1.x"
    assert Plain(app)._strip_prefix("shop_celery-task-meta-1") == "1"
    with pytest.raises(ValueError, match="task_id must not be empty"):
        Mapped(app).get_key_for_task("")


def test_many_keys_may_come_as_a_mapping(app: Umbel) -> None:
    class AsMapping(Mapped):
        def mget(self, keys: Any) -> Any:
            return {key: self.kept[key] for key in keys if key in self.kept}

    backend = AsMapping(app)
    backend.store_result("1", 5, "SUCCESS")
    found = backend.metas(["1", "2"])
    assert found is not None
    assert {name: meta["result"] for name, meta in found.items()} == {"1": 5}


def test_what_is_not_written_is_said(app: Umbel) -> None:
    class Nothing(KeyValueStoreBackend):
        pass

    nothing = Nothing(app)
    for act in (
        lambda: nothing.get("x"),
        lambda: nothing.set("x", 1),
        lambda: nothing.delete("x"),
        lambda: nothing.incr("x"),
        lambda: nothing.mget([]),
        lambda: nothing.add_to_chord("1", "2"),
        lambda: BaseBackend(app).store_result("1", 1, "SUCCESS"),
        lambda: BaseBackend(app).get_task_meta("1"),
        lambda: BaseBackend(app).forget("1"),
        lambda: DisabledBackend(app).get_state("1"),
    ):
        with pytest.raises(NotImplementedError):
            act()
    DisabledBackend(app).store_result("1", 1, "SUCCESS")
    assert DisabledBackend(app).as_uri() == "disabled://"
    assert BaseBackend(app).on_task_call(None, "1") == {}


def test_a_backend_can_be_pickled(app: Umbel) -> None:
    again = pickle.loads(pickle.dumps(Mapped(app)))  # noqa: S301 - our own
    assert (type(again), again.app) == (Mapped, app)
    assert get_current_task() is None
