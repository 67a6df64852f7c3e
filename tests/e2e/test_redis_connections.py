"""How many connections a node has to Redis: one for each child, and two beside them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.support import Start
from tests.redis_servers import PrivateServer, private_server
from umbel import Umbel
from umbel.testing.conformance.support import PATIENCE, until

pytestmark = pytest.mark.engine

TASKS = """
from umbel import Umbel

app = Umbel("tasks", broker="{url}", backend="{url}")
app.conf.beat_schedule = {{"tick": {{"task": "tasks.add", "schedule": 0.2, "args": (1, 2)}}}}


@app.task
def add(one, other):
    return one + other
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[PrivateServer]:
    with private_server(tmp_path) as made:
        yield made


@pytest.mark.parametrize(("options", "children"), [("-c 3 -B", 3), ("-P solo", 0)])
def test_a_node_has_a_connection_for_each_child_and_two_more(
    project: Path, start: Start, server: PrivateServer, options: str, children: int
) -> None:
    (project / "tasks.py").write_text(TASKS.format(url=server.url))
    start(*options.split())
    with closing(Umbel("tasks", broker=server.url, backend=server.url)) as app:
        add: Any = app.task(name="tasks.add")(lambda one, other: None)
        sent = [add.delay(number, 1) for number in range(100)]
        assert [one.get(timeout=PATIENCE) for one in sent] == list(range(1, 101))

    def count() -> int:
        # The client has just gone; and who asks is none of them.
        return sum(not one["cmd"].startswith("client") for one in server.admin.client_list())

    until(lambda: children < count() <= children + 2)
