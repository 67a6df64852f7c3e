"""What tasks are called for, with real workers, on SQLite and on Redis.

The families of scenarios are those that Celery's integration tests of tasks go through
(t/integration/test_tasks.py), as far as no other test has them with a real worker; those of workflows are in
tests/unit/canvas/test_scenarios.py. All tests of an engine share two workers.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.e2e.support import SOURCE, Worker
from tests.redis_servers import PrivateServer, private_server
from umbel import AsyncResult, group
from umbel.engines.redis.subscription import LEAVING
from umbel.exceptions import Reject, TaskRevokedError
from umbel.testing.conformance.support import PATIENCE, until

TASKS = """
import logging
import threading
from pathlib import Path

from umbel import Task, Umbel
from umbel.exceptions import Reject, SoftTimeLimitExceeded

here = Path(__file__).parent
app = Umbel("tasks", broker="{url}", backend="{url}")
logger = logging.getLogger(__name__)
LONG = 60


@app.task
def add(x, y, z=0):
    return x + y + z


@app.task(typing=False)
def unchecked(x, y):
    return x + y


class Patient(Task):
    name = "tasks.patient"
    autoretry_for = (ValueError,)
    retry_kwargs = {{"max_retries": 1}}
    retry_backoff = True

    def run(self):
        if not self.request.retries:
            raise ValueError("not yet")
        return self.request.retries


patient = app.register_task(Patient())


@app.task(bind=True, max_retries=1, expires=120)
def again(self, show, **options):
    if not self.request.retries:
        raise self.retry(countdown=0.05, **options)
    return {{
        "retries": self.request.retries,
        "priority": self.request.delivery_info["priority"],
        "headers": self.request.headers,
    }}[show]


@app.task(bind=True, max_retries=1, ignore_result=True)
def quiet(self):
    if not self.request.retries:
        raise self.retry(countdown=0.05)
    return self.request.retries


@app.task(bind=True, max_retries=1)
def keeps_trying(self, countdown=0.05):
    raise self.retry(exc=ValueError("not today"), countdown=countdown)


class Odd(Exception):
    # It cannot be made again from its arguments.

    def __init__(self, text, other=None):
        if other is None:
            raise TypeError("other is missing")
        super().__init__(text)


@app.task
def odd():
    raise Odd("strange", 2)


@app.task(bind=True, max_retries=1)
def odd_again(self):
    raise self.retry(exc=Odd("strange", 2), countdown=LONG)


@app.task
def reject():
    raise Reject("a reason", requeue=False)


@app.task(bind=True)
def reject_once(self):
    if not (self.request.delivery_info or {{}}).get("redelivered"):
        raise Reject("for now", requeue=True)
    return "the second time"


@app.task
def say(text):
    print("printed " + text)
    logger.warning("logged " + text)


@app.task(bind=True)
def properties(self):
    return self.request.properties


@app.task(bind=True)
def limits(self):
    return [self.request.time_limit, self.request.soft_time_limit]


@app.task(bind=True, time_limit=60, soft_time_limit=45)
def limited(self):
    return [self.request.time_limit, self.request.soft_time_limit]


@app.task(soft_time_limit=0.3)
def total_in_time(numbers, late=False):
    try:
        while late:
            threading.Event().wait(0.005)
        return sum(numbers)
    except SoftTimeLimitExceeded:
        return 0


@app.task
def hold(name):
    (here / (name + "-entered")).touch()
    while not (here / name).exists():
        threading.Event().wait(0.005)


@app.task(bind=True)
def ids(self, depth):
    deeper = [] if depth == 0 else ids.apply((depth - 1,)).result
    return [[self.request.id, self.request.parent_id, self.request.root_id], *deeper]


@app.task(bind=True)
def nesting(self, levels):
    if levels:
        return self.replace(nesting.s(levels - 1))
    return self.request.replaced_task_nesting
"""

#: A client whose pool of processes or threads calls at the same time. The parent has called before.
PRODUCERS = """
import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

from tasks import add


def produce(number):
    sent = [(number + n, add.delay(number, n)) for n in range(20)]
    for expected, result in sent:
        assert result.get(timeout=60) == expected
        assert (result.state, result.ready(), result.successful()) == ("SUCCESS", True, True)
    return number


if __name__ == "__main__":
    assert add.delay(1, 1).get(timeout=60) == 2
    if sys.argv[1] == "threads":
        pool = ThreadPoolExecutor(20)
    else:
        pool = ProcessPoolExecutor(6, multiprocessing.get_context(sys.argv[1]))
    with pool:
        assert list(pool.map(produce, range(40))) == list(range(40))
    assert add.delay(2, 2).get(timeout=60) == 4
    print("all well")
"""


class Place:
    """A project on one engine, its tasks as a client has them, and its workers."""

    def __init__(self, path: Path, url: str, server: PrivateServer | None) -> None:
        self.path = path
        self.server = server
        (path / "run").mkdir()
        (path / "tasks.py").write_text(TASKS.format(url=url))
        (path / "producers.py").write_text(PRODUCERS)
        spec = importlib.util.spec_from_file_location("tasks", path / "tasks.py")
        assert spec is not None
        assert spec.loader is not None
        self.tasks: ModuleType = importlib.util.module_from_spec(spec)
        sys.modules["tasks"] = self.tasks  # where classes of errors are looked for
        spec.loader.exec_module(self.tasks)
        self.many = Worker(path, ("-l", "INFO", "-n", "many", "-c", "2"), logs_to="many")
        self.one = Worker(path, ("-l", "INFO", "-n", "one", "-Q", "one", "-c", "1"), logs_to="one")

    def send(self, name: str, *args: Any, **options: Any) -> AsyncResult[Any]:
        sent: AsyncResult[Any] = getattr(self.tasks, name).apply_async(args, **options)
        return sent

    def ask(self, name: str, *args: Any, **options: Any) -> Any:
        return self.send(name, *args, **options).get(timeout=PATIENCE)

    def close(self) -> None:
        for worker in (self.many, self.one):
            worker.close()
        self.tasks.app.close()
        del sys.modules["tasks"]


@pytest.fixture(scope="module", params=["sqlite", pytest.param("redis", marks=pytest.mark.engine)])
def place(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    path = tmp_path_factory.mktemp("scenarios")
    if request.param == "sqlite":
        yield from _places(path, f"sqlite:///{path / 'umbel.db'}", None)
    else:
        with private_server(path) as server:
            yield from _places(path, server.url, server)


def _places(path: Path, url: str, server: PrivateServer | None) -> Iterator[Place]:
    place = Place(path, url, server)
    try:
        until(lambda: place.many.says(" ready.") and place.one.says(" ready."))
        yield place
    finally:
        place.close()


# Who calls


@pytest.mark.parametrize("kind", ["threads", "fork", "spawn"])
def test_many_call_at_the_same_time(place: Place, kind: str) -> None:
    """Each of forty sends twenty calls and gets their results: from threads, or from processes."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "producers.py", kind],
        cwd=place.path,
        env={"PYTHONPATH": f"{SOURCE}:{place.path}", "XDG_RUNTIME_DIR": str(place.path / "run")},
        capture_output=True,
        text=True,
        timeout=4 * PATIENCE,
        check=False,
    )
    assert done.stdout == "all well\n", done.stderr


def test_one_after_the_other_with_arguments_and_keywords(place: Place) -> None:
    sent = [(3 * n, place.tasks.add.delay(n, n, z=n)) for n in range(10)]
    for expected, result in sent:
        assert result.get(timeout=PATIENCE) == expected
        assert (result.state, result.ready(), result.failed()) == ("SUCCESS", True, False)
    assert place.tasks.add(1, 1, z=1) == 3


def test_arguments_that_were_not_checked_fail_in_the_worker(place: Place) -> None:
    for args, kwargs in (((5,), {}), ((5,), {"wrong": 5})):
        result = place.tasks.unchecked.apply_async(args, kwargs)
        with pytest.raises(TypeError):
            result.get(timeout=PATIENCE)
        assert result.state == "FAILURE"


def test_a_call_within_a_call_knows_its_parent_and_its_root(place: Place) -> None:
    """Those that `apply` runs within each other: here, and in a worker."""
    for found in (place.tasks.ids.apply((2,)).get(), place.ask("ids", 2)):
        (first, *_), (second, *_), _ = found
        parents, roots = [one[1] for one in found], [one[2] for one in found]
        assert parents == [None, first, second]
        assert roots == [first] * 3
        assert len({one[0] for one in found}) == 3


# Trying again


def test_a_class_may_say_what_is_tried_again(place: Place) -> None:
    assert place.ask("patient") == 1


@pytest.mark.parametrize("options", [{}, {"expires": 60}, {"max_retries": 1}])
def test_a_call_is_tried_again(place: Place, options: dict[str, Any]) -> None:
    result = place.tasks.again.delay("retries", **options)
    assert result.get(timeout=PATIENCE) == 1


def test_a_retry_keeps_priority_and_headers(place: Place) -> None:
    assert place.ask("again", "priority", priority=7) == 7
    headers = place.ask("again", "headers", headers={"x-tenant": "a"})
    assert headers["x-tenant"] == "a"


def test_a_call_says_whether_its_result_is_stored(place: Place) -> None:
    """Whatever its task says, also when it is tried again."""
    wanted = place.send("quiet", ignore_result=False)
    assert (wanted.ignored, wanted.get(timeout=PATIENCE), wanted.state) == (False, 1, "SUCCESS")
    left = [place.send("quiet"), place.send("again", "retries", ignore_result=True)]
    left += [place.tasks.app.send_task("tasks.quiet")]
    until(lambda: all(place.many.says(f"{one.id}] succeeded") for one in left))
    assert [place.tasks.app.AsyncResult(one.id).state for one in left] == ["PENDING"] * 3


def test_a_call_that_is_tried_too_often_fails_with_its_error(place: Place) -> None:
    result = place.send("keeps_trying")
    with pytest.raises(ValueError, match="not today"):
        result.get(timeout=PATIENCE)
    assert result.state == "FAILURE"


@pytest.mark.parametrize("name", ["keeps_trying", "odd_again"])
def test_meanwhile_the_error_is_what_its_result_is(place: Place, name: str) -> None:
    """Also one that cannot be made again from its arguments."""
    result = place.send(name, *([60] if name == "keeps_trying" else []))
    until(lambda: result.state == "RETRY")
    error = result.result
    assert isinstance(error, Exception)
    words = "not today" if name == "keeps_trying" else "strange"
    assert words in str(error)
    assert ("Odd" in repr(error)) == (name == "odd_again")
    assert not result.ready()


def test_an_error_that_cannot_be_made_again_is_told_all_the_same(place: Place) -> None:
    result = place.send("odd")
    with pytest.raises(Exception, match="strange") as raised:
        result.get(timeout=PATIENCE)
    assert "Odd" in repr(raised.value)
    assert result.state == "FAILURE"


# What is not run, or not at once


def test_a_call_that_is_rejected_has_failed(place: Place) -> None:
    result = place.send("reject")
    with pytest.raises(Reject, match="a reason"):
        result.get(timeout=PATIENCE)
    assert (result.state, result.ready(), result.failed()) == ("FAILURE", True, True)


def test_a_call_that_is_put_back_is_delivered_again(place: Place) -> None:
    result = place.send("reject_once")
    assert result.get(timeout=PATIENCE) == "the second time"
    assert (result.state, result.failed()) == ("SUCCESS", False)


def test_what_waits_for_too_long_expires(place: Place) -> None:
    """Whether that is said in seconds or as a moment."""
    place.send("hold", "expiry", queue="one")
    until((place.path / "expiry-entered").exists)
    moment = datetime.fromtimestamp(place.tasks.app.clock.time(), UTC) + timedelta(seconds=0.3)
    late = [place.send("add", 1, 1, queue="one", expires=when) for when in (0.3, moment)]
    over = time.monotonic() + 0.4
    until(lambda: time.monotonic() > over)
    (place.path / "expiry").touch()
    for result in late:
        with pytest.raises(TaskRevokedError):
            result.get(timeout=PATIENCE)
        assert result.state == "REVOKED"
        assert (result.ready(), result.failed(), result.successful()) == (True, False, False)


@pytest.mark.parametrize("kind", ["countdown", "eta"])
def test_what_is_for_later_is_run_then(place: Place, kind: str) -> None:
    began = time.monotonic()
    moment = datetime.fromtimestamp(place.tasks.app.clock.time(), UTC) + timedelta(seconds=0.5)
    result = place.send(
        "add", 1, 1, **({"countdown": 0.5} if kind == "countdown" else {"eta": moment})
    )
    assert result.get(timeout=PATIENCE) == 2
    assert time.monotonic() - began >= 0.49  # a moment has microseconds


# What a task sees, and what is told of it


def test_limits_are_in_the_request(place: Place) -> None:
    """Those of the call, else those of the task, else none."""
    assert place.ask("limits") == [None, None]
    assert place.ask("limits", time_limit=30, soft_time_limit=20) == [30, 20]
    assert place.ask("limited") == [60, 45]
    assert place.ask("limited", time_limit=10, soft_time_limit=5) == [10, 5]


def test_a_body_may_go_on_after_its_soft_limit(place: Place) -> None:
    numbers = group(place.tasks.add.s(n, n) for n in range(3))
    late = (numbers | place.tasks.total_in_time.s(late=True)).delay()
    assert late.get(timeout=PATIENCE) == 0
    assert (numbers | place.tasks.total_in_time.s()).delay().get(timeout=PATIENCE) == 6


def test_properties_of_a_message_are_in_the_request(place: Place) -> None:
    assert place.ask("properties", app_id="1234")["app_id"] == "1234"


def test_text_of_any_kind_is_printed_and_logged(place: Place) -> None:
    group(place.tasks.say.s(f"håå {n} ®ƒ hiöäüß") for n in range(5)).delay().get(timeout=PATIENCE)
    for n in range(5):
        for word in ("printed", "logged"):
            words = f"{word} håå {n} ®ƒ hiöäüß"
            until(partial(place.many.says, words))


def test_how_often_a_call_was_replaced_is_in_its_request(place: Place) -> None:
    assert [place.ask("nesting", levels) for levels in (0, 1, 3)] == [0, 1, 3]


# Who waits


@pytest.mark.parametrize(
    "place", [pytest.param("redis", marks=pytest.mark.engine)], indirect=True, scope="module"
)
def test_of_results_that_nobody_waits_for_nothing_is_heard(place: Place) -> None:
    """Of those that somebody has waited for some are still listened to, since they are left together."""

    def channels() -> set[str]:
        assert place.server is not None
        return {str(one) for one in place.server.admin.pubsub_channels("*celery-task-meta-*")}

    for n in range(2 * LEAVING):
        assert place.ask("add", n, 1) == n + 1
    until(lambda: len(channels()) < LEAVING)
    before = channels()
    place.send("add", 1, 2).forget()
    ignored = place.send("add", 1, 2, ignore_result=True)
    assert ignored.get() is None
    assert place.send("add", 1, 2).state in {"PENDING", "SUCCESS"}
    assert channels() == before
