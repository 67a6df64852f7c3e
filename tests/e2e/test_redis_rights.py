"""A worker and a client on Redis with the rights that the documentation asks for, and no others."""

from __future__ import annotations

import re
import shlex
import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.support import Start
from tests.redis_servers import PrivateServer, private_server
from umbel import Umbel, chord
from umbel.exceptions import OperationalError
from umbel.ports import QueueDepth
from umbel.testing.conformance.support import PATIENCE, at_most, until

pytestmark = pytest.mark.engine

DOCUMENTED = Path(__file__).parents[2] / "docs" / "redis.md"
OPTIONS = {"global_keyprefix": "shop:"}

TASKS = """
from umbel import Umbel

app = Umbel("tasks", broker="{url}", backend="{url}")
app.conf.broker_transport_options = {options}
app.conf.result_backend_transport_options = {options}
app.conf.beat_schedule = {{"tick": {{"task": "tasks.tick", "schedule": 0.2}}}}


@app.task
def add(*numbers):
    return sum(numbers) if len(numbers) > 1 else sum(numbers[0])


@app.task(rate_limit="600/m")
def tick():
    pass


@app.task
def explode():
    raise ValueError("as it should")
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[PrivateServer]:
    with private_server(tmp_path) as made:
        _give_rights(made)
        yield made


def _give_rights(server: PrivateServer, missing: str = "") -> None:
    """Give the user what is documented, but for one command."""
    (line,) = re.findall(r"^ACL SETUSER .*$", DOCUMENTED.read_text(), re.MULTILINE)
    words = [word for word in shlex.split(line) if word != f"+{missing}"]
    if "|" not in missing and missing:
        words.append(f"-{missing}")
    admin: Any = server.admin
    admin.acl_deluser("umbel")
    admin.execute_command(*words)


def _refused(server: PrivateServer) -> list[Any]:
    return [entry["object"] for entry in server.admin.acl_log()]


def test_the_documented_rights_are_enough(
    project: Path, start: Start, server: PrivateServer
) -> None:
    url = f"redis://umbel:password@127.0.0.1:{server.port}/0"
    (project / "tasks.py").write_text(TASKS.format(url=url, options=OPTIONS))
    with closing(Umbel("tasks", broker=url, backend=url)) as app:
        app.conf.broker_transport_options = app.conf.result_backend_transport_options = OPTIONS
        add: Any = app.task(name="tasks.add")(lambda *numbers: None)
        worker = start("-c", "2", "-B", "-Q", "celery,other")
        sent = [add.delay(1, 2), add.apply_async((3, 4), countdown=0.2, queue="other")]
        sent += [add.apply_async((5, 6), priority=9), chord([add.s(1, 1), add.s(2, 2)])(add.s())]
        assert [one.get(timeout=PATIENCE) for one in sent] == [3, 7, 11, 6]
        with pytest.raises(ValueError, match="as it should"):
            app.send_task("tasks.explode").get(timeout=PATIENCE)
        until(lambda: app.send_task("tasks.tick").get(timeout=PATIENCE) is None)
        add.apply_async((1, 2), queue="nobodys")
        assert app.queues.depths()["nobodys"].ready == 1
        assert app.queues.purge("nobodys") == 1
        assert app.queues.depths()["nobodys"] == QueueDepth()
        assert app.queues.dead_letters(10) == []
        server.admin.flushall()  # who waits is found by its connection's name
        assert add.delay(1, 2).get(timeout=PATIENCE) == 3
        worker.send(signal.SIGTERM)
        assert worker.wait() == 0, worker.text
    assert _refused(server) == []
    assert "does not allow" not in worker.text


def test_keys_of_others_are_refused_and_the_error_says_where_rights_are_described(
    server: PrivateServer,
) -> None:
    url = f"redis://umbel:password@127.0.0.1:{server.port}/0"
    with closing(Umbel("tasks", broker=url)) as app:
        app.conf.broker_transport_options = {"global_keyprefix": "elsewhere:"}
        with pytest.raises(OperationalError, match=r"ACL SETUSER.*\"Rights\""):
            app.send_task("tasks.add")
    assert _refused(server) != []


def test_a_worker_that_may_not_end_its_wait_stops_at_once_all_the_same(
    project: Path, start: Start, server: PrivateServer
) -> None:
    admin: Any = server.admin
    _give_rights(server, "client|unblock")
    url = f"redis://umbel:password@127.0.0.1:{server.port}/0"
    (project / "tasks.py").write_text(TASKS.format(url=url, options=OPTIONS))
    worker = start("-c", "1")
    until(lambda: admin.info("clients")["blocked_clients"] == 1)
    with at_most(4.0):
        worker.send(signal.SIGTERM)
        assert worker.wait() == 0, worker.text
    assert "does not allow this user to do that" in worker.text
    assert "did not answer" not in worker.text


@pytest.mark.parametrize("missing", ["blmove", "client|id"])
def test_a_worker_that_may_not_wait_says_so_once_and_works(
    project: Path, start: Start, server: PrivateServer, missing: str
) -> None:
    _give_rights(server, missing)
    url = f"redis://umbel:password@127.0.0.1:{server.port}/0"
    (project / "tasks.py").write_text(TASKS.format(url=url, options=OPTIONS))
    with closing(Umbel("tasks", broker=url, backend=url)) as app:
        app.conf.broker_transport_options = app.conf.result_backend_transport_options = OPTIONS
        worker = start("-c", "1")
        for _ in range(5):  # between any two of them it waits
            assert app.send_task("tasks.add", (1, 2)).get(timeout=PATIENCE) == 3
        worker.send(signal.SIGTERM)
        assert worker.wait() == 0, worker.text
    assert "does not allow this user to do that" in worker.text
    assert worker.text.count("The broker does not answer") <= 2
    assert worker.text.count("The broker answers again") <= 1
