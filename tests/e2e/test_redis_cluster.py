"""A real worker on a Redis Cluster: it works there, and goes on when the server that has its keys dies."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.certificates import certificate_for_this_machine
from tests.e2e.support import Start
from tests.redis_clusters import PrivateCluster, private_cluster, role
from umbel import Umbel
from umbel.failpoints import NAMES
from umbel.ports import QueueDepth
from umbel.testing.conformance.support import LONG, PATIENCE, until

pytestmark = pytest.mark.engine

#: Each queue has a slot of its own.
SPREAD = "test:{queue}:"
#: Between two writes in different slots.
BETWEEN_PLACES = [name for name in NAMES if name.startswith("spread.")]

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
    """A cluster with as many replicas as a test says, or one that speaks TLS."""
    tls = request.param == "tls"
    certificate = certificate_for_this_machine(tmp_path) if tls else None
    replicas = 0 if tls else request.param
    with private_cluster(tmp_path, replicas, certificate) as made:
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

    def send(self, number: int, queues: Sequence[str], **options: Any) -> Any:
        """Send a task to one of three queues that two others follow, each in another queue."""
        first, *others = [queues[(number + one) % 3] for one in range(3)]
        follow = [
            self.note.si(number + 1000 * nth).set(queue=queue)
            for nth, queue in enumerate(others, 1)
        ]
        return self.note.apply_async((number,), queue=first, link=follow, **options)

    def close(self) -> None:
        self.app.close()

    def noted(self) -> list[int]:
        return sorted(map(int, self.ledger.read_text().split()))


@pytest.mark.parametrize("cluster", [0, "tls"], indirect=True)
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


@pytest.mark.parametrize("cluster", [0], indirect=True)
def test_a_worker_of_queues_in_several_slots_runs_tasks(
    project: Path, start: Start, cluster: PrivateCluster
) -> None:
    """It waits for all of them at once, and its tasks send to others."""
    queues = _queues(cluster)
    with closing(Project(project, cluster, SPREAD, "{results}:")) as client:
        worker = start("-c", "1", "-Q", ",".join(queues))
        one_by_one = [
            client.note.apply_async((number,), queue=queue).get(timeout=PATIENCE)
            for number, queue in enumerate(queues)
        ]
        assert one_by_one == [0, 1, 2]
        sent = [
            client.send(number, queues, countdown=0.2 if number % 5 == 0 else None)
            for number in range(10, 40)
        ]
        assert [one.get(timeout=PATIENCE) for one in sent] == list(range(10, 40))
        expected = [0, 1, 2, *range(10, 40), *range(1010, 1040), *range(2010, 2040)]
        until(lambda: client.noted() == expected)
        worker.send(signal.SIGTERM)
        assert worker.wait() == 0
        depths = client.app.queues.depths()
        assert {queue: depths[queue] for queue in queues} == dict.fromkeys(queues, QueueDepth())
        assert client.app.queues.holdings() == []


@pytest.mark.slow
@pytest.mark.parametrize("cluster", [0], indirect=True)
@pytest.mark.parametrize("point", BETWEEN_PLACES)
def test_nothing_is_lost_when_a_process_dies_between_two_slots(
    project: Path, start: Start, cluster: PrivateCluster, point: str
) -> None:
    """It dies once, whoever comes there: a child, a supervisor that takes over, or one that leaves."""
    queues = _queues(cluster)
    struck = project / "struck"
    before = f"export UMBEL_FAILPOINTS={point}=kill UMBEL_FAILPOINTS_ONCE={struck}"
    with closing(Project(project, cluster, SPREAD, "{results}:")) as client:
        options = ("-c", "2", "-Q", ",".join(queues))
        start(*options, "-n", "one@here", logs_to="other")
        worker = start(*options, "-n", "two@here", before=before)
        sent = [client.send(number, queues) for number in range(60)]
        if point == "spread.reclaim.between":
            os.kill(worker.child(), signal.SIGKILL)
        if point == "spread.close.between":
            worker.send(signal.SIGTERM)
        until((struck / point).exists, LONG)
        assert [one.get(timeout=LONG) for one in sent] == list(range(60))
        expected = {*range(60), *range(1000, 1060), *range(2000, 2060)}
        until(lambda: set(client.noted()) == expected, LONG)


@pytest.mark.slow
@pytest.mark.parametrize("cluster", [1], indirect=True)
@pytest.mark.parametrize("spread", [False, True])
def test_nothing_is_lost_when_a_replica_takes_over(
    project: Path, start: Start, cluster: PrivateCluster, spread: bool
) -> None:
    """What had not reached the replica would be lost, as it is with any failover of Redis."""
    master, (replica,) = cluster.masters[0], cluster.replicas
    results = cluster.prefix_at(master)
    queue = _queues(cluster)[0]
    with closing(Project(project, cluster, SPREAD if spread else results, results)) as client:
        client.app.conf.task_default_queue = queue
        worker = start("-c", "2", "-Q", queue)
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


def _queues(cluster: PrivateCluster) -> list[str]:
    """Return three queues, each at another server."""
    return [cluster.prefix_at(one, "queue").strip("{}:") for one in cluster.masters]


def _offset(server: Any) -> int:
    return int(server.admin.info("replication")["master_repl_offset"])
