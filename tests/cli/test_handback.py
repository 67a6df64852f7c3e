from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Command
from umbel import Umbel
from umbel.clock import unique_id
from umbel.ports import Consumer, FetchRequest, Owner
from umbel.testing.conformance.support import until
from umbel.worker.nodes import runtime_directory


@pytest.fixture(autouse=True)
def _own_nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no test find the nodes of another."""
    (tmp_path / "run").mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))


def hold(app: Umbel, ttl: float, limit: int = 2, node: str = "node") -> Consumer:
    """Send three calls, and hold some of them."""
    app.tasks["add"].delay_many([(1,), (2,), (3,)])
    consumer = app.broker.consumer(Owner(unique_id(), node, "elsewhere", 4711), ttl)
    consumer.fetch(FetchRequest(("celery",), limit), 0.0)
    return consumer


def living(app: Umbel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the node renew its leases whenever the command waits."""
    renew, clock = app.broker.renew, app.clock.__class__
    real = clock.sleep
    monkeypatch.setattr(clock, "sleep", lambda self, _: (renew("node", 70.0), real(self, 0.0)))


def ready(app: Umbel) -> int:
    return app.queues.depths()["celery"].ready


def test_what_ended_leases_held_goes_back(umbel: Command, project: Umbel) -> None:
    hold(project, 0.0)
    until(project.broker.expired)
    ended = umbel("handback")
    assert (ended.code, ended.out) == (0, "Gave back 2 messages.\n")
    assert ready(project) == 3
    assert project.queues.holdings() == []
    assert umbel("handback").out == "Gave back 0 messages.\n"


def test_it_waits_for_leases_to_end(umbel: Command, project: Umbel) -> None:
    hold(project, 0.3)
    ended = umbel("handback", "--json")
    assert (ended.code, ended.data) == (0, {"returned": 2, "failed": 0, "dead": 0, "living": []})
    assert "Waiting up to 0 s for leases to end." in ended.err
    assert ready(project) == 3


def test_what_may_run_only_once_fails(umbel: Command, project: Umbel) -> None:
    called = project.tasks["add"].delay(1)
    consumer = project.broker.consumer(Owner(unique_id(), "node", "elsewhere", 4711), 0.0)
    consumer.mark_early(consumer.fetch(FetchRequest(("celery",), 1), 0.0))
    until(project.broker.expired)
    ended = umbel("handback")
    assert ended.out == "Gave back 0 messages.\nDid not give back 1 message, which failed.\n"
    assert (ended.code, ready(project), called.state) == (0, 0, "FAILURE")
    assert "elsewhere fell silent" in str(called.result)


def test_who_lives_keeps_all_and_is_named(
    umbel: Command, project: Umbel, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold(project, 60.0)
    living(project, monkeypatch)
    ended = umbel("handback", "--json")
    assert ended.code == 1
    [one] = ended.data["living"]
    assert (one["host"], one["pid"], one["held"]) == ("elsewhere", 4711, 2)
    assert "The leases of process 4711 on elsewhere are renewed, with 2 messages" in ended.err
    assert ready(project) == 1


def test_who_lives_and_holds_nothing_is_no_trouble(
    umbel: Command, project: Umbel, monkeypatch: pytest.MonkeyPatch
) -> None:
    living(project, monkeypatch)
    project.broker.consumer(Owner(unique_id(), "node", "elsewhere", 4711), 60.0)
    ended = umbel("handback", "--json")
    assert (ended.code, ended.data["returned"]) == (0, 0)
    assert [one["pid"] for one in ended.data["living"]] == [4711]


def test_to_take_from_the_living_it_asks(
    umbel: Command, project: Umbel, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold(project, 60.0)
    monkeypatch.setattr(project.clock.__class__, "sleep", lambda *_: None)
    asked: list[str] = []

    def answer(prompt: str = "") -> str:
        asked.append(prompt)
        return "n"

    monkeypatch.setattr("click.termui.visible_prompt_func", answer)
    ended = umbel("handback", "--living")
    assert (ended.code, ended.out, ready(project)) == (1, "", 1)
    question = "Take 2 messages from process 4711 on elsewhere, with leases that still run?"
    assert question in "".join([*asked, ended.err])
    ended = umbel("handback", "--living", "-f")
    assert (ended.code, ended.out, ready(project)) == (0, "Gave back 2 messages.\n", 3)


def test_a_dead_node_of_this_host_needs_no_wait(umbel: Command, project: Umbel) -> None:
    base = runtime_directory(project.show_url(project.broker_url))
    program = f"""
import os
from pathlib import Path
from tasks import app
from umbel.ports import FetchRequest, Owner
from umbel.worker.nodes import NodeDirectory
app.tasks["add"].delay_many([(1,), (2,), (3,)])
NodeDirectory(Path({str(base)!r}), "theirs").enter("their-owner")
consumer = app.broker.consumer(Owner("their-owner", "theirs", {platform.node()!r}, os.getpid()), 600.0)
assert len(consumer.fetch(FetchRequest(("celery",), 2), 0.0)) == 2
os._exit(9)
"""
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    ended = subprocess.run([sys.executable, "-c", program], env=environment, check=False)
    assert (ended.returncode, ready(project)) == (9, 1)
    assert umbel("handback").out == "Gave back 2 messages.\n"
    assert ready(project) == 3
    assert not base.exists()  # nor is anything left of the command itself


def test_a_broker_within_one_process_has_nothing_to_give_back(umbel: Command) -> None:
    ended = umbel("-b", "memory://handback", "handback")
    assert ended.code == 1
    assert "memory://handback lives in one process" in ended.err
