"""Real workers on several queues: exchanges, retries, queues of one worker and broadcasts."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.support import HOST, Start
from umbel import Broadcast, Exchange, Queue, Umbel
from umbel.entities import worker_direct
from umbel.testing.conformance.support import PATIENCE, until

TASKS = """
from pathlib import Path

from umbel import Broadcast, Exchange, Queue, Umbel

here = Path(__file__).parent
url = "sqlite:///" + str(here / "umbel.db")
app = Umbel(broker=url, backend=url)
media = Exchange("media", type="topic")
app.conf.update(
    task_queues=[
        Queue("celery"),
        Queue("videos", media, routing_key="media.video.#"),
        Queue("all", media, routing_key="media.#"),
        Broadcast("news"),
    ],
    task_create_missing_queues=False,
    worker_direct=True,
)


@app.task(bind=True, max_retries=1)
def twice(self):
    info = self.request.delivery_info
    with (here / "ran").open("a") as ran:
        ran.write(f"{self.request.retries} {info['exchange']} {info['routing_key']}\\n")
    if self.request.retries == 0:
        raise self.retry(countdown=0)


@app.task(bind=True)
def told(self):
    with (here / "told").open("a") as told:
        told.write(self.request.hostname + "\\n")
    return self.request.hostname
"""


@pytest.fixture
def app(project: Path) -> Iterator[Umbel]:
    """The project's app as a client has it."""
    (project / "tasks.py").write_text(TASKS)
    url = f"sqlite:///{project / 'umbel.db'}"
    with Umbel(broker=url, backend=url) as app:
        media = Exchange("media", type="topic")
        app.conf.task_queues = [
            Queue("celery"),
            Queue("videos", media, routing_key="media.video.#"),
            Queue("all", media, routing_key="media.#"),
            Broadcast("news"),
        ]
        for name in ("twice", "told"):
            app.task(name=f"tasks.{name}")(lambda: None)
        yield app


def lines(path: Path) -> list[str]:
    return sorted(path.read_text().splitlines()) if path.exists() else []


def waiting(app: Umbel) -> dict[str, int]:
    depths: dict[str, Any] = app.queues.depths()
    return {name: depth.ready for name, depth in depths.items() if depth.ready}


def test_a_worker_consumes_all_queues_but_those_it_is_told_not_to(
    start: Start, app: Umbel, project: Path
) -> None:
    worker = start("-P", "solo", "-X", "all,news")
    twice = app.tasks["tasks.twice"]
    result = twice.apply_async(exchange="media", routing_key="media.video.hd")
    until(lambda: result.state == "SUCCESS")
    until(lambda: len(lines(project / "ran")) == 2)
    # The retry went back to the one queue, and to no other of the exchange.
    assert lines(project / "ran") == ["0 media media.video.hd", "1 media media.video.hd"]
    assert waiting(app) == {"all": 1}
    for line in (
        "[queues]\n",
        "  .> celery           exchange=celery(direct) key=celery\n",
        "  .> videos           exchange=media(topic) key=media.video.#\n",
    ):
        assert line in worker.text
    assert "  .> all" not in worker.text
    direct = app.tasks["tasks.told"].apply_async(queue=worker_direct(f"celery@{HOST}"))
    assert direct.get(timeout=PATIENCE) == f"celery@{HOST}"
    worker.send(signal.SIGTERM)
    assert worker.wait() == 0, worker.text


def test_a_broadcast_reaches_every_worker(start: Start, app: Umbel, project: Path) -> None:
    workers = [start("-n", "w1@x", "-c", "2"), start("-n", "w2@x", "-P", "solo", "-Q", "news")]
    state = app.engine(app.broker_url).state
    assert state is not None
    until(lambda: len(state.items("broadcast")) == 2)
    app.tasks["tasks.told"].apply_async(queue="news")
    until(lambda: lines(project / "told") == ["w1@x", "w2@x"])
    for worker in workers:
        worker.send(signal.SIGTERM)
        assert worker.wait() == 0, worker.text
    assert state.items("broadcast") == {}
    assert waiting(app) == {}


def test_queues_that_a_worker_cannot_consume(start: Start, app: Umbel) -> None:
    worker = start("-Q", "celery,other", ready=False)
    assert worker.wait() == 2
    assert "Error: -Q celery,other: Queue 'other' is missing from task_queues" in worker.text
    assert "Traceback" not in worker.text
