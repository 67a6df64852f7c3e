from __future__ import annotations

import pytest

from tests.conftest import ManualClock, calls
from umbel import Broadcast, Queue, Umbel
from umbel.broadcasts import Listening, listeners
from umbel.engines.memory.broker import MemoryBroker
from umbel.engines.memory.queues import MemoryQueues
from umbel.engines.memory.space import Space
from umbel.engines.memory.state import MemoryState
from umbel.exceptions import Unroutable
from umbel.message import Message, Publication


class Files:
    """The ports of a memory engine whose clock a test moves."""

    def __init__(self, clock: ManualClock) -> None:
        space = Space()
        self.state = MemoryState(space, clock)
        self.admin = MemoryQueues(space, clock)
        broker = MemoryBroker(space, clock)
        message = Message({}, {}, b"")
        broker.publish([Publication(f"bcast.{n}", message, f"tag{n}") for n in (1, 2, 3)], 1.0)

    def node(self, queues: dict[str, str]) -> Listening:
        return Listening(self.state, self.admin, queues, 15.0)

    @property
    def purged(self) -> list[str]:
        return [name for name, depth in self.admin.depths().items() if not depth.ready]


@pytest.fixture
def files(clock: ManualClock) -> Files:
    return Files(clock)


def test_a_node_is_listened_to_while_it_says_so(files: Files, clock: ManualClock) -> None:
    one = files.node({"bcast.1": "news", "bcast.2": "other"})
    two = files.node({"bcast.3": "news"})
    one.renew()
    two.renew()
    assert listeners(files.state, "news") == ["bcast.1", "bcast.3"]
    assert listeners(files.state, "other") == ["bcast.2"]
    clock.now += 10
    two.renew()
    clock.now += 10
    assert listeners(files.state, "news") == ["bcast.3"]
    assert files.purged == []


def test_the_living_sweep_up_behind_the_dead(files: Files, clock: ManualClock) -> None:
    dead = files.node({"bcast.1": "news"})
    alive = files.node({"bcast.2": "news"})
    dead.renew()
    clock.now += 20
    alive.renew()
    alive.renew()
    assert files.purged == ["bcast.1"]
    dead.renew()  # it was only frozen
    assert listeners(files.state, "news") == ["bcast.1", "bcast.2"]


def test_who_leaves_takes_its_queues_along(files: Files) -> None:
    node = files.node({"bcast.1": "news"})
    node.renew()
    node.leave()
    assert (listeners(files.state, "news"), files.purged) == ([], ["bcast.1"])
    assert listeners(None, "news") == []


def test_a_broadcast_reaches_every_worker_that_listens(app: Umbel) -> None:
    app.conf.task_queues = [Queue("celery"), Broadcast("news")]
    tell = app.task(name="tell")(lambda text: None)
    with pytest.raises(Unroutable, match="no worker listens to it now"):
        tell.apply_async(("hello",), queue="news")
    state = app.engine(app.broker_url).state
    assert state is not None
    Listening(state, None, {"bcast.1": "news", "bcast.2": "news"}, 60.0).renew()
    result = tell.apply_async(("hello",), queue="news")
    for queue in ("bcast.1", "bcast.2"):
        assert [call.id for call in calls(app, queue)] == [result.id]
    assert calls(app) == []
