"""The state machine of machine.py, run on our engines."""

from __future__ import annotations

import tempfile

from hypothesis import HealthCheck, settings

from tests.conformance.machine import BrokerMachine
from umbel.clock import unique_id
from umbel.engines.memory import MemoryEngine
from umbel.engines.memory.space import forget_space
from umbel.engines.sqlite import SqliteEngine
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
