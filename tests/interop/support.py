"""A project whose tasks umbel and Celery both have, each in processes of its own on one broker.

Results and the ledger are on Redis.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import redis

import umbel
from tests.interop import stamps, workflows
from umbel.testing.conformance.support import PATIENCE, until

SOURCE = Path(umbel.__file__).parents[1]

#: The ledger is a list on the server: each run of a task appends its side, and its argument.
TASKS = """
import os
import redis
from {module} import {App}, group

url = os.environ["LEDGER"]
app = {App}("both", broker=os.environ["BROKER"], backend=os.environ["BACKEND"])
app.conf.broker_transport_options = {{
    "visibility_timeout": 60, "unacked_restore_interval": 1, "unacked_restore_throttle": 1,
}}
app.conf.accept_content = ["json", "pickle", "yaml", "msgpack"]
app.conf.result_accept_content = ["json"]
#: Seconds of the shortest countdown.
PAUSE = 0.05
ledger = redis.Redis.from_url(url, socket_timeout=None)  # who is stuck waits for ever


@app.task(name="both.run")
def run(number):
    ledger.rpush("ledger", "{module} " + str(number))
    return ["{module}", number]


@app.task(name="both.stuck")
def stuck(number):
    # For ever on umbel's side, and as `run` does on Celery's.
    if "{module}".startswith("umbel"):
        ledger.rpush("started", number)
        ledger.blpop("never", 0)
    return run.run(number)


@app.task(name="both.echo")
def echo(*args, **kwargs):
    return [list(args), kwargs]


@app.task(name="both.fail")
def fail(text):
    raise ValueError(text)


@app.task(name="both.tell")
def tell(task_id):
    ledger.rpush("told", task_id)


@app.task(name="both.tell_error")
def tell_error(request, error, traceback):
    ledger.rpush("told", request.id + " " + repr(error))


@app.task(bind=True, name="both.retry", max_retries=3)
def retry(self):
    if self.request.retries < 2:
        raise self.retry(countdown=PAUSE)
    return ["{module}", self.request.retries]
"""

#: What each side does as a client; it prints what the other side's worker answered.
CLIENT = """
import sys
from {name} import PAUSE, echo, fail, retry, run

other = sys.argv[1]
wait = dict(timeout=20)
assert run.delay(1).get(**wait) == [other, 1]
assert run.apply_async((2,), countdown=PAUSE + 0.25).get(**wait) == [other, 2]
assert run.apply_async((3,), priority=9).get(**wait) == [other, 3]
assert run.apply_async((4,), expires=60).get(**wait) == [other, 4]
assert retry.delay().get(**wait) == [other, 2]
for serializer in ("json", "pickle", "yaml", "msgpack"):
    for compression in (None, "gzip", "bzip2", "lzma", "brotli", "zstd"):
        made = echo.apply_async(
            ("ü", 1.5, None), {{"a": [1, {{"b": True}}]}}, serializer=serializer, compression=compression
        )
        assert made.get(**wait) == [["ü", 1.5, None], {{"a": [1, {{"b": True}}]}}], (serializer, compression)
failed = fail.delay("no")
try:
    failed.get(**wait)
except ValueError as error:
    assert error.args == ("no",)
else:
    raise AssertionError("no error came")
assert "ValueError: no" in failed.traceback
# Celery's clients tell RabbitMQ, too, which then deletes what no consumer takes at once.
if other == "celery" or not run.app.conf.broker_url.startswith("amqp"):
    expired = run.apply_async((5,), expires=-1)
    try:
        expired.get(**wait)
    except Exception as error:
        assert type(error).__name__ == "TaskRevokedError", error
    else:
        raise AssertionError("it did not expire")
print("all well")
"""

#: What each side does as a client with calls that follow each other; it prints when all went as it should.
LINKS = """
from {name} import app, echo, fail, ledger, tell, tell_error


def told():
    return ledger.blpop("told", 20)[1].decode()


def value(id):
    return app.AsyncResult(id).get(timeout=20)


echo.apply_async((1,), link=[echo.s(2).set(task_id="two"), echo.si(3).set(task_id="three")])
assert value("two") == [[[[1], {{}}], 2], {{}}]
assert value("three") == [[3], {{}}]
linked = echo.s(1)
linked.link(echo.s(2).set(task_id="four")).link(echo.s(5, a=6).set(task_id="five"))
first = linked.apply_async()
assert value("five") == [[[[[[1], {{}}], 2], {{}}], 5], {{"a": 6}}]
assert [child.id for child in first.children] == ["four"]
assert [(one.id, got[0][-1]) for one, got in first.collect()] == [(first.id, 1), ("four", 2), ("five", 5)]
failed = fail.apply_async(("no",), link=echo.s(), link_error=tell.s())
assert told() == failed.id
failed = fail.apply_async(("no",), link_error=tell_error.s())
assert told() == failed.id + " ValueError('no')"
echo.apply_async((1,), chain=[dict(echo.s(3).set(task_id="last")), dict(echo.s(2).set(task_id="step"))])
assert value("last") == [[[[[[1], {{}}], 2], {{}}], 3], {{}}]
assert app.AsyncResult("step").children == [app.AsyncResult("last")]
fail.apply_async(("no",), chain=[dict(echo.s(3).set(task_id="never"))])
try:
    value("never")
except ValueError as error:
    assert error.args == ("no",)
else:
    raise AssertionError("no error came")
group = app.GroupResult("group", [app.AsyncResult("two"), app.AsyncResult("three")])
assert [got[0][-1] for got in group.get(timeout=20)] == [2, 3]
group.save()
print("all well")
"""

#: What the other side reads of that.
SAVED = """
from {name} import app
group = app.GroupResult.restore("group")
assert [one.id for one in group] == ["two", "three"]
assert [got[0][-1] for got in group.get(timeout=20)] == [2, 3]
print("all well")
"""


class Side:
    """Umbel or Celery: how its processes are started in a project."""

    def __init__(
        self,
        name: str,
        project: Path,
        url: str,
        broker: str = "",
        backend: str = "",
        conf: str = "",
    ) -> None:
        self.name = name
        self._project = project
        self._environment = {
            **os.environ,
            "BROKER": broker or url,
            "BACKEND": backend or url,
            "LEDGER": url,
            "PYTHONPATH": f"{SOURCE}{os.pathsep}{project}",
            "PYTHONUNBUFFERED": "1",
            "XDG_RUNTIME_DIR": str(project),
            "PYTHONWARNINGS": "ignore",
            "C_FORCE_ROOT": "1",  # pickle is among the serializers
        }
        self._workers: list[subprocess.Popen[bytes]] = []
        app = "Umbel" if name == "umbel" else "Celery"
        (project / f"{name}_tasks.py").write_text(
            (TASKS + workflows.TASKS + stamps.TASKS).format(module=name, App=app) + conf
        )
        programs = {
            **{"client": CLIENT, "links": LINKS, "saved": SAVED},
            **{"workflows": workflows.WORKFLOWS, "stamps": stamps.STAMPS},
        }
        for program, text in programs.items():
            written = text.format(name=f"{name}_tasks", module=name)
            (project / f"{name}_{program}.py").write_text(written)

    def worker(self, *words: str) -> subprocess.Popen[bytes]:
        """Start a worker and return when it is ready."""
        log = self._project / f"{self.name}-{len(self._workers)}.log"
        command = [sys.executable, "-m", self.name, "-A", f"{self.name}_tasks", "worker"]
        with log.open("w") as output:
            process = subprocess.Popen(
                [*command, "-l", "INFO", *words],
                cwd=self._project,
                env=self._environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._workers.append(process)

        def is_ready() -> bool:
            assert process.poll() is None, log.read_text()
            return " ready." in log.read_text()

        until(is_ready, 2 * PATIENCE)
        return process

    def moves_to(self, runtime: Path) -> None:
        """Let what is started from now on find no node of before."""
        self._environment["XDG_RUNTIME_DIR"] = str(runtime)

    def client(self, *words: str, program: str = "client") -> str:
        """Run its client to the end; return what that prints."""
        return self.python(str(self._project / f"{self.name}_{program}.py"), *words)

    def python(self, *words: str) -> str:
        """Run Python with the project to the end; return what it prints."""
        done = subprocess.run(
            [sys.executable, *words],
            cwd=self._project,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        if done.returncode:
            pytest.fail(f"{done.stdout}\n{done.stderr}")
        return done.stdout

    def send(self, count: int, first: int, options: str = "", task: str = "run") -> None:
        """Send tasks numbered from `first`."""
        self.python(
            "-c",
            f"from {self.name}_tasks import {task}\n"
            f"for number in range({first}, {first + count}):\n"
            f"    {task}.apply_async((number,), ignore_result=True, {options})",
        )

    def kill(self) -> None:
        """Kill all processes of all its workers."""
        for process in self._workers:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self._workers.clear()

    def stop(self) -> None:
        """Let its workers end as they are meant to."""
        for process in self._workers:
            process.send_signal(signal.SIGTERM)
        for process in self._workers:
            process.wait(PATIENCE)
        self._workers.clear()


def ledger(client: redis.Redis) -> list[tuple[str, int]]:
    """Return what ran: the side, and the argument."""
    entries: Sequence[bytes] = client.lrange("ledger", 0, -1)  # type: ignore[assignment]
    return [(side, int(number)) for side, number in (one.decode().split() for one in entries)]
