"""Fixtures of umbel's own names. What can be said of an app or a worker is a fixture to be defined anew.

Each of these values is by default what the fixture of Celery's name says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from importlib import import_module
from os import environ
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from umbel import Umbel
    from umbel.contrib.testing.worker import TestWorkController

MakeApp = Callable[[pytest.FixtureRequest], AbstractContextManager["Umbel"]]
StartWorker = Callable[["Umbel"], AbstractContextManager["TestWorkController | None"]]


@pytest.fixture(scope="session")
def umbel_config(celery_config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Settings of the app. Define it anew to change them."""
    return celery_config


@pytest.fixture(scope="session")
def umbel_parameters(celery_parameters: Mapping[str, Any]) -> Mapping[str, Any]:
    """Arguments of the app. Define it anew to change them."""
    return celery_parameters


@pytest.fixture(scope="session")
def umbel_enable_logging(celery_enable_logging: bool) -> bool:
    """Whether the app may set up logging. Define it anew to change that."""
    return celery_enable_logging


@pytest.fixture(scope="session")
def use_umbel_app_trap(use_celery_app_trap: bool) -> bool:
    """Whether the use of the current app is an error. Define it anew to change that."""
    return use_celery_app_trap


@pytest.fixture(scope="session")
def umbel_includes(celery_includes: Sequence[str]) -> Sequence[str]:
    """Modules that a worker imports. Define it anew to change them."""
    return celery_includes


@pytest.fixture(scope="session")
def umbel_class_tasks(celery_class_tasks: Sequence[Any]) -> Sequence[Any]:
    """Tasks made of classes, which a worker registers. Define it anew to change them."""
    return celery_class_tasks


@pytest.fixture(scope="session")
def umbel_worker_pool(celery_worker_pool: Any) -> Any:
    """The worker's executor: "solo" or "threads". Define it anew to change it."""
    return celery_worker_pool


@pytest.fixture(scope="session")
def umbel_worker_parameters(celery_worker_parameters: Mapping[str, Any]) -> Mapping[str, Any]:
    """Arguments of start_worker, such as queues. Define it anew to change them."""
    return celery_worker_parameters


@pytest.fixture(scope="session")
def _umbel_make_app(
    umbel_config: Mapping[str, Any],
    umbel_parameters: Mapping[str, Any],
    umbel_enable_logging: bool,
    use_umbel_app_trap: bool,
) -> MakeApp:
    """What makes apps."""

    @contextmanager
    def make(request: pytest.FixtureRequest) -> Iterator[Umbel]:
        # pytest imports this file in every run, and most need no umbel.
        from umbel.contrib.testing.app import TestApp, setup_default_app

        app = TestApp(
            set_as_current=False,
            enable_logging=umbel_enable_logging,
            config={**umbel_config, **_marked(request)},
            **umbel_parameters,
        )
        with setup_default_app(app, use_trap=use_umbel_app_trap):
            yield app

    return make


def _marked(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Return the settings that the markers of a test say."""
    marks = (request.node.get_closest_marker(name) for name in ("celery", "umbel"))
    return {name: value for mark in marks if mark for name, value in mark.kwargs.items()}


@pytest.fixture(scope="session")
def _umbel_start_worker(
    umbel_includes: Sequence[str],
    umbel_class_tasks: Sequence[Any],
    umbel_worker_pool: Any,
    umbel_worker_parameters: Mapping[str, Any],
) -> StartWorker:
    """What starts workers; with the variable NO_WORKER it does not, since one runs elsewhere."""

    @contextmanager
    def start(app: Umbel) -> Iterator[TestWorkController | None]:
        if environ.get("NO_WORKER"):
            yield None
            return
        from umbel.contrib.testing.worker import start_worker

        for module in umbel_includes:
            import_module(module)
        for task in umbel_class_tasks:
            app.register_task(task)
        with start_worker(app, pool=umbel_worker_pool, **umbel_worker_parameters) as worker:
            yield worker

    return start


@pytest.fixture
def umbel_app(request: pytest.FixtureRequest, _umbel_make_app: MakeApp) -> Iterator[Umbel]:
    """An app for one test, in memory. The marker umbel(**settings) changes its settings."""
    with _umbel_make_app(request) as app:
        yield app


@pytest.fixture
def umbel_worker(
    umbel_app: Umbel, _umbel_start_worker: StartWorker
) -> Iterator[TestWorkController | None]:
    """A worker for one test: it runs the tasks of umbel_app in a thread."""
    with _umbel_start_worker(umbel_app) as worker:
        yield worker


@pytest.fixture(scope="session")
def umbel_session_app(
    request: pytest.FixtureRequest, _umbel_make_app: MakeApp, use_umbel_app_trap: bool
) -> Iterator[Umbel]:
    """An app for all tests; it is the current app, unless that is a trap."""
    with _umbel_make_app(request) as app:
        if not use_umbel_app_trap:
            app.set_default()
            app.set_current()
        yield app


@pytest.fixture(scope="session")
def umbel_session_worker(
    umbel_session_app: Umbel, _umbel_start_worker: StartWorker
) -> Iterator[TestWorkController | None]:
    """A worker for all tests: it runs the tasks of umbel_session_app in a thread."""
    with _umbel_start_worker(umbel_session_app) as worker:
        yield worker
