"""What real workers log: formats, files, printed lines, and whose lines they are."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.support import SOURCE, Start, Worker
from umbel import Umbel
from umbel.testing.conformance.support import PATIENCE, until

PROJECT = """
import logging
import subprocess
import sys
from pathlib import Path

from umbel import Ignore, Umbel, signals
from umbel.utils.log import get_task_logger

here = Path(__file__).parent
url = "sqlite:///" + str(here / "umbel.db")
app = Umbel(broker=url, backend=url)
logger = get_task_logger(__name__)


@app.task(bind=True)
def talk(self):
    logger.info("from the task's logger")
    logging.getLogger("shop").info("from another logger")
    print("printed", 1)
    print("half", end="")


@app.task
def talk_much(letter):
    for _ in range(20):
        logger.info(letter * 100_000)


@app.task
def start_program():
    subprocess.run([sys.executable, "-c", "print('from a program')"], stdout=sys.stdout, check=True)
"""


def run(project: Path, start: Start, *words: str, more: str = "") -> Worker:
    """Run `talk` in a worker that is stopped then."""
    (project / "tasks.py").write_text(PROJECT + more)
    worker = start(*words)
    send(project, "talk")
    worker.send(signal.SIGTERM)
    assert worker.wait() == 0, worker.text
    return worker


def send(project: Path, *names: str) -> None:
    """Send calls and wait for their results."""
    url = f"sqlite:///{project / 'umbel.db'}"
    with Umbel(broker=url, backend=url, set_as_current=False) as app:
        results = [app.send_task(f"tasks.{name}") for name in names]
        for result in results:
            result.get(timeout=PATIENCE)


def lines(text: str, level: str = r"\w+", process: str = r"[\w-]+") -> list[str]:
    """Return what is said behind the head of each line of a process."""
    return re.findall(rf"^\[[^:]+:[^:]+:[^:]+: {level}/{process}\] (.*)$", text, re.MULTILINE)


@pytest.mark.parametrize("pool", ["prefork", "solo"])
def test_what_a_task_says(start: Start, project: Path, pool: str) -> None:
    worker = run(project, start, "-P", pool, "-c", "1")
    process = "MainProcess" if pool == "solo" else "ForkPoolWorker-1"
    said = lines(worker.text, process=process)
    (received,) = (line for line in said if line.endswith(" received"))
    name = received.removeprefix("Task ").removesuffix(" received")
    assert name.startswith("tasks.talk[")
    begin = said.index(received)
    assert said[begin + 1 : begin + 5] == [
        f"{name}: from the task's logger",
        "from another logger",
        "printed 1",
        "half",
    ]
    assert said[begin + 5].startswith(f"Task {name} succeeded in ")
    assert lines(worker.text, "WARNING", process) == ["printed 1", "half"]


def test_formats_levels_and_what_is_not_redirected(start: Start, project: Path) -> None:
    worker = run(
        project,
        start,
        *("-c", "1", "--"),
        "worker_log_format=W %(levelname)s %(task_name)s %(message)s",
        "worker_task_log_format=%(asctime)s T %(task_name)s %(message)s",
        "worker_task_log_datefmt=year %Y",
        "worker_redirect_stdouts=false",
    )
    assert "\nW INFO tasks.talk from another logger\n" in worker.text
    assert re.search(r"^year 20\d\d T tasks\.talk from the task's logger$", worker.text, re.M)
    assert "\nprinted 1\n" in worker.text
    assert "\nW INFO ??? " in worker.text


def test_the_level_of_what_is_printed(start: Start, project: Path) -> None:
    worker = run(project, start, "-c", "1", "--", "worker_redirect_stdouts_level=INFO")
    assert "printed 1" in lines(worker.text, "INFO")
    assert lines(worker.text, "WARNING") == []


def test_a_log_file(start: Start, project: Path) -> None:
    (project / "tasks.py").write_text(PROJECT)
    worker = start("-c", "2", "-n", "mails@box", "-f", "%n.log", ready=False)
    log = project / "mails.log"
    until(lambda: log.exists() and "ready." in log.read_text())
    send(project, "talk", "talk")
    worker.send(signal.SIGTERM)
    assert worker.wait() == 0
    assert "[queues]" in worker.text  # the banner
    assert lines(worker.text) == []
    text = log.read_text()
    assert lines(text, "WARNING", r"ForkPoolWorker-\d").count("printed 1") == 2
    assert "mails@box ready." in lines(text, "INFO", "MainProcess")


def test_a_log_file_for_each_process(start: Start, project: Path) -> None:
    (project / "tasks.py").write_text(PROJECT)
    worker = start(*("-c", "1", "-n", "mails@box", "--"), "worker_logfile=%n%I.log", ready=False)
    main, child = project / "mails.log", project / "mails-1.log"
    until(lambda: main.exists() and "ready." in main.read_text())
    send(project, "talk")
    worker.send(signal.SIGTERM)
    assert worker.wait() == 0
    assert "printed 1" in lines(child.read_text(), "WARNING", "ForkPoolWorker-1")
    assert lines(main.read_text(), process="ForkPoolWorker-1") == []


def test_children_write_whole_lines_to_one_file(start: Start, project: Path) -> None:
    (project / "tasks.py").write_text(PROJECT)
    worker = start("-c", "3", "-f", "log.txt", ready=False)
    log = project / "log.txt"
    until(lambda: log.exists() and "ready." in log.read_text())
    url = f"sqlite:///{project / 'umbel.db'}"
    with Umbel(broker=url, backend=url, set_as_current=False) as app:
        results = [app.send_task("tasks.talk_much", (letter,)) for letter in "abcdef"]
        for result in results:
            result.get(timeout=PATIENCE)
    worker.send(signal.SIGTERM)
    assert worker.wait() == 0
    said = [line for line in log.read_text().splitlines() if len(line) > 1000]
    found = re.compile(
        r"\[.* INFO/ForkPoolWorker-\d\] tasks\.talk_much\[[\w-]+\]: ([a-f])\1{99999}"
    )
    assert len(said) == 6 * 20
    assert all(found.fullmatch(line) for line in said)


def test_a_log_file_that_cannot_be_opened(start: Start, project: Path) -> None:
    worker = start("-c", "1", "-f", "nowhere/log", ready=False)
    assert worker.wait() == 2
    assert "Error: The log file nowhere/log cannot be opened: No such file" in worker.text
    assert "Traceback" not in worker.text
    until(worker.is_gone)


def test_a_program_that_a_task_starts_may_write_to_its_output(start: Start, project: Path) -> None:
    (project / "tasks.py").write_text(PROJECT)
    worker = start("-c", "1")
    send(project, "start_program")
    until(lambda: worker.says("from a program"))


OWN = """

@signals.setup_logging.connect
def own(loglevel, logfile, format, colorize, **_):
    handler = logging.FileHandler(here / "own.log")
    handler.setFormatter(logging.Formatter("OWN %(processName)s %(name)s %(message)s"))
    logging.getLogger().addHandler(handler)
    logging.getLogger().setLevel(loglevel)
"""


def test_who_sets_up_logging_alone_is_let_alone(start: Start, project: Path) -> None:
    (project / "tasks.py").write_text(PROJECT + OWN)
    worker = start("-c", "1", ready=False)
    log = project / "own.log"
    until(lambda: log.exists() and "ready." in log.read_text())
    send(project, "talk")
    worker.send(signal.SIGTERM)
    assert worker.wait() == 0
    text = log.read_text()
    assert "OWN ForkPoolWorker-1 tasks from the task's logger\n" in text
    assert "OWN ForkPoolWorker-1 shop from another logger\n" in text
    assert re.search(r"OWN ForkPoolWorker-1 umbel\.trace Task tasks\.talk\[.*\] received\n", text)
    assert "\nprinted 1\n" in worker.text  # nothing is redirected then
    assert lines(worker.text) == []


ADDED = """

@signals.after_setup_logger.connect
@signals.after_setup_task_logger.connect
def add(logger, loglevel, logfile, format, colorize, **_):
    handler = logging.FileHandler(here / f"{logger.name}.log")
    handler.setFormatter(logging.Formatter("ADDED %(processName)s %(message)s"))
    logger.addHandler(handler)
"""


def test_handlers_of_ones_own_beside_the_workers(start: Start, project: Path) -> None:
    worker = run(project, start, "-c", "1", more=ADDED)
    assert "from another logger" in lines(worker.text)
    root, tasks = (project / f"{name}.log" for name in ("root", "umbel.task"))
    assert "ADDED ForkPoolWorker-1 printed 1\n" in root.read_text()
    assert "from the task's logger" not in root.read_text()
    assert tasks.read_text() == "ADDED ForkPoolWorker-1 from the task's logger\n"


KEPT = """

logging.basicConfig(format="KEPT %(levelname)s %(message)s", level=logging.WARNING)
app.conf.worker_hijack_root_logger = False
"""


def test_the_root_logger_of_ones_own(start: Start, project: Path) -> None:
    worker = run(project, start, "-c", "1", more=KEPT)
    assert re.search(r"^KEPT INFO celery@.* ready\.$", worker.text, re.MULTILINE)
    assert "KEPT WARNING printed 1\n" in worker.text
    assert "from another logger" not in worker.text  # the root logger's level is what it was
    assert re.search(r": INFO/ForkPoolWorker-1\] tasks\.talk\[.*\]: from the task's", worker.text)


#: Prints in the child, and stops when it is ready.
COLOURED = """

@signals.worker_process_init.connect
def say(**_):
    print("yellow")


@signals.worker_ready.connect
def end(**_):
    import os, signal

    os.kill(os.getpid(), signal.SIGTERM)
"""
#: Runs a command on a terminal of its own.
TERMINAL = """
import os, pty, sys
pid, fd = pty.fork()
if pid == 0:
    os.execvp(sys.argv[1], sys.argv[1:])
try:
    while data := os.read(fd, 65536):
        os.write(1, data)
except OSError:
    pass
os.waitpid(pid, 0)
"""


@pytest.mark.parametrize(
    ("words", "environment", "coloured"),
    [((), {}, True), (("-C",), {}, False), ((), {"NO_COLOR": "1"}, False)],
)
def test_colours_on_a_terminal(
    project: Path, words: tuple[str, ...], environment: dict[str, str], coloured: bool
) -> None:
    (project / "tasks.py").write_text(PROJECT + COLOURED)
    command = [str(Path(sys.executable).with_name("umbel")), "-A", "tasks", *words, "worker"]
    kept = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    ended = subprocess.run(
        [sys.executable, "-c", TERMINAL, *command, "-c", "1", "-l", "INFO"],
        cwd=project,
        env={
            **kept,
            "TERM": "xterm",
            "PYTHONPATH": str(SOURCE),
            "XDG_RUNTIME_DIR": str(project / "run"),
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    begin, end = ("\x1b[1;33m", "\x1b[0m") if coloured else ("", "")
    found = re.escape(begin) + r"\[[^]]*WARNING/ForkPoolWorker-1\] yellow" + re.escape(end)
    assert re.search(rf"^{found}$", ended.stdout, re.MULTILINE), ended.stdout
    assert ("\x1b" in ended.stdout) is coloured


def test_lines_of_json(project: Path, start: Start) -> None:
    """Each line of the log is one, and says of which task it is; what happened to it has its state."""
    more = """
@signals.worker_process_init.connect
def ready(sender, **_): logging.info('hello', extra={'by': sender})
"""
    worker = run(project, start, "-c", "1", "--log-format", "json", more=more)
    log = worker.text.partition("\n{")[2].rpartition("}")[0]  # behind the banner
    words = "worker: Warm shutdown (MainProcess)"
    lines = [json.loads(line) for line in f"{{{log}}}".splitlines() if line not in ("", words)]
    assert {line["worker"].partition("@")[0] for line in lines} == {"celery"}
    by_text = {line["message"]: line for line in lines}
    assert by_text["hello"]["extra"] == {"by": by_text["hello"]["worker"]}
    assert "task" not in by_text["hello"]
    for text in ("from the task's logger", "from another logger", "printed 1"):
        task = by_text[text]["task"]
        assert (task["name"], task["queue"], task["retries"]) == ("tasks.talk", "celery", 0)
    ended = next(line["task"] for line in lines if " succeeded in " in line["message"])
    assert (ended["id"], ended["state"], ended["queue"]) == (task["id"], "SUCCESS", "celery")
    assert isinstance(ended["runtime"], float)
    assert "Traceback" not in worker.text
