"""Workers that are stopped, and processes of theirs that die at an awkward moment."""

from __future__ import annotations

import os
import select
import shutil
import signal
import sqlite3
import termios
from pathlib import Path

import pytest

from tests.e2e.support import HOST, TASKS, Start, Worker, children_of, has_ended, left_behind
from umbel import Umbel
from umbel.exceptions import WorkerLostError
from umbel.testing.conformance.support import PATIENCE, until

THREAD = "threading.Thread(target=threading.Event().wait, daemon=True).start()"


def stops(worker: Worker, project: Path) -> None:
    """Stop a worker warmly: it ends at once, and nothing of it is left."""
    worker.send(signal.SIGTERM)
    assert worker.wait() == 0, worker.text
    until(worker.is_gone)
    assert left_behind(project) == []


def test_nobody_has_to_read_what_a_worker_says(start: Start, app: Umbel, project: Path) -> None:
    os.mkfifo(project / "pipe")
    reader = os.open(project / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    worker = start("-c", "1", before="exec >pipe")
    os.close(reader)
    result = app.tasks["tasks.hold"].delay()
    until((project / "entered").exists)
    worker.send(signal.SIGTERM)
    (project / "gate").touch()
    assert worker.wait() == 0, worker.text
    assert result.get(timeout=1) == f"celery@{HOST}"
    until(worker.is_gone)
    assert "Traceback" not in worker.text
    assert left_behind(project) == []


def test_a_receiver_that_ends_the_process_ends_it_in_order(
    start: Start, app: Umbel, project: Path
) -> None:
    (project / "tasks.py").write_text(
        f"""from umbel.signals import worker_shutting_down
{TASKS}
@worker_shutting_down.connect
def leave(**_):
    raise SystemExit(5)
"""
    )
    worker = start("-c", "1")
    result = app.tasks["tasks.hold"].delay()
    until((project / "entered").exists)
    worker.send(signal.SIGTERM)
    until(lambda: worker.says("Warm shutdown"))
    (project / "gate").touch()
    assert worker.wait() == 5, worker.text
    assert result.get(timeout=1) == f"celery@{HOST}"
    until(worker.is_gone)
    assert left_behind(project) == []


def test_quit_from_a_terminal_blames_no_task(start: Start, app: Umbel, project: Path) -> None:
    """It comes to all processes, and a receiver that takes its time holds nobody up."""
    (project / "tasks.py").write_text(
        f"""from umbel.signals import worker_shutting_down
{TASKS}
@worker_shutting_down.connect
def linger(**_):
    (here / "lingering").touch()
    wait_for("go")
"""
    )
    worker = start("-c", "1")
    result = app.tasks["tasks.crashes"].delay()
    until((project / "entered").exists)
    worker.send_all(signal.SIGQUIT)
    until((project / "lingering").exists)
    until(lambda: app.queues.depths()["celery"].ready == 1)
    (project / "go").touch()
    assert worker.wait() == 1
    until(worker.is_gone)
    assert "died" not in worker.text
    (project / "gate").touch()
    again = start("-c", "1")
    assert result.get(timeout=PATIENCE) == 0
    stops(again, project)


def test_a_terminal_that_closes_stops_warmly(start: Start, app: Umbel, project: Path) -> None:
    ours, terminal = os.openpty()
    worker = start("-c", "1", before=f"exec >/dev/fd/{terminal}", keeps=[terminal])
    os.close(terminal)
    result = app.tasks["tasks.crashes"].delay()
    until((project / "entered").exists)
    worker.send_all(signal.SIGHUP)
    said = b""
    while b"worker: Warm shutdown (MainProcess)" not in said:
        said += os.read(ours, 4096)
    os.close(ours)
    (project / "gate").touch()
    assert worker.wait() == 0, worker.text
    assert result.get(timeout=1) == 0
    until(worker.is_gone)
    assert left_behind(project) == []
    assert "ERROR" not in worker.text


@pytest.mark.parametrize("pool", ["prefork", "solo"])
def test_a_terminal_that_shows_nothing_more_does_not_keep_a_worker(
    start: Start, app: Umbel, project: Path, pool: str
) -> None:
    """Ctrl+S, and then Ctrl+C twice."""
    (project / "tasks.py").write_text(
        f"""from umbel.signals import worker_shutting_down
{TASKS}
@worker_shutting_down.connect
def stopping(how, **_):
    (here / how).touch()
"""
    )
    ours, terminal = os.openpty()
    worker = start("-P", pool, before=f"exec >/dev/fd/{terminal}", keeps=[terminal])
    app.tasks["tasks.hold"].delay()
    until((project / "entered").exists)
    termios.tcflow(terminal, termios.TCOOFF)
    assert not select.select([], [terminal], [], 0)[1]  # who writes to it now waits
    worker.send(signal.SIGINT)
    until((project / "Warm").exists)
    worker.send(signal.SIGINT)
    assert worker.wait() == 1, worker.text
    until(worker.is_gone)
    for end in (ours, terminal):
        os.close(end)


def test_a_hangup_restarts_with_newer_code(start: Start, app: Umbel, project: Path) -> None:
    """What runs ends first; a second one, at any time, does no harm."""
    (project / "sub").mkdir()
    for name in ("tasks.py", "run"):
        (project / name).rename(project / "sub" / name)
    (project / "run").symlink_to("sub/run")
    worker = start("-c", "1", options=("--workdir", "sub"))
    app.conf.broker_url = app.conf.result_backend = f"sqlite:///{project / 'sub' / 'umbel.db'}"
    result = app.tasks["tasks.hold"].delay()
    until((project / "sub" / "entered").exists)
    worker.send(signal.SIGHUP)
    until(lambda: worker.says("worker: Warm shutdown (MainProcess)"))
    (project / "sub" / "tasks.py").write_text(f"{TASKS}\n@app.task\ndef newer(): return 'new'\n")
    (project / "sub" / "gate").touch()
    until(lambda: worker.says("Restarting the worker celery@"))
    worker.send(signal.SIGHUP)
    newer = app.send_task("tasks.newer")
    assert newer.get(timeout=PATIENCE) == "new"
    assert result.get(timeout=1) == f"celery@{HOST}"
    until(lambda: worker.text.rpartition("Restarting")[2].count(" ready.") == 1)
    stops(worker, project)


#: Late and early acknowledgement, and what Celery's settings make of late ones.
KINDS = """
@app.task(bind=True)
def late(self):
    (here / "late").touch()
    wait_for("gate")
    return [self.request.delivery_info["redelivered"], self.request.crashes]


@app.task(bind=True, reject_on_worker_lost=False)
def loose(self):
    (here / "loose").touch()
    wait_for("gate")
    return [self.request.delivery_info["redelivered"], self.request.crashes]


@app.task(acks_late=False)
def early():
    (here / "early").touch()
    wait_for("gate")
"""


@pytest.mark.parametrize(
    ("words", "sent", "code"),
    [
        (("-c", "3", "--shutdown-timeout", "0.5"), [signal.SIGTERM], 0),
        (("-c", "3"), [signal.SIGQUIT], 1),
        (("-c", "3", "--", "worker_soft_shutdown_timeout=0.3"), [signal.SIGQUIT], 1),
    ],
)
def test_what_runs_when_the_time_is_up_goes_back_without_blame(
    start: Start,
    app: Umbel,
    project: Path,
    words: tuple[str, ...],
    sent: list[signal.Signals],
    code: int,
) -> None:
    (project / "tasks.py").write_text(TASKS + KINDS)
    worker = start(*words)
    late, loose, early = (app.send_task(f"tasks.{name}") for name in ("late", "loose", "early"))
    for name in ("late", "loose", "early"):
        until((project / name).exists)
    waiting = app.tasks["tasks.where"].delay()
    for number in sent:
        worker.send(number)
    assert worker.wait() == code, worker.text
    until(worker.is_gone)
    assert "ended with signal" not in worker.text  # nobody is worried by what we did
    assert left_behind(project) == []
    assert app.queues.depths()["celery"].ready == 3  # and nothing is held any more
    with pytest.raises(WorkerLostError, match="stopped before it ended"):
        early.get(timeout=1)
    (project / "gate").touch()
    again = start("-c", "3")
    assert [one.get(timeout=PATIENCE) for one in (late, loose)] == [[True, 0], [True, 0]]
    assert waiting.get(timeout=PATIENCE)
    stops(again, project)


def test_a_worker_without_children_is_stopped_in_time(
    start: Start, app: Umbel, project: Path
) -> None:
    (project / "tasks.py").write_text(TASKS + KINDS)
    worker = start("-P", "solo", "--shutdown-timeout", "0.3")
    late = app.send_task("tasks.late")
    until((project / "late").exists)
    worker.send(signal.SIGTERM)
    assert worker.wait() == 0, worker.text
    assert app.queues.depths()["celery"].ready == 1
    (project / "gate").touch()
    again = start("-P", "solo")
    assert late.get(timeout=PATIENCE) == [True, 0]
    again.send(signal.SIGTERM)
    assert again.wait() == 0


def test_a_worker_that_is_paused_keeps_no_lock(start: Start, app: Umbel, project: Path) -> None:
    """Ctrl+Z in the middle of its transactions: another process can write."""
    worker = start("-c", "1")
    where = app.tasks["tasks.where"]
    pids = [worker.process.pid, worker.child()]
    for _ in range(5):
        results = [where.delay() for _ in range(20)]
        worker.send_all(signal.SIGTSTP)
        until(lambda: all(state_of(pid) == "T" for pid in pids))
        results.append(where.delay())  # raises when the file stays locked
        worker.send_all(signal.SIGCONT)
        assert all(result.get(timeout=PATIENCE) for result in results)
    stops(worker, project)


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_a_signal_that_another_thread_gets_stops_too(start: Start, project: Path) -> None:
    """It does not interrupt the main thread, and neither does one that comes just before that waits."""
    (project / "tasks.py").write_text(
        f"""import signal
from umbel.signals import worker_ready
{TASKS}
@worker_ready.connect
def leave_it_to_others(**_):
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    (here / "blocked").touch()
"""
    )
    worker = start("-c", "1")
    until((project / "blocked").exists)
    worker.send(signal.SIGTERM)
    assert worker.wait() == 0, worker.text
    until(worker.is_gone)
    assert left_behind(project) == []


def test_the_main_thread_sleeps_until_there_is_something_to_do(start: Start, project: Path) -> None:
    worker = start("-c", "1")

    def wakings() -> tuple[int, int]:
        """Return how often the main thread, and all others, have gone to sleep."""
        main, others = 0, 0
        for thread in Path(f"/proc/{worker.process.pid}/task").iterdir():
            status = (thread / "status").read_text()
            count = int(status.split("\nvoluntary_ctxt_switches:")[1].split()[0])
            if thread.name == str(worker.process.pid):
                main += count
            else:
                others += count
        return main, others

    main, others = wakings()
    until(lambda: wakings()[1] >= others + 12)  # the keeper's, which looks four times a second
    assert wakings()[0] <= main + 1  # it may just have said that it is ready
    stops(worker, project)


def test_under_nohup_a_terminal_may_close(start: Start, app: Umbel, project: Path) -> None:
    worker = start("-c", "1", before="trap '' HUP")
    worker.send_all(signal.SIGHUP)
    assert app.tasks["tasks.where"].delay().get(timeout=PATIENCE)
    assert "shutdown" not in worker.text
    stops(worker, project)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM])
def test_programs_that_tasks_start_take_signals_as_ever(
    start: Start, app: Umbel, project: Path, number: signal.Signals
) -> None:
    (project / "tasks.py").write_text(
        f"""import subprocess
{TASKS}
@app.task
def program():
    process = subprocess.Popen(["sleep", "60"])
    process.send_signal({int(number)})
    return process.wait()
"""
    )
    worker = start("-c", "1")
    program = app.task(name="tasks.program")(lambda: None)
    assert program.delay().get(timeout=PATIENCE) == -number
    stops(worker, project)


# What dies at an awkward moment


def test_a_fork_server_that_dies_while_a_child_is_buried(
    start: Start, app: Umbel, project: Path
) -> None:
    worker = start("-c", "1")
    server, child = worker.fork_server(), worker.child()
    result = app.tasks["tasks.crashes"].delay()
    until((project / "entered").exists)
    other = sqlite3.connect(project / "umbel.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")  # what the child held cannot be taken over meanwhile
    os.kill(child, signal.SIGKILL)
    until(lambda: worker.says("ended with signal 9 (SIGKILL)"))
    os.kill(server, signal.SIGKILL)
    until(lambda: has_ended(server))
    other.execute("ROLLBACK")
    other.close()
    (project / "gate").touch()
    until(lambda: worker.says("takes its place"))
    assert result.get(timeout=PATIENCE) == 1
    stops(worker, project)


#: A task of which JSON cannot write the retry, and that may be due at no time.
LOST = """

app.conf.accept_content = ["json", "pickle"]


@app.task(retry_on_worker_lost=True)
def lost(things):
    (here / "losing").touch()
    wait_for("gate")
    return len(things)


lost.default_retry_delay = %s  # where it is written it would be refused
"""


@pytest.mark.parametrize(("delay", "dead"), [("0", False), ("'soon'", True)])
def test_a_message_that_cannot_be_retried_holds_up_no_other(
    start: Start, app: Umbel, project: Path, delay: str, dead: bool
) -> None:
    (project / "tasks.py").write_text(TASKS + LOST % delay)
    worker = start("-c", "2", before="export C_FORCE_ROOT=1")
    lost = app.send_task("tasks.lost", ({1, 2},), serializer="pickle")
    until((project / "losing").exists)
    other = app.tasks["tasks.crashes"].delay()
    until((project / "entered").exists)
    for child in children_of(worker.fork_server()):
        os.kill(child, signal.SIGKILL)
    until(lambda: worker.text.count("takes its place") == 2)
    (project / "gate").touch()
    assert other.get(timeout=PATIENCE) == 1
    assert (lost.get(timeout=PATIENCE, propagate=False) == 2) is not dead
    assert len(app.queues.dead_letters(10)) == int(dead)
    stops(worker, project)


def test_a_child_that_cannot_be_started_is_started_later(
    start: Start, app: Umbel, project: Path
) -> None:
    worker = start("-c", "1")
    for directory in (project / "run").glob("*/*/*"):
        shutil.rmtree(directory)
    os.kill(worker.child(), signal.SIGKILL)
    until(lambda: worker.says("takes its place"))
    assert app.tasks["tasks.where"].delay().get(timeout=PATIENCE)
    stops(worker, project)


def test_a_child_may_die_of_a_signal_without_a_name(start: Start, project: Path) -> None:
    worker = start("-c", "1")
    os.kill(worker.child(), signal.SIGRTMIN + 6)
    until(lambda: worker.says(f"ended with signal {signal.SIGRTMIN + 6}."))
    until(lambda: worker.says("takes its place"))
    stops(worker, project)


def test_a_stop_after_the_fork_servers_death_is_quiet(
    start: Start, app: Umbel, project: Path
) -> None:
    (project / "tasks.py").write_text(f"{TASKS}\nif (here / 'slow').exists(): wait_for('never')\n")
    worker = start("-c", "2")
    (project / "slow").touch()  # the next fork server is still importing when the node is stopped
    os.kill(worker.fork_server(), signal.SIGKILL)
    until(lambda: worker.says("The fork server died: signal 9 (SIGKILL); starting another."))
    os.kill(worker_child_of_nobody(worker), signal.SIGKILL)
    until(lambda: worker.says("vanished"))
    until(lambda: children_of(worker.process.pid))
    stops(worker, project)
    assert worker.text.count("vanished") == 1, worker.text  # the one that was killed
    assert worker.text.count("The fork server died") == 1


def worker_child_of_nobody(worker: Worker) -> int:
    """Return the pid of a child whose fork server is dead."""
    return int(worker.text.split("Child 1: pid ")[1].split(".")[0])


def test_spawned_children_that_import_slowly_do_not_hold_up_a_stop(
    start: Start, app: Umbel, project: Path
) -> None:
    (project / "tasks.py").write_text(
        f"{TASKS}\n{THREAD}\nif (here / 'slow').exists(): (here / 'late').touch(); wait_for('never')\n"
    )
    worker = start("-c", "1")
    (project / "slow").touch()
    os.kill(children_of(worker.process.pid)[0], signal.SIGKILL)
    until((project / "late").exists)
    stops(worker, project)
    assert worker.text.count("ERROR") == 1, worker.text  # the one that was killed


@pytest.mark.slow
@pytest.mark.parametrize("spawned", [True, False])
def test_a_worker_whose_app_cannot_be_imported_any_more_gives_up(
    start: Start, project: Path, spawned: bool
) -> None:
    """It says how often it tried and what was wrong; what watches over it shall hear of that."""
    text = f"{TASKS}\nif (here / 'broken').exists(): raise RuntimeError('mine')\n"
    (project / "tasks.py").write_text(text + (THREAD if spawned else ""))
    worker = start("-c", "1")
    (project / "broken").touch()
    if spawned:
        os.kill(children_of(worker.process.pid)[0], signal.SIGKILL)
    else:
        child = worker.child()
        os.kill(worker.fork_server(), signal.SIGKILL)
        os.kill(child, signal.SIGKILL)
    assert worker.process.wait(60) == 1
    said = (
        "6 children in a row died" if spawned else "importing the app again failed 6 times in a row"
    )
    assert f"CRITICAL/MainProcess] The worker gives up: {said}" in worker.text
    assert worker.text.count("RuntimeError: mine") == 6
    assert left_behind(project) == []
