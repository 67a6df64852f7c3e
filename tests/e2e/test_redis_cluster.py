"""A real worker on a Redis Cluster: it works there, and goes on when the server that has its keys dies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.support import Start
from tests.redis_clusters import PrivateCluster, private_cluster, role
from umbel import Umbel
from umbel.testing.conformance.support import LONG, PATIENCE, until

pytestmark = pytest.mark.engine

TASKS = """
import os
from pathlib import Path

from umbel import Umbel

app = Umbel(broker="{url}", backend="{url}")
app.conf.broker_transport_options = {{"global_keyprefix": "{prefix}"}}
app.conf.result_backend_transport_options = {{"global_keyprefix": "{results}"}}


@app.task
def note(number):
    with open(Path(__file__).with_name("ledger"), "a") as ledger:
        ledger.write(f"{{number}}\\n")
    return number
"""


@pytest.fixture
def cluster(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[PrivateCluster]:
    """A cluster with as many replicas as a test says."""
    with private_cluster(tmp_path, replicas=request.param) as made:
        yield made


class Project:
    """The app as a client has it, and what its tasks have noted."""

    def __init__(self, directory: Path, cluster: PrivateCluster, prefix: str, results: str) -> None:
        self.ledger = directory / "ledger"
        text = TASKS.format(url=cluster.url, prefix=prefix, results=results)
        (directory / "tasks.py").write_text(text)
        self.app = Umbel(broker=cluster.url, backend=cluster.url)
        self.app.conf.broker_transport_options = {"global_keyprefix": prefix}
        self.app.conf.result_backend_transport_options = {"global_keyprefix": results}
        self.app.conf.broker_publish_timeout = LONG
        self.note: Any = self.app.task(name="tasks.note")(lambda number: None)

    def close(self) -> None:
        self.app.close()

    def noted(self) -> list[int]:
        return sorted(map(int, self.ledger.read_text().split()))


@pytest.mark.parametrize("cluster", [0], indirect=True)
@pytest.mark.parametrize("other", [False, True])
def test_a_worker_runs_tasks_on_a_cluster(
    project: Path, start: Start, cluster: PrivateCluster, other: bool
) -> None:
    """With results in the broker's slot, and in one at another server."""
    prefix = cluster.prefix_at(cluster.masters[1])
    results = cluster.prefix_at(cluster.masters[2]) if other else prefix
    with closing(Project(project, cluster, prefix, results)) as client:
        start("-c", "1")
        sent = [client.note.delay(number) for number in range(20)]
        sent += [client.note.apply_async((number,), countdown=0.2) for number in range(20, 25)]
        assert [one.get(timeout=PATIENCE) for one in sent] == list(range(25))
        assert client.noted() == list(range(25))


@pytest.mark.slow
@pytest.mark.parametrize("cluster", [1], indirect=True)
def test_nothing_is_lost_when_a_replica_takes_over(
    project: Path, start: Start, cluster: PrivateCluster
) -> None:
    """What had not reached the replica would be lost, as it is with any failover of Redis."""
    master, (replica,) = cluster.masters[0], cluster.replicas
    prefix = cluster.prefix_at(master)
    with closing(Project(project, cluster, prefix, prefix)) as client:
        worker = start("-c", "2")
        sent = [client.note.apply_async((number,), countdown=2) for number in range(100)]
        sent += [client.note.delay(number) for number in range(100, 500)]
        until(lambda: _offset(replica) >= _offset(master))
        master.stop()
        sent += [client.note.delay(number) for number in range(500, 550)]
        assert role(replica) == "master"
        assert [one.get(timeout=LONG) for one in sent] == list(range(550))
        assert set(client.noted()) == set(range(550))
        # Once for each child.
        assert worker.text.count("The broker does not answer; trying until it does.") <= 2


def _offset(server: Any) -> int:
    return int(server.admin.info("replication")["master_repl_offset"])
