"""Real workers in processes of their own: how they start, what they say, and what they leave behind."""

from __future__ import annotations

import os
import platform
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from umbel import Umbel
from umbel.testing.conformance.support import PATIENCE, until

HOST = platform.node()
STAMP = r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}: "

TASKS = """
import threading
from pathlib import Path

from umbel import Umbel

here = Path(__file__).parent
app = Umbel(broker="sqlite:///" + str(here / "umbel.db"), backend="sqlite:///" + str(here / "umbel.db"))


@app.task(bind=True)
def hold(self):
    (here / "entered").touch()
    while not (here / "gate").exists():
        threading.Event().wait(0.005)
    return self.request.hostname


@app.task(bind=True)
def where(self):
    return [self.request.hostname, self.request.delivery_info["routing_key"]]
"""


class Worker:
    """One ``umbel worker``, the leader of a process group of its own."""

    def __init__(self, project: Path, words: tuple[str, ...], before: tuple[str, ...] = ()) -> None:
        self.log = project / "log"
        environment = {
            **os.environ,
            "XDG_RUNTIME_DIR": str(project / "run"),
            "PYTHONUNBUFFERED": "1",
        }
        environment.pop("PYTHONPATH", None)
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [Path(sys.executable).with_name("umbel"), "-A", "tasks", *before, "worker", *words],
                cwd=project,
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def text(self) -> str:
        return self.log.read_text()

    def says(self, words: str) -> bool:
        if words in self.text:
            return True
        assert self.process.poll() is None, self.text
        return False

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        """Return the exit code, once the process has ended."""
        try:
            return self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            pytest.fail(self.text)

    def is_gone(self) -> bool:
        """Tell whether no process of its group is left."""
        try:
            os.killpg(self.process.pid, 0)
        except ProcessLookupError:
            return True
        return False

    def close(self) -> None:
        if self.process.poll() is None or not self.is_gone():
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


Start = Callable[..., Worker]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "tasks.py").write_text(TASKS)
    (tmp_path / "run").mkdir()
    return tmp_path


@pytest.fixture
def start(project: Path) -> Iterator[Start]:
    """Start a worker, and wait until it says that it is ready."""
    started: list[Worker] = []

    def one(*words: str, ready: bool = True, before: tuple[str, ...] = ()) -> Worker:
        worker = Worker(project, ("-l", "INFO", *words), before)
        started.append(worker)
        if ready:
            until(lambda: worker.says(" ready."))
        return worker

    yield one
    for worker in started:
        worker.close()


@pytest.fixture
def app(project: Path) -> Iterator[Umbel]:
    """The project's app as a client has it."""
    url = f"sqlite:///{project / 'umbel.db'}"
    with Umbel(broker=url, backend=url) as app:
        for name in ("hold", "where"):
            app.task(name=f"tasks.{name}")(lambda: None)
        yield app


def left_behind(project: Path) -> list[Path]:
    """Return what is left in the runtime directory, but for the user's own."""
    return [path for path in (project / "run").rglob("*") if path.name != f"umbel-{os.getuid()}"]


@pytest.mark.parametrize("pool", ["prefork", "solo"])
def test_a_warm_shutdown_lets_the_task_end(
    start: Start, app: Umbel, project: Path, pool: str
) -> None:
    worker = start("-P", pool, "-c", "2")
    result = app.tasks["tasks.hold"].delay()
    until((project / "entered").exists)
    worker.send(signal.SIGTERM)
    until(lambda: worker.says("worker: Warm shutdown (MainProcess)"))
    waiting = app.tasks["tasks.where"].delay()
    (project / "gate").touch()
    assert worker.wait() == 0, worker.text
    assert result.get(timeout=1) == f"celery@{HOST}"
    assert waiting.state == "PENDING"
    until(worker.is_gone)
    assert left_behind(project) == []

    child = "MainProcess" if pool == "solo" else r"ForkPoolWorker-\d"
    for line in (
        rf"{STAMP}INFO/MainProcess\] celery@{re.escape(HOST)} ready\.",
        rf"{STAMP}INFO/{child}\] Task tasks\.hold\[{result.id}\] received",
        rf"{STAMP}INFO/{child}\] Task tasks\.hold\[{result.id}\] succeeded in \S+s: 'celery@{HOST}'",
    ):
        assert re.search(f"^{line}$", worker.text, re.MULTILINE), worker.text
    assert "  . tasks.hold\n" in worker.text
    assert "Traceback" not in worker.text


@pytest.mark.parametrize("pool", ["prefork", "solo"])
def test_a_second_interrupt_does_not_wait(
    start: Start, app: Umbel, project: Path, pool: str
) -> None:
    worker = start("-P", pool, "-c", "1")
    result = app.tasks["tasks.hold"].delay()
    until((project / "entered").exists)
    worker.send(signal.SIGINT)
    until(lambda: worker.says("Hitting Ctrl+C again will initiate cold shutdown"))
    assert worker.process.poll() is None
    worker.send(signal.SIGINT)
    assert worker.wait() == 1
    assert "worker: Cold shutdown (MainProcess)" in worker.text
    until(worker.is_gone)
    assert result.state == "PENDING"
    if pool == "solo":
        return  # its one process is gone; whoever comes next finds what it held
    depth = app.queues.depths()["celery"]
    assert (depth.ready, depth.leased, depth.dead) == (1, 0, 0)
    assert left_behind(project) == []


def test_what_a_worker_held_that_was_cut_off_runs_when_another_comes(
    start: Start, app: Umbel, project: Path
) -> None:
    worker = start("-P", "solo")
    result = app.tasks["tasks.hold"].delay()
    until((project / "entered").exists)
    worker.send(signal.SIGQUIT)
    assert worker.wait() == 1
    (project / "gate").touch()
    again = start("-P", "solo")
    assert result.get(timeout=PATIENCE) == f"celery@{HOST}"
    again.send(signal.SIGTERM)
    assert again.wait() == 0
    assert left_behind(project) == []


def test_queues_and_names(start: Start, app: Umbel) -> None:
    worker = start("-Q", "a,b", "-n", "mails@%h", "-c", "1")
    where = app.tasks["tasks.where"]
    elsewhere = where.delay()
    results = [where.apply_async(queue=queue) for queue in ("a", "b")]
    assert [result.get(timeout=PATIENCE) for result in results] == [
        [f"mails@{HOST}", "a"],
        [f"mails@{HOST}", "b"],
    ]
    assert elsewhere.state == "PENDING"
    assert f"mails@{HOST} ready." in worker.text
    assert "  .> a                exchange=a(direct) key=a\n" in worker.text
    assert "  .> b                exchange=b(direct) key=b\n" in worker.text
    worker.send(signal.SIGTERM)
    assert worker.wait() == 0


def test_what_waits_is_deleted_first_if_that_is_wanted(start: Start, app: Umbel) -> None:
    where = app.tasks["tasks.where"]
    deleted, kept = where.apply_async(queue="a"), where.apply_async(queue="b")
    worker = start("-Q", "a,b", "-X", "b", "-c", "1", "--purge")
    assert "Deleted 1 waiting messages, as --purge says." in worker.text
    assert where.apply_async(queue="a").get(timeout=PATIENCE)
    assert (deleted.state, kept.state) == ("PENDING", "PENDING")
    assert app.queues.depths()["b"].ready == 1
    worker.send(signal.SIGTERM)
    assert worker.wait() == 0


@pytest.mark.parametrize("pool", ["prefork", "solo"])
def test_a_module_of_settings_reaches_the_children(
    start: Start, app: Umbel, project: Path, pool: str
) -> None:
    (project / "more.py").write_text("worker_lease_ttl = 44\n")
    (project / "tasks.py").write_text(
        f"{TASKS}\n@app.task\ndef ttl():\n    return app.conf.worker_lease_ttl\n"
    )
    worker = start("-P", pool, "-c", "1", before=("--config", "more", "-q"))
    assert app.task(name="tasks.ttl")(lambda: None).delay().get(timeout=PATIENCE) == 44
    assert "concurrency:" not in worker.text  # quiet
    worker.send(signal.SIGTERM)
    assert worker.wait() == 0


# Apps that cannot be run, or not by forking


@pytest.mark.parametrize(
    "condition",
    [
        pytest.param("True", id="everywhere"),
        pytest.param(f"os.getppid() != {os.getpid()}", id="only in the fork server"),
    ],
)
def test_an_app_whose_import_fails(start: Start, project: Path, condition: str) -> None:
    (project / "tasks.py").write_text(
        f"import os\n{TASKS}\nif {condition}:\n    raise RuntimeError('mine')\n"
    )
    worker = start("-c", "1", ready=False)
    assert worker.wait() == 1
    assert "Traceback (most recent call last):" in worker.text
    assert "RuntimeError: mine" in worker.text
    assert "tasks.py" in worker.text
    assert re.search(r"^Error: .*tasks.*", worker.text, re.MULTILINE)
    until(worker.is_gone)
    assert left_behind(project) == []


def test_warnings_of_the_import_are_told_once_and_those_of_tasks_too(
    start: Start, app: Umbel, project: Path
) -> None:
    (project / "tasks.py").write_text(
        f"""import logging, warnings
{TASKS}
warnings.warn("about the module")
logging.warning("in the log of the module")
@app.task
def warn():
    warnings.warn("about the task")
    logging.warning("in the log of the task")
"""
    )
    worker = start("-c", "1")
    assert app.task(name="tasks.warn")(lambda: None).delay().get(timeout=PATIENCE) is None
    worker.send(signal.SIGTERM)
    assert worker.wait() == 0
    for words in ("Warning: about the", ":in the log of the module", "in the log of the task"):
        assert worker.text.count(words) == (2 if words.startswith("Warning") else 1), worker.text


def test_an_app_that_is_not_there(start: Start, project: Path) -> None:
    (project / "tasks.py").unlink()
    worker = start("-c", "1", ready=False)
    assert worker.wait() == 2
    assert "Error: No app was found for -A tasks. Tried: module tasks." in worker.text
    assert "Traceback" not in worker.text
    until(worker.is_gone)


def test_an_app_that_starts_a_thread_has_its_children_spawned(
    start: Start, app: Umbel, project: Path
) -> None:
    (project / "tasks.py").write_text(
        f"{TASKS}\nthreading.Thread(target=threading.Event().wait, name='mine', daemon=True).start()\n"
    )
    worker = start("-c", "2")
    assert app.tasks["tasks.where"].delay().get(timeout=PATIENCE) == [f"celery@{HOST}", "celery"]
    said = "Importing the app leaves the thread 'mine' open, which a fork would break"
    assert worker.text.count(said) == 1
    worker.send(signal.SIGTERM)
    assert worker.wait() == 0, worker.text
    until(worker.is_gone)
    assert left_behind(project) == []


MEMORY = """
from umbel import Umbel
from umbel.signals import worker_ready

app = Umbel(broker="memory://", backend="memory://")


@app.task
def hello():
    return "hello"


@worker_ready.connect
def begin(**_):
    hello.delay()
"""


def test_memory_is_refused_where_children_cannot_reach_it(start: Start, project: Path) -> None:
    (project / "tasks.py").write_text(MEMORY)
    worker = start("-c", "1", ready=False)
    assert worker.wait() == 2
    assert (
        "Error: memory:// lives in one process, which child processes cannot reach. Use -P solo"
        in (worker.text)
    )
    assert "Traceback" not in worker.text
    until(worker.is_gone)
    assert left_behind(project) == []


def test_memory_works_within_one_process(start: Start, project: Path) -> None:
    (project / "tasks.py").write_text(MEMORY)
    worker = start("-P", "solo")
    until(lambda: worker.says("succeeded in"))
    assert re.search(
        r"INFO/MainProcess\] Task tasks\.hello\[.*\] succeeded in .*: 'hello'", worker.text
    )
    worker.send(signal.SIGTERM)
    assert worker.wait() == 0
    until(worker.is_gone)
    assert left_behind(project) == []
