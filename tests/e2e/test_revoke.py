"""Revoking, with real workers: what waits never starts, what runs is ended, and nothing else is hurt."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests import postgres_servers, rabbitmq_servers, redis_servers
from tests.e2e.support import Start, Worker, children_of
from umbel import AsyncResult, Umbel
from umbel.exceptions import ImproperlyConfigured, TaskRevokedError
from umbel.ports import REVOKED
from umbel.testing.conformance.support import PATIENCE, until
from umbel.worker.page import Page

TASKS = """
import asyncio
import json
import signal
import threading
import time
from pathlib import Path

from umbel import Umbel
from umbel.signals import task_revoked

here = Path(__file__).parent
app = Umbel(**json.loads((here / "settings.json").read_text()))


def note(name, text):
    with (here / name).open("a") as file:
        file.write(f"{text}\\n")


@task_revoked.connect
def told(sender, request, terminated, signum, expired, **more):
    note("told", f"{sender} {request.id} {terminated} {signum} {expired}")


@app.task(bind=True)
def short(self, seconds=0.0):
    note("started", self.request.id)
    time.sleep(seconds)
    note("ended", self.request.id)
    return self.request.id


@app.task(bind=True)
def hold(self):
    note("started", self.request.id)
    while not (here / "gate").exists():
        threading.Event().wait(0.005)
    note("ended", self.request.id)


@app.task(bind=True, time_limit=300)
def limited(self):
    hold.run.__func__(self)


@app.task(bind=True)
async def dwell(self):
    note("started", self.request.id)
    try:
        while not (here / "gate").exists():
            await asyncio.sleep(0.005)
    except asyncio.CancelledError:
        note("cancelled", self.request.id)
        raise
    note("ended", self.request.id)


@app.task(bind=True)
def cleans_up(self):
    signal.signal(signal.SIGTERM, lambda *_: note("cleaned", self.request.id))
    note("started", self.request.id)
    while not (here / "gate").exists():
        threading.Event().wait(0.005)


@app.task(bind=True, max_retries=9)
def again(self):
    note("started", f"{self.request.id} {self.request.retries}")
    raise self.retry(countdown=1.0)
"""

#: Where messages and state are one, and where the state is elsewhere.
JOINT, APART = ("sqlite", "redis", "postgres"), ("rabbitmq",)


class Scene:
    """A project at one place, and who sends to it."""

    def __init__(self, project: Path, settings: dict[str, Any], start: Start) -> None:
        self.project = project
        (project / "settings.json").write_text(json.dumps(settings))
        (project / "tasks.py").write_text(TASKS)
        self.app = Umbel("tasks", set_as_current=False, **settings)
        self._start = start

    def start(self, *words: str) -> Worker:
        worker = self._start(*(words or ("-c", "1")))
        until(lambda: worker.says("ready."))
        return worker

    def send(self, name: str, **options: Any) -> AsyncResult[Any]:
        return self.app.send_task(f"tasks.{name}", **options)

    def stamped(self, name: str, countdown: float | None = None, **stamps: Any) -> AsyncResult[Any]:
        signature = self.app.signature(f"tasks.{name}").stamp(**stamps)
        return signature.apply_async(countdown=countdown)

    def noted(self, name: str) -> list[str]:
        path = self.project / name
        return path.read_text().split("\n")[:-1] if path.exists() else []

    def has_started(self, result: AsyncResult[Any]) -> bool:
        return result.id in self.noted("started")

    def is_heard(self) -> bool:
        """Tell whether all children have been told of all that is revoked."""
        version = self.app.engines.state_store().version(REVOKED)
        pages = [Page.open(path) for path in (self.project / "run").rglob("*.page")]
        return all(page.revocations == version for page in pages)

    def is_revoked(self, result: AsyncResult[Any], why: str = "revoked") -> bool:
        state = result.state
        if state != "REVOKED":
            assert state in ("PENDING", "RETRY", "STARTED")
            return False
        assert isinstance(result.result, TaskRevokedError)
        assert str(result.result) == why
        return True


@pytest.fixture(params=[*JOINT, *APART])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, Any]]:
    with ExitStack() as stack:
        yield place(request.param, tmp_path, stack)


def place(name: str, directory: Path, stack: ExitStack) -> dict[str, Any]:
    """Return the settings of a place of its own."""
    if name == "sqlite":
        url = f"sqlite:///{directory}/umbel.db"
        return {"broker_url": url, "result_backend": url}
    if name == "postgres":
        url, _ = stack.enter_context(postgres_servers.shared_space())
        return {"broker_url": url, "result_backend": url}
    url, prefix = stack.enter_context(redis_servers.shared_space())
    keys = {
        "broker_transport_options": {"global_keyprefix": prefix},
        "result_backend_transport_options": {"global_keyprefix": prefix},
    }
    if name == "redis":
        return {"broker_url": url, "result_backend": url, **keys}
    broker = stack.enter_context(rabbitmq_servers.own_vhost())
    return {"broker_url": broker, "result_backend": url, **keys}


@pytest.fixture
def scene(project: Path, settings: dict[str, Any], start: Start) -> Iterator[Scene]:
    made = Scene(project, settings, start)
    yield made
    (project / "gate").touch()
    made.app.close()


@pytest.fixture
def at_home(project: Path, tmp_path: Path, start: Start) -> Iterator[Scene]:
    """At one place, for what does not differ."""
    with ExitStack() as stack:
        made = Scene(project, place("sqlite", tmp_path, stack), start)
        yield made
        (project / "gate").touch()
        made.app.close()


def test_what_is_revoked_while_all_workers_are_down_never_starts(scene: Scene) -> None:
    waits, later, stays = (
        scene.send("short"),
        scene.send("short", countdown=1.0),
        scene.send("short"),
    )
    several = [scene.send("short") for _ in range(3)]
    waits.revoke()
    later.revoke()
    group_result = scene.app.GroupResult("some", several)
    group_result.revoke()
    worker = scene.start()
    assert stays.get(timeout=PATIENCE) == stays.id
    revoked = [waits, later, *several]
    for result in revoked:
        until(lambda: scene.is_revoked(result))  # noqa: B023 - called at once
    with pytest.raises(TaskRevokedError, match="revoked"):
        waits.get(timeout=PATIENCE)
    assert scene.noted("started") == [stays.id]
    until(lambda: len(scene.noted("told")) == len(revoked))
    assert sorted(scene.noted("told")) == sorted(
        f"tasks.short {result.id} False None False" for result in revoked
    )
    assert worker.text.count("Discarding revoked task: tasks.short[") == len(revoked)
    assert f"Discarding revoked task: tasks.short[{waits.id}]\n" in worker.text


def test_what_waits_for_its_time_or_is_retried_never_starts_again(scene: Scene) -> None:
    first = scene.start()
    later, retried = scene.send("short", countdown=2.0), scene.send("again")
    until(lambda: retried.state == "RETRY")
    later.revoke()
    scene.app.control.revoke([retried.id])
    tries = len(scene.noted("started"))
    first.close()  # and whoever heard of it is gone
    scene.start()
    until(lambda: scene.is_revoked(later))
    until(lambda: scene.is_revoked(retried))
    # A try may have been on its way when it was revoked.
    assert len(scene.noted("started")) <= tries + 1
    assert not scene.has_started(later)


@pytest.mark.parametrize("executor", ["prefork", "threads", "asyncio", "solo"])
def test_an_idle_worker_never_starts_what_was_revoked_before(scene: Scene, executor: str) -> None:
    """By an id that is revoked first: what comes to a worker that waits is not run at once either."""
    scene.start("-P", executor, "-c", "2")
    is_told = scene.app.engine(scene.app.broker_url).features.tells_revocations
    for number in range(20 if is_told else 3):
        name = f"chosen {number}"
        scene.app.control.revoke(name)
        if not is_told:  # the node hears of it within a second or two
            until(scene.is_heard)
        assert scene.send("short", task_id=name).id == name
        others = scene.send("short")
        assert others.get(timeout=PATIENCE) == others.id
        result = scene.app.AsyncResult(name)
        until(lambda: scene.is_revoked(result))  # noqa: B023 - called at once
    assert not [name for name in scene.noted("started") if name.startswith("chosen")]


def test_what_runs_is_ended_and_its_worker_goes_on(scene: Scene) -> None:
    worker = scene.start()
    running, behind = scene.send("hold"), scene.send("short")
    until(lambda: scene.has_started(running))
    before = children_of(worker.fork_server())
    running.revoke(terminate=True)
    until(lambda: scene.is_revoked(running, "terminated"))
    assert behind.get(timeout=PATIENCE) == behind.id
    assert scene.noted("ended") == [behind.id]
    assert children_of(worker.fork_server()) != before
    assert f"Terminating tasks.hold[{running.id}] (SIGTERM)" in worker.text
    until(lambda: scene.noted("told") == [f"tasks.hold {running.id} True 15 False"])
    assert "ERROR" not in worker.text
    assert scene.noted("started").count(running.id) == 1
    assert not scene.app.queues.dead_letters(10)


@pytest.mark.parametrize("name", ["hold", "limited", "dwell"])
@pytest.mark.parametrize("executor", ["prefork", "threads", "asyncio"])
def test_each_executor_ends_what_runs_and_nothing_else(
    at_home: Scene, executor: str, name: str
) -> None:
    scene, words = at_home, ["-P", executor, "-c", "3"]
    worker = scene.start(*words)
    ended, beside = scene.send(name), [scene.send(name), scene.send("hold")]
    until(lambda: len(set(scene.noted("started"))) == 3)
    ended.revoke(terminate=True, signal="SIGKILL")
    until(lambda: scene.is_revoked(ended, "terminated"))
    until(lambda: scene.noted("told") == [f"tasks.{name} {ended.id} True 9 False"])
    after = scene.send("short")
    if executor != "prefork":  # where the slot may be taken until all of its process end
        assert after.get(timeout=PATIENCE) == after.id
    (scene.project / "gate").touch()
    for result in (*beside, after):
        result.get(timeout=PATIENCE)
    assert ended.state == "REVOKED"
    assert scene.noted("started").count(ended.id) == 1
    assert all(scene.noted("started").count(result.id) == 1 for result in beside)
    assert "dead letter" not in worker.text
    if executor == "asyncio" and name == "dwell":
        assert scene.noted("cancelled") == [ended.id]
        assert "takes its place" not in worker.text


def test_a_task_that_handles_the_signal_may_clean_up(at_home: Scene) -> None:
    at_home.start()
    result = at_home.send("cleans_up")
    until(lambda: at_home.has_started(result))
    result.revoke(terminate=True)
    until(lambda: at_home.is_revoked(result, "terminated"))
    assert at_home.noted("cleaned") == [result.id]


def test_what_runs_goes_on_unless_it_is_to_be_ended(at_home: Scene) -> None:
    at_home.start()
    result = at_home.send("hold")
    until(lambda: at_home.has_started(result))
    result.revoke()
    until(at_home.is_heard)
    (at_home.project / "gate").touch()
    assert result.get(timeout=PATIENCE) is None


def test_what_has_a_revoked_stamp_never_starts(scene: Scene) -> None:
    """What is queued and what is scheduled, by a worker that runs and by one that starts later."""
    revoke = scene.app.control.revoke_by_stamped_headers
    waits, later = scene.stamped("short", tenant="a"), scene.stamped("short", 1.0, order=7)
    several = scene.stamped("short", tenant=["b", "c"])
    stays = [scene.stamped("short", tenant="d", order="7"), scene.send("short")]
    others: list[Any] = [7.5, True, {"a": [1]}, Decimal("1.5"), "\0\u20ac"]
    if not scene.app.broker_url.startswith("amqp"):  # whose headers have no such values
        others += [uuid.UUID(int=7), b"\0\xff"]
    typed = [scene.stamped("short", v=one) for one in others]
    revoke({"tenant": ["a", "c"], "order": 7, "v": others})
    first = scene.start()
    for result in stays:
        assert result.get(timeout=PATIENCE) == result.id
    for result in (waits, later, several, *typed):
        until(lambda: scene.is_revoked(result))  # noqa: B023 - called at once
    shown = (
        f"Discarding revoked task: tasks.short[{waits.id}] (revoked by header: {{'tenant': 'a'}})\n"
    )
    assert shown in first.text
    until(lambda: f"tasks.short {waits.id} False None False" in scene.noted("told"))
    parked = scene.stamped("short", 2.0, tenant="e")
    revoke({"tenant": "e"})
    until(scene.is_heard)
    first.close()
    scene.start()
    until(lambda: scene.is_revoked(parked))
    after = scene.stamped("short", tenant="a")  # sent after it was revoked
    until(lambda: scene.is_revoked(after))
    assert sorted(scene.noted("started")) == sorted(result.id for result in stays)


def test_what_runs_and_has_a_stamp_is_ended_and_nothing_else(scene: Scene) -> None:
    worker = scene.start("-c", "2")
    ended, beside = scene.stamped("hold", n=[1, 2]), scene.stamped("hold", n="2")
    until(lambda: scene.has_started(ended) and scene.has_started(beside))
    behind = scene.stamped("short", n=3)
    ended.revoke_by_stamped_headers({"n": 2}, terminate=True, signal="SIGKILL")
    until(lambda: scene.is_revoked(ended, "terminated"))
    until(lambda: worker.says(f"Terminating tasks.hold[{ended.id}] (SIGKILL)"))
    assert behind.get(timeout=PATIENCE) == behind.id
    (scene.project / "gate").touch()
    beside.get(timeout=PATIENCE)
    assert scene.noted("started").count(ended.id) == scene.noted("started").count(beside.id) == 1
    assert not scene.app.queues.dead_letters(10)


@pytest.mark.parametrize("executor", ["threads", "asyncio"])
def test_each_executor_ends_what_has_a_stamp(at_home: Scene, executor: str) -> None:
    scene = at_home
    scene.start("-P", executor, "-c", "3")
    ended, beside = scene.stamped("dwell", n=1), scene.stamped("dwell", n=2)
    until(lambda: scene.has_started(ended) and scene.has_started(beside))
    scene.app.control.revoke_by_stamped_headers({"n": 1}, terminate=True)
    until(lambda: scene.is_revoked(ended, "terminated"))
    never = scene.stamped("short", n=1)
    until(lambda: scene.is_revoked(never))
    (scene.project / "gate").touch()
    beside.get(timeout=PATIENCE)
    assert not scene.has_started(never)


def test_never_is_another_task_ended_than_the_one_that_is_meant(scene: Scene) -> None:
    """Short tasks, each of which is to be ended about when it ends by itself and the next one begins."""
    scene.start("-c", "2")
    sent = [scene.send("short", kwargs={"seconds": 0.02 * (n % 3)}) for n in range(120)]
    revoked: set[str] = set()
    while not all(result.ready() for result in sent):
        for one in set(scene.noted("started")[-4:][::2]) - revoked:
            scene.app.control.terminate(one)
            revoked.add(one)
    assert revoked
    ended = scene.noted("ended")
    for result in sent:
        if result.id not in revoked:
            assert result.state == "SUCCESS"
        if result.state == "SUCCESS":
            assert ended.count(result.id) == 1
        else:
            assert result.state == "REVOKED"


def test_where_nothing_keeps_state_it_says_what_to_set(project: Path, start: Start) -> None:
    app = Umbel(broker="amqp://localhost", backend=None, set_as_current=False)
    with pytest.raises(ImproperlyConfigured, match="Set state_url"):
        app.AsyncResult("any").revoke()
    app.close()
