"""What runs beside tasks in a worker's main process: bootsteps, heartbeats, and handlers of what died."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.e2e.support import HOST, TASKS, Start
from umbel import Umbel
from umbel.exceptions import TimeLimitExceeded, WorkerLostError
from umbel.testing.conformance.support import PATIENCE, until

APP = f"""
import os
import signal
import click
from umbel import bootsteps, signals
{TASKS}

app.conf.worker_lease_ttl = 1.0
app.user_options["worker"].add(click.Option(("--mark",), default="plain"))


def note(*words):
    with open(here / "noted", "a") as file:
        file.write(" ".join(map(str, words)) + "\\n")


class Alive(bootsteps.StartStopStep):
    requires = {{"celery.worker.components:Timer"}}

    def __init__(self, worker, mark, **options):
        note("init", mark, options["concurrency"])

    def start(self, worker):
        note("start", worker.hostname)
        worker.timer.call_repeatedly(0.05, (here / "alive").touch)

    def close(self, worker):
        note("close")

    def stop(self, worker):
        note("stop")

    def terminate(self, worker):
        note("terminate")


class Taking(bootsteps.StartStopStep):
    requires = ("celery.worker.consumer:Tasks",)

    def start(self, c):
        note("taking", c.connection.transport.driver_type)

    def shutdown(self, c):
        note("shutdown")


app.steps["worker"].add(Alive)
app.steps["consumer"].add(Taking)


@signals.worker_ready.connect
def ready(**_):
    note("ready")


@signals.heartbeat_sent.connect
def beat(sender, **_):
    (here / "beat").touch()


@signals.task_failure.connect
def failed(sender, task_id, exception, einfo, **_):
    note("signal", sender.name, type(exception).__name__, app.current_task.request.id == task_id)


def on_failure(self, exc, task_id, args, kwargs, einfo):
    note("on_failure", type(exc).__name__, *args, self.request.id == task_id, bool(str(einfo)))
    raise ValueError("of the handler")


def after_return(self, status, value, task_id, args, kwargs, einfo):
    note("after_return", status, type(value).__name__)


@app.task(time_limit=0.3, on_failure=on_failure, after_return=after_return)
def too_long(number):
    wait_for("never")


@app.task(acks_late=False, on_failure=on_failure)
def dies():
    os.kill(os.getpid(), signal.SIGKILL)
"""


def noted(project: Path) -> list[str]:
    try:
        return (project / "noted").read_text().splitlines()
    except FileNotFoundError:
        return []


@pytest.mark.parametrize("pool", ["prefork", "solo"])
def test_steps_live_with_their_worker(start: Start, app: Umbel, project: Path, pool: str) -> None:
    (project / "tasks.py").write_text(APP)
    worker = start("-c", "1", "-P", pool, "--mark", "mine")
    until((project / "alive").exists)
    until((project / "beat").exists)
    assert app.tasks["tasks.where"].delay().get(timeout=PATIENCE)
    begun = ["init mine 1", f"start celery@{HOST}", "taking sqlite", "ready"]
    assert noted(project) == begun
    worker.send(signal.SIGTERM)
    assert worker.wait() == 0, worker.text
    assert noted(project) == [*begun, "close", "shutdown", "stop"]
    assert "Traceback" not in worker.text


def test_steps_hear_of_a_stop_while_tasks_run(start: Start, app: Umbel, project: Path) -> None:
    (project / "tasks.py").write_text(APP)
    worker = start("-c", "1")
    app.tasks["tasks.hold"].delay()
    until((project / "entered").exists)
    worker.send(signal.SIGTERM)
    until(lambda: noted(project)[-1] == "close")
    assert noted(project)[0] == "init plain 1"  # an option that was not given
    worker.send(signal.SIGQUIT)
    assert worker.wait() == 1
    assert noted(project)[-2:] == ["shutdown", "terminate"]


def test_handlers_hear_of_what_failed_with_its_process(
    start: Start, app: Umbel, project: Path
) -> None:
    """They run in the main process; one that raises changes nothing."""
    (project / "tasks.py").write_text(APP)
    worker = start("-c", "1")
    with pytest.raises(TimeLimitExceeded):
        app.send_task("tasks.too_long", (7,)).get(timeout=PATIENCE)
    with pytest.raises(WorkerLostError):
        app.send_task("tasks.dies").get(timeout=PATIENCE)
    expected = [
        "on_failure TimeLimitExceeded 7 True True",
        "after_return FAILURE TimeLimitExceeded",
        "signal tasks.too_long TimeLimitExceeded True",
        "signal tasks.dies WorkerLostError True",
    ]
    until(lambda: noted(project)[-4:] == expected)
    assert worker.text.count("ValueError: of the handler") == 1
    assert app.tasks["tasks.where"].delay().get(timeout=PATIENCE)
    worker.send(signal.SIGTERM)
    assert worker.wait() == 0, worker.text


@pytest.mark.parametrize(
    ("text", "said", "code"),
    [
        (
            "requires = ('celery.worker.components:Hub',)",
            "Error: The step tasks.Needy requires celery.worker.components:Hub, which a worker of umbel",
            2,
        ),
        ("def start(self, worker): 1 / 0", "ZeroDivisionError", 1),
    ],
)
def test_a_step_that_cannot_start_ends_the_worker(
    start: Start, project: Path, text: str, said: str, code: int
) -> None:
    (project / "tasks.py").write_text(
        f"{APP}\nclass Needy(bootsteps.StartStopStep):\n    {text}\n\napp.steps['worker'].add(Needy)\n"
    )
    worker = start("-c", "1", ready=False)
    assert worker.wait() == code
    assert said in worker.text
    until(worker.is_gone)
