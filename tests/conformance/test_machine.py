"""The state machine of machine.py, run on our engines."""

from __future__ import annotations

import itertools
import tempfile
from contextlib import ExitStack

import pytest
from hypothesis import HealthCheck, Phase, settings

from tests import postgres_servers
from tests.conformance.machine import BrokerMachine, Modelled
from tests.redis_servers import shared_space
from umbel.clock import unique_id
from umbel.engines.memory import MemoryEngine
from umbel.engines.memory.space import forget_space
from umbel.engines.postgres import PostgresEngine
from umbel.engines.redis import open_redis
from umbel.engines.sqlite import SqliteEngine
from umbel.message import Delivery
from umbel.testing.conformance.support import Side


class MemoryMachine(BrokerMachine):
    def __init__(self) -> None:
        super().__init__()
        self.name = unique_id()

    def new_side(self) -> Side:
        return Side(MemoryEngine(f"memory://{self.name}", {}))

    def teardown(self) -> None:
        super().teardown()
        forget_space(self.name)


class SqliteMachine(BrokerMachine):
    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()

    def new_side(self) -> Side:
        url = f"sqlite:///{self.directory.name}/umbel.db?durability=normal"
        return Side(SqliteEngine(url, {}))

    def teardown(self) -> None:
        super().teardown()
        self.directory.cleanup()


class RedisMachine(BrokerMachine):
    """On a database of the server that runs here, with keys of its own."""

    ordered = False

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.url, self.prefix = self.stack.enter_context(shared_space())
        self.front = itertools.count(-1, -1)

    def new_side(self) -> Side:
        options = {"global_keyprefix": self.prefix, "queue_order_strategy": "priority"}
        return Side(open_redis(self.url, options))

    def order_of_return(self, items: list[tuple[Modelled, Delivery]]) -> dict[str, int]:
        """What comes back is in front of all that waits, and in the order in which it was handed over."""
        numbers = {item.name: int(one.key.rpartition(".")[2]) for item, one in items}
        places = {
            number: next(self.front) for number in sorted(set(numbers.values()), reverse=True)
        }
        return {name: places[number] for name, number in numbers.items()}

    def delivered(self, priority: int) -> int:
        return max(step for step in (0, 3, 6, 9) if step <= priority)

    def urgency(self, priority: int) -> int:
        """The lowest number is the most urgent."""
        return -self.delivered(priority)

    def in_turn(self, queues: list[str]) -> list[Modelled]:
        """What is urgent comes first, of whichever queue."""
        found = [item for queue in queues for item in self.ready(queue)]
        return sorted(found, key=lambda item: -self.urgency(item.priority))

    def teardown(self) -> None:
        super().teardown()
        self.stack.close()


class SpreadMachine(RedisMachine):
    """With a place for each queue, which need not be on servers of a cluster for that."""

    def __init__(self) -> None:
        super().__init__()
        self.prefix += "{queue}:"

    def in_turn(self, queues: list[str]) -> list[Modelled]:
        return BrokerMachine.in_turn(self, queues)

    def queue_of_repetition(self, item: Modelled) -> str:
        """Each place remembers the tags of its own queue."""
        return item.queue


class PostgresMachine(BrokerMachine):
    """On a schema of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.url, _ = self.stack.enter_context(postgres_servers.shared_space())

    def new_side(self) -> Side:
        return Side(PostgresEngine(self.url, {}))

    def teardown(self) -> None:
        super().teardown()
        for side in self.sides:
            side.engine.close()
        self.stack.close()


_SETTINGS = settings(
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
    stateful_step_count=30,
)

TestMemory = MemoryMachine.TestCase
TestMemory.settings = settings(_SETTINGS, max_examples=60)
TestSqlite = SqliteMachine.TestCase
TestSqlite.settings = settings(_SETTINGS, max_examples=30)
TestRedis = pytest.mark.engine(RedisMachine.TestCase)
TestRedis.settings = settings(
    _SETTINGS,
    max_examples=6,
    # Each step is some calls of a server: to look for a shorter example takes minutes.
    phases=(Phase.explicit, Phase.generate),
)
TestSpread = pytest.mark.engine(SpreadMachine.TestCase)
TestSpread.settings = settings(TestRedis.settings, max_examples=3)
TestPostgres = pytest.mark.engine(PostgresMachine.TestCase)
TestPostgres.settings = settings(_SETTINGS, max_examples=6, phases=(Phase.explicit, Phase.generate))
