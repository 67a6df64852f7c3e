"""Results that umbel and the real Celery store on one Redis, each read by the other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import redis

from tests.interop.results import ResultsOfBoth, Sides
from tests.redis_servers import PrivateServer, private_server
from umbel.clock import unique_id
from umbel.testing.conformance.support import PATIENCE, in_thread, until

pytestmark = pytest.mark.engine
FORMS: list[dict[str, Any]] = [
    {},
    {"result_serializer": "pickle"},
    {"result_serializer": "yaml"},
    {"result_serializer": "msgpack"},
    {"result_compression": "gzip"},
    {"result_serializer": "pickle", "result_compression": "zlib"},
    {"result_backend_transport_options": {"global_keyprefix": "mine"}},
    {"result_backend_transport_options": {"global_keyprefix": "mine:"}},
]


class OnRedis(Sides):
    """Both, on one server."""

    def __init__(self, server: PrivateServer, settings: dict[str, Any]) -> None:
        self.server = server
        accepted = ["json", "pickle", "yaml", "msgpack"]
        super().__init__(server.url, {"accept_content": accepted, **settings})


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateServer]:
    with private_server(tmp_path_factory.mktemp("redis")) as found:
        yield found


@pytest.fixture(scope="module", params=FORMS, ids=lambda form: json.dumps(form).strip("{}") or "-")
def sides(request: pytest.FixtureRequest, server: PrivateServer) -> Iterator[OnRedis]:
    with ExitStack() as stack:
        found = OnRedis(server, request.param)
        stack.callback(found.close)
        yield found


class TestResults(ResultsOfBoth):
    pass


def test_each_is_woken_by_the_other(sides: OnRedis) -> None:
    ours, theirs = unique_id(), unique_id()
    with in_thread(lambda: sides.ours.AsyncResult(theirs).get(timeout=PATIENCE)) as found:
        sides.theirs("store", theirs, {"step": 1}, "STARTED")
        sides.theirs("store", theirs, "done", "SUCCESS")
        assert found.result(PATIENCE) == "done"
    sides.theirs.begin("get", ours, PATIENCE)
    until(lambda: sides.server.admin.pubsub_channels(f"*celery-task-meta-{ours}"))
    sides.ours.backend.store_result(ours, {"step": 1}, "STARTED")
    sides.ours.backend.store_result(ours, "done", "SUCCESS")
    assert sides.theirs.answer() == ["value", "done"]


# No script can look into what Celery has compressed.
@pytest.mark.parametrize(
    "sides", [form for form in FORMS if "result_compression" not in form], indirect=True
)
def test_a_success_of_theirs_stays_one(sides: OnRedis) -> None:
    task_id = unique_id()
    sides.theirs("store", task_id, "done", "SUCCESS")
    sides.ours.backend.store_result(task_id, ValueError("late"), "FAILURE")
    assert sides.theirs("state", task_id) == "SUCCESS"


def test_results_of_both_expire_at_the_same_time(server: PrivateServer) -> None:
    sides = OnRedis(server, {"result_expires": 100})
    try:
        sides.ours.backend.store_result("ours", 1, "SUCCESS")
        sides.theirs("store", "theirs", 1, "SUCCESS")
        found = redis.Redis("127.0.0.1", server.port, protocol=2)
        left = [found.ttl(f"celery-task-meta-{name}") for name in ("ours", "theirs")]
        found.close()
        assert all(95 <= one <= 100 for one in left)
    finally:
        sides.close()
