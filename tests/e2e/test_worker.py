"""Real workers in processes of their own: how they start, what they say, and what they leave behind."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest

from tests.e2e.support import HOST, TASKS, Start, children_of, left_behind
from umbel import Umbel
from umbel.testing.conformance.support import PATIENCE, until

STAMP = r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}: "


@pytest.mark.parametrize("pool", ["prefork", "solo", "threads", "asyncio"])
def test_a_warm_shutdown_lets_the_task_end(
    start: Start, app: Umbel, project: Path, pool: str
) -> None:
    has_slots = pool in ("threads", "asyncio")
    worker = start("-P", pool, *(("-c", "1", "--processes", "2") if has_slots else ("-c", "2")))
    result = app.tasks["tasks.hold"].delay()
    until((project / "entered").exists)
    worker.send(signal.SIGTERM)
    until(lambda: worker.says("worker: Warm shutdown (MainProcess)"))
    if pool != "solo":  # the child that has nothing to do has heard of it
        until(lambda: len(children_of(worker.fork_server())) == 1)
    waiting = app.tasks["tasks.where"].delay()
    (project / "gate").touch()
    assert worker.wait() == 0, worker.text
    assert result.get(timeout=1) == f"celery@{HOST}"
    assert waiting.state == "PENDING"
    until(worker.is_gone)
    assert left_behind(project) == []

    if has_slots:
        assert f"  concurrency: 2 x 1 ({pool})" in worker.text
    child = "MainProcess" if pool == "solo" else r"ForkPoolWorker-\d"
    for line in (
        rf"{STAMP}INFO/MainProcess\] celery@{re.escape(HOST)} ready\.",
        rf"{STAMP}INFO/{child}\] Task tasks\.hold\[{result.id}\] received",
        rf"{STAMP}INFO/{child}\] Task tasks\.hold\[{result.id}\] succeeded in \S+s: 'celery@{HOST}'",
    ):
        assert re.search(f"^{line}$", worker.text, re.MULTILINE), worker.text
    assert "  . tasks.hold\n" in worker.text
    assert "Traceback" not in worker.text


@pytest.mark.parametrize("pool", ["prefork", "solo", "threads", "asyncio"])
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
    until(worker.is_gone)
    assert result.state == "PENDING"
    assert "worker: Cold shutdown (MainProcess)" in worker.text
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
    worker = start("-P", pool, "-c", "1", options=("--config", "more", "-q"))
    assert app.task(name="tasks.ttl")(lambda: None).delay().get(timeout=PATIENCE) == 44
    assert "concurrency:" not in worker.text  # quiet
    worker.send(signal.SIGTERM)
    assert worker.wait() == 0


# Apps that cannot be run, or not by forking


def test_an_app_whose_import_fails(start: Start, project: Path) -> None:
    (project / "tasks.py").write_text(f"{TASKS}\nraise RuntimeError('mine')\n")
    worker = start("-c", "1", ready=False)
    assert worker.wait() == 1
    assert "Traceback (most recent call last):" in worker.text
    assert "RuntimeError: mine" in worker.text
    assert "tasks.py" in worker.text
    assert re.search(r"^Error: .*tasks.*", worker.text, re.MULTILINE)
    until(worker.is_gone)
    assert left_behind(project) == []


@pytest.mark.parametrize("fit", [True, False], ids=["forked", "spawned"])
def test_warnings_of_the_import_are_told_once_and_those_of_tasks_too(
    start: Start, app: Umbel, project: Path, fit: bool
) -> None:
    thread = "threading.Thread(target=threading.Event().wait, daemon=True).start()"
    (project / "tasks.py").write_text(
        f"""import logging, warnings
{TASKS}
{"" if fit else thread}
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
    for words in (
        "Warning: about the module",
        ":in the log of the module",
        "Warning: about the task",
        "] in the log of the task",
    ):
        assert worker.text.count(words) == 1, worker.text


def test_a_worker_that_stops_leaves_nothing_open(
    start: Start, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONWARNINGS", "default::ResourceWarning")
    worker = start("-c", "1")
    worker.send(signal.SIGTERM)
    assert worker.wait() == 0
    until(worker.is_gone)
    assert "ResourceWarning" not in worker.text


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


def test_greenlets_are_threads_here_which_is_said(start: Start, app: Umbel) -> None:
    worker = start("-P", "gevent", "-c", "3", "--processes", "2")
    assert "  concurrency: 2 x 3 (threads)" in worker.text
    assert worker.text.count("There are no greenlets here: -P gevent runs tasks in threads") == 1
    assert len(children_of(worker.fork_server())) == 2
    assert app.tasks["tasks.where"].delay().get(timeout=PATIENCE) == [f"celery@{HOST}", "celery"]
    worker.send(signal.SIGTERM)
    assert worker.wait() == 0


def test_a_pool_of_ones_own_is_refused(start: Start, app: Umbel) -> None:
    worker = start("-P", "custom", ready=False)
    assert worker.wait() == 2
    assert "Error: -P custom takes a class of Celery's pools" in worker.text


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


#: Tells when Python looks for cyclic garbage in the process that runs the task.
THRESHOLD = """

import gc

@app.task
def threshold():
    return gc.get_threshold()[0]
"""


def test_a_batch_is_no_reason_to_collect_garbage(start: Start, project: Path, app: Umbel) -> None:
    (project / "tasks.py").write_text(TASKS + THRESHOLD)
    start("-c", "1")
    lowest = app.send_task("tasks.threshold").get(timeout=PATIENCE)

    def highest() -> int:
        """Return the most of a hundred; how large their batches are depends on how busy the machine is."""
        results = [app.send_task("tasks.threshold") for _ in range(100)]
        return max(int(result.get(timeout=PATIENCE)) for result in results)

    until(lambda: highest() > 2 * lowest)


@pytest.mark.parametrize("pool", ["solo", "threads", "asyncio"])
def test_memory_works_within_one_process(start: Start, project: Path, pool: str) -> None:
    (project / "tasks.py").write_text(MEMORY)
    worker = start("-P", pool)
    until(lambda: worker.says("succeeded in"))
    assert re.search(
        r"INFO/MainProcess\] Task tasks\.hello\[.*\] succeeded in .*: 'hello'", worker.text
    )
    worker.send(signal.SIGTERM)
    assert worker.wait() == 0
    until(worker.is_gone)
    assert left_behind(project) == []


HEARD = """
import os
from pathlib import Path

from umbel import Umbel, signals

here = Path(__file__).parent
app = Umbel(broker="sqlite:///" + str(here / "umbel.db"), backend="sqlite:///" + str(here / "umbel.db"))


def note(*words):
    with (here / "heard").open("a") as file:
        print(*words, file=file)


@signals.celeryd_init.connect
def init(sender, conf, **_):
    conf.task_default_queue = "configured"


@signals.celeryd_after_setup.connect
def after_setup(sender, instance, conf, **_):
    note("after_setup", sender, instance.app is app, conf is app.conf)


@signals.worker_before_create_process.connect
def before_create(**_):
    note("before_create", "in the parent of", os.getpid())


@app.on_after_fork.connect
def after_fork(sender, **_):
    note("after_fork", sender is app, "child of", os.getppid())


@app.task(bind=True)
def progress(self):
    self.update_state(state="PROGRESS", meta={"done": 1})
    seen = app.AsyncResult(self.request.id)
    return [seen.state, seen.info, self.app.conf.task_default_queue]
"""


def test_signals_and_states_of_ones_own(start: Start, project: Path) -> None:
    (project / "tasks.py").write_text(HEARD)
    worker = start("-c", "1", "-n", "one@%h")
    until(lambda: worker.says("ready."))
    path = f"sqlite:///{project}/umbel.db"
    with Umbel(broker=path, backend=path, set_as_current=False) as app:
        result = app.send_task("tasks.progress", queue="configured")
        assert result.get(timeout=PATIENCE) == ["PROGRESS", {"done": 1}, "configured"]
    worker.send(signal.SIGTERM)
    assert worker.wait() == 0, worker.text
    heard = (project / "heard").read_text().splitlines()
    assert f"after_setup one@{HOST} True True" in heard
    (parent,) = [line.split()[-1] for line in heard if line.startswith("before_create")]
    assert f"after_fork True child of {parent}" in heard
