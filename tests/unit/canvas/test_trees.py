"""Random workflows come to what plain Python evaluates them to: run by their caller, and by workers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from tests import postgres_servers
from tests.rabbitmq_servers import own_vhost
from tests.redis_servers import private_server
from tests.unit.canvas.trees import Tree, evaluate, make_app, signature, trees
from umbel import Umbel
from umbel import signature as signature_of
from umbel.clock import unique_id
from umbel.testing import worker

SHARED = (HealthCheck.function_scoped_fixture, HealthCheck.too_slow)
#: Examples in the short form of a test, on each engine.
FEW = 15
#: Those of the long form are shared out: a test that takes longer than two minutes is taken for one that
#: hangs, and its process is ended. A thousand in one took 93 s on PostgreSQL where nothing else ran.
SHARES, MANY = 10, 100


SERVERS = [
    pytest.param("redis", marks=pytest.mark.engine),
    pytest.param("postgres", marks=[pytest.mark.engine, pytest.mark.slow]),
    pytest.param("rabbitmq", marks=[pytest.mark.engine, pytest.mark.slow]),
]


@pytest.fixture(params=["memory", "sqlite", *SERVERS])
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Umbel]:
    """An app on each engine, with a worker; on RabbitMQ its results are in a file."""
    file = f"sqlite:///{tmp_path}/trees.db"
    with ExitStack() as servers:
        match request.param:
            case "redis":
                yield from _at_work(servers.enter_context(private_server(tmp_path)).url)
            case "postgres":
                yield from _at_work(servers.enter_context(postgres_servers.shared_space())[0])
            case "rabbitmq":
                yield from _at_work(servers.enter_context(own_vhost()), file)
            case "sqlite":
                yield from _at_work(file)
            case _:
                yield from _at_work(f"memory://{unique_id()}")


def _at_work(url: str, results: str | None = None) -> Iterator[Umbel]:
    with make_app(url, results) as app, worker(app, concurrency=2):
        yield app


@given(trees())
def test_a_workflow_that_its_caller_runs(tree: Tree) -> None:
    app = make_app("memory://trees")
    assert signature(tree, app).apply(("x",)).get() == evaluate(tree, "x")


@given(trees(2))
def test_a_workflow_is_the_same_after_a_way_through_data(tree: Tree) -> None:
    app = make_app("memory://trees")
    made = signature(tree, app)
    again = signature_of(dict(made.__json__()), app=app)
    assert again == made
    assert again.apply(("x",)).get() == evaluate(tree, "x")


@settings(max_examples=FEW, suppress_health_check=SHARED)
@given(trees())
def test_a_workflow_that_workers_run(app: Umbel, tree: Tree) -> None:
    _run(app, tree)


@pytest.mark.slow
@pytest.mark.parametrize("share", range(SHARES))
@settings(max_examples=MANY, suppress_health_check=SHARED)
@given(trees(4))
def test_many_workflows_that_workers_run(app: Umbel, share: int, tree: Tree) -> None:
    _run(app, tree)


def _run(app: Umbel, tree: Tree) -> None:
    found = signature(tree, app).apply_async(("x",)).get(timeout=30)
    assert found == evaluate(tree, "x")
