"""Results that umbel and the real Celery store on one Redis, each read by the other."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.redis_servers import PrivateServer, private_server
from umbel import Umbel
from umbel.clock import unique_id
from umbel.testing.conformance.support import PATIENCE, in_thread, until

pytestmark = pytest.mark.engine
HERE = Path(__file__).parent
VALUES: list[Any] = [
    3,
    "grüße",
    None,
    [1, {"a": [True, None]}],
    {"deep": {"er": [1.5, "x" * 5000]}},
]
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


class Theirs:
    """A process of Celery's."""

    def __init__(self, url: str, settings: dict[str, Any]) -> None:
        command = [sys.executable, str(HERE / "celery_results.py"), url, json.dumps(settings)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __call__(self, *words: Any) -> Any:
        """Give a command and return its answer."""
        self.begin(*words)
        return self.answer()

    def begin(self, *words: Any) -> None:
        assert self._process.stdin is not None
        print(json.dumps(words), file=self._process.stdin, flush=True)

    def answer(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(PATIENCE)
        self._process.stdout.close()


class Sides:
    """An app of umbel's and a process of Celery's, with the same settings and server."""

    def __init__(self, server: PrivateServer, settings: dict[str, Any]) -> None:
        settings = {"accept_content": ["json", "pickle", "yaml", "msgpack"], **settings}
        self.server = server
        self.theirs = Theirs(server.url, settings)
        self.ours = Umbel("ours", broker="memory://", backend=server.url)
        self.ours.conf.update(settings)

    def close(self) -> None:
        self.theirs.close()
        self.ours.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateServer]:
    with private_server(tmp_path_factory.mktemp("redis")) as found:
        yield found


@pytest.fixture(scope="module", params=FORMS, ids=lambda form: json.dumps(form).strip("{}") or "-")
def sides(request: pytest.FixtureRequest, server: PrivateServer) -> Iterator[Sides]:
    with ExitStack() as stack:
        found = Sides(server, request.param)
        stack.callback(found.close)
        yield found


@pytest.mark.filterwarnings("ignore")  # that pickle is accepted is said elsewhere
@pytest.mark.parametrize("value", VALUES, ids=["number", "text", "nothing", "list", "large"])
def test_values_of_each_are_read_by_the_other(sides: Sides, value: Any) -> None:
    ours, theirs = unique_id(), unique_id()
    sides.ours.backend.store_result(ours, value, "SUCCESS")
    assert sides.theirs("get", ours, 5) == ["value", value]
    sides.theirs("store", theirs, value, "SUCCESS")
    assert sides.ours.AsyncResult(theirs).state == "SUCCESS"
    assert sides.ours.AsyncResult(theirs).get(timeout=5) == value


def test_errors_of_each_are_raised_by_the_other(sides: Sides) -> None:
    ours, theirs = unique_id(), unique_id()
    sides.ours.backend.store_result(ours, ValueError("of ours"), "FAILURE", "Traceback: ours")
    assert sides.theirs("get", ours, 5) == ["error", "ValueError", ["of ours"], "Traceback: ours"]
    sides.theirs("fail", theirs, "of theirs")
    result = sides.ours.AsyncResult(theirs)
    with pytest.raises(ValueError, match="of theirs"):
        result.get(timeout=5)
    assert result.traceback == "Traceback: theirs"


def test_each_is_woken_by_the_other(sides: Sides) -> None:
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
def test_a_success_of_theirs_stays_one(sides: Sides) -> None:
    task_id = unique_id()
    sides.theirs("store", task_id, "done", "SUCCESS")
    sides.ours.backend.store_result(task_id, ValueError("late"), "FAILURE")
    assert sides.theirs("state", task_id) == "SUCCESS"


def test_what_one_forgets_is_unknown_to_the_other(sides: Sides) -> None:
    ours, theirs = unique_id(), unique_id()
    sides.ours.backend.store_result(ours, 1, "SUCCESS")
    sides.theirs("store", theirs, 1, "SUCCESS")
    sides.theirs("forget", ours)
    sides.ours.AsyncResult(theirs).forget()
    assert sides.theirs("state", theirs) == "PENDING"
    assert sides.ours.AsyncResult(ours).state == "PENDING"


def test_results_of_both_expire_at_the_same_time(server: PrivateServer) -> None:
    sides = Sides(server, {"result_expires": 100})
    try:
        sides.ours.backend.store_result("ours", 1, "SUCCESS")
        sides.theirs("store", "theirs", 1, "SUCCESS")
        found = redis.Redis("127.0.0.1", server.port, protocol=2)
        left = [found.ttl(f"celery-task-meta-{name}") for name in ("ours", "theirs")]
        found.close()
        assert all(95 <= one <= 100 for one in left)
    finally:
        sides.close()
