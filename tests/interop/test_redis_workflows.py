"""Workflows of umbel and the released Celery on one Redis: each step may run on either's workers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.support import Side
from tests.redis_servers import private_server

pytestmark = pytest.mark.engine


@pytest.fixture
def sides(tmp_path: Path) -> Iterator[dict[str, Side]]:
    with private_server(tmp_path) as server:
        found = {name: Side(name, tmp_path, server.url) for name in ("umbel", "celery")}
        yield found
        for side in found.values():
            side.kill()


@pytest.mark.parametrize(
    ("client", "workers"),
    [
        pytest.param("umbel", ("celery",), marks=pytest.mark.slow),
        pytest.param("celery", ("umbel",), marks=pytest.mark.slow),
        ("umbel", ("umbel", "celery")),
        ("celery", ("umbel", "celery")),
    ],
)
def test_a_workflow_runs_on_either_sides_workers(
    sides: dict[str, Side], client: str, workers: tuple[str, ...]
) -> None:
    for worker in workers:
        sides[worker].worker("-c", "1")
    assert sides[client].client(program="workflows") == "all well\n"
    assert sides[client].client(*workers, program="stamps") == "all well\n"
