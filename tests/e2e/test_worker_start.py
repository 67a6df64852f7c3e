"""Workers that are stopped, or meet something strange, before they are ready."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.support import (
    SOURCE,
    TASKS,
    Start,
    Worker,
    children_of,
    has_ended,
    left_behind,
)
from tests.redis_servers import private_server
from umbel import Umbel
from umbel.testing.conformance.support import PATIENCE, until


def importing(project: Path, text: str) -> None:
    """Make an app of which an import runs `text`, after the process wrote down that it is there."""
    (project / "tasks.py").write_text(
        f"import os\n{TASKS}\n(here / f'importing.{{os.getpid()}}').touch()\n{text}\n"
    )


def imports(project: Path) -> bool:
    return len(list(project.glob("importing.*"))) == 1


def ends_with_nothing_left(worker: Worker, project: Path) -> None:
    until(worker.is_gone)
    assert left_behind(project) == []
    assert "Traceback" not in worker.text


@pytest.mark.parametrize(
    ("number", "everyone", "code"),
    [
        pytest.param(signal.SIGTERM, False, 0, id="TERM"),
        pytest.param(signal.SIGTERM, True, 0, id="TERM to all"),
        pytest.param(signal.SIGINT, False, 1, id="INT"),
        pytest.param(signal.SIGINT, True, 1, id="INT to all"),
        pytest.param(signal.SIGQUIT, True, 1, id="QUIT to all"),
        pytest.param(signal.SIGHUP, True, 0, id="HUP to all"),
    ],
)
def test_a_signal_breaks_the_import_off(
    start: Start, project: Path, number: signal.Signals, everyone: bool, code: int
) -> None:
    importing(project, "wait_for('never')")
    worker = start("-c", "1", ready=False)
    until(lambda: imports(project))
    for path in project.glob("importing.*"):
        path.unlink()
    (worker.send_all if everyone else worker.send)(number)
    if number == signal.SIGHUP:  # it begins anew, and is told to end
        until(lambda: imports(project))
        worker.send(signal.SIGTERM)
    assert worker.wait() == code
    ends_with_nothing_left(worker, project)
    assert "worker: Stopped while starting (MainProcess)" in worker.text


def test_a_second_interrupt_ends_an_import_that_keeps_the_first_to_itself(
    start: Start, project: Path
) -> None:
    importing(
        project,
        "try:\n    wait_for('never')\nexcept BaseException:\n    (here / 'kept').touch()\nwait_for('never')",
    )
    worker = start("-c", "1", ready=False)
    until(lambda: imports(project))
    worker.send_all(signal.SIGINT)
    until((project / "kept").exists)
    worker.send_all(signal.SIGINT)
    assert worker.wait() == 1
    until(worker.is_gone)


def test_a_signal_that_the_import_keeps_to_itself_counts_when_it_is_over(
    start: Start, project: Path
) -> None:
    importing(project, "try:\n    wait_for('never')\nexcept BaseException:\n    pass")
    worker = start("-c", "1", ready=False)
    until(lambda: imports(project))
    worker.send(signal.SIGTERM)
    assert worker.wait() == 0
    ends_with_nothing_left(worker, project)


def test_a_signal_while_the_fork_server_is_forked_leaves_nothing(
    start: Start, project: Path
) -> None:
    importing(
        project,
        """
import signal
def hang_up():
    if not (here / "hung up").exists():
        (here / "hung up").touch()
        os.kill(os.getpid(), signal.SIGHUP)
os.register_at_fork(before=hang_up)
""",
    )
    worker = start("-c", "1")
    assert worker.says("Restarting the worker")
    assert (project / "hung up").exists()
    stats = [path.read_text() for path in Path("/proc").glob("[0-9]*/stat")]
    own = [one for one in stats if one.rpartition(")")[2].split()[1] == str(worker.process.pid)]
    assert len(own) == 1  # the fork server, and no zombie


def test_the_app_is_imported_once(start: Start, app: Umbel, project: Path) -> None:
    importing(project, "")
    worker = start("-c", "2")
    assert app.tasks["tasks.where"].delay().get(timeout=PATIENCE) != worker.process.pid
    assert imports(project)
    worker.send(signal.SIGTERM)
    assert worker.wait() == 0
    ends_with_nothing_left(worker, project)


def test_a_fork_server_that_imports_does_not_outlive_its_supervisor(
    start: Start, project: Path
) -> None:
    importing(project, "if (here / 'slow').exists(): wait_for('never')")
    worker = start("-c", "1")
    (project / "slow").touch()
    child = worker.child()
    os.kill(worker.fork_server(), signal.SIGKILL)
    os.kill(child, signal.SIGKILL)
    until(lambda: len(list(project.glob("importing.*"))) == 2)
    server = worker.fork_server()
    worker.send(signal.SIGKILL)
    until(lambda: has_ended(server))


#: What no shell does: it ignores the ends of children, and becomes the worker.
CHILDLESS = f"""exec {sys.executable} -c '
import os, signal, sys
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
os.execv(sys.argv[1], sys.argv[1:])' "$0" "$@"
"""


@pytest.mark.parametrize(
    "before",
    [
        pytest.param("exec >&-", id="an output"),
        pytest.param("exec <&- >&-", id="input and output"),
        pytest.param(CHILDLESS, id="the ends of children"),
    ],
)
def test_what_the_starter_left_out(start: Start, app: Umbel, project: Path, before: str) -> None:
    worker = start("-c", "1", before=before)
    assert app.tasks["tasks.where"].delay().get(timeout=PATIENCE)
    worker.send(signal.SIGTERM)
    assert worker.wait() == 0
    ends_with_nothing_left(worker, project)


def test_an_import_that_ignores_the_ends_of_children(
    start: Start, app: Umbel, project: Path
) -> None:
    importing(project, "import signal\nsignal.signal(signal.SIGCHLD, signal.SIG_IGN)")
    worker = start("-c", "1")
    os.kill(worker.child(), signal.SIGKILL)
    until(lambda: worker.says("ended with signal 9 (SIGKILL)"))
    until(lambda: worker.says("takes its place"))
    worker.send(signal.SIGTERM)
    assert worker.wait() == 0
    ends_with_nothing_left(worker, project)


def test_the_settings_may_choose_the_executor(start: Start, app: Umbel, project: Path) -> None:
    importing(project, "app.conf.worker_pool = 'solo'")
    worker = start()
    assert children_of(worker.process.pid) == []
    assert app.tasks["tasks.where"].delay().get(timeout=PATIENCE)
    worker.send(signal.SIGTERM)
    assert worker.wait() == 0
    ends_with_nothing_left(worker, project)


def test_every_fork_server_begins_alike(start: Start, app: Umbel, project: Path) -> None:
    (project / "mine").touch()
    importing(
        project,
        """
import sys
import click
argv, path, directory = sys.argv[:], sys.path[:], os.getcwd()
sys.argv.append("more")
sys.path.append("more")
os.chdir("/")
@app.task
def look():
    opened = [os.path.realpath(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd")]
    context = click.get_current_context(silent=True)
    return argv, path, directory, context is None, str(here / "mine") in opened
""",
    )
    worker = start("-c", "1", before="exec 7<mine")

    @app.task(name="tasks.look")
    def look() -> Any: ...

    first = look.delay().get(timeout=PATIENCE)
    argv, path, directory, no_context, inherited = first
    assert argv[1:] == ["-A", "tasks", "worker", "-l", "INFO", "-c", "1"]
    assert str(SOURCE) in path
    assert (directory, no_context, inherited) == (str(project), True, False)

    child = worker.child()
    os.kill(worker.fork_server(), signal.SIGKILL)
    os.kill(child, signal.SIGKILL)
    until(lambda: worker.says("takes its place"))
    assert look.delay().get(timeout=PATIENCE) == first
    worker.send(signal.SIGTERM)
    assert worker.wait() == 0


#: An app that is imported by the command line already: it adds an option to the command.
WITH_OPTION = """
import click
app.user_options["worker"].add(click.Option(["--mine"]))
"""
#: What closes all that its process has open, as who goes to the background does, before it opens its own.
CLEARING = "os.closerange(3, 100)"


@pytest.mark.parametrize(
    ("before", "words"),
    [
        pytest.param(WITH_OPTION, ("--mine", "x"), id="earlier"),
        pytest.param(CLEARING, (), id="there"),
    ],
)
def test_a_file_that_the_import_opens_stays_open(
    start: Start, app: Umbel, project: Path, before: str, words: tuple[str, ...]
) -> None:
    (project / "mine").touch()
    importing(
        project,
        f"""
{before}
notes = open(here / "notes", "a")
@app.task
def note():
    print("noted", file=notes, flush=True)
""",
    )
    start("-c", "1", *words, before="exec 3<mine")

    @app.task(name="tasks.note")
    def note() -> Any: ...

    note.delay().get(timeout=PATIENCE)
    assert (project / "notes").read_text() == "noted\n"


def test_a_socket_that_the_command_line_has_opened_by_its_import_is_told(
    start: Start, app: Umbel, project: Path
) -> None:
    importing(project, f"{WITH_OPTION}import socket\nmine = socket.socketpair()")
    worker = start("-c", "1", "--mine", "x")
    assert worker.says("Importing the app leaves the socket ")
    assert app.tasks["tasks.where"].delay().get(timeout=PATIENCE)


def test_a_process_that_has_sockets_before_the_import_has_a_fork_server_of_its_own(
    start: Start, app: Umbel, project: Path
) -> None:
    (project / "sitecustomize.py").write_text("import socket\nmine = socket.socketpair()")
    worker = start("-c", "1", before='export PYTHONPATH="$PWD:$PYTHONPATH"')
    assert app.tasks["tasks.where"].delay().get(timeout=PATIENCE)
    assert children_of(worker.fork_server()) == [worker.child()]
    assert "Importing the app leaves" not in worker.text
    worker.send(signal.SIGTERM)
    assert worker.wait() == 0
    ends_with_nothing_left(worker, project)


@pytest.mark.parametrize("executor", ["prefork", "solo"])
def test_a_place_that_no_waiting_mends_is_told_in_a_sentence(
    start: Start, project: Path, executor: str
) -> None:
    (project / "umbel.db").write_bytes(b"These are notes, not a database.\n" * 100)
    worker = start("-P", executor, ready=False)
    assert worker.wait() == 2
    ends_with_nothing_left(worker, project)
    assert worker.text == (
        f"Error: {project}/umbel.db is not an SQLite file; it was left as it is."
        " Choose another file in broker_url.\n"
    )


@pytest.mark.parametrize("executor", ["prefork", "threads", "solo"])
def test_who_is_stopped_before_the_broker_has_answered_is_never_ready(
    start: Start, project: Path, executor: str
) -> None:
    pytest.importorskip("redis")
    nobody = "broker_url=redis://127.0.0.1:1/0"
    worker = start("-P", executor, "-c", "1", "-l", "INFO", "--", nobody, ready=False)
    until(lambda: worker.text.count("The broker does not answer") > (executor != "solo"))
    worker.send(signal.SIGTERM)
    assert worker.wait() == 0
    ends_with_nothing_left(worker, project)
    assert "ready." not in worker.text


@pytest.mark.engine
def test_a_worker_says_that_its_server_has_too_few_connections(
    start: Start, project: Path, tmp_path: Path
) -> None:
    with private_server(tmp_path) as server:
        server.admin.config_set("maxclients", 7)
        (project / "tasks.py").write_text(
            f"from umbel import Umbel\n\napp = Umbel('tasks', broker={server.url!r})\n\n\n"
            "@app.task\ndef add(x, y):\n    return x + y\n"
        )
        worker = start("-c", "20", ready=False)
        until(lambda: worker.says("This node may need 22 connections to Redis at "))
        assert worker.says("(maxclients is 7)")
        worker.send(signal.SIGTERM)
        assert worker.wait() == 0
