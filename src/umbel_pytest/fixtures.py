"""Fixtures of apps and workers, under umbel's names. What is said of them is in ``values``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from os import environ
from typing import TYPE_CHECKING, Any

import pytest

from umbel_pytest.values import AppValues, WorkerValues

if TYPE_CHECKING:
    from umbel import Umbel
    from umbel.contrib.testing.worker import TestWorkController


@contextmanager
def made(values: AppValues, request: pytest.FixtureRequest) -> Iterator[Umbel]:
    """Make an app, which is the current one within the block."""
    # pytest imports this file in every run, and most need no umbel.
    from umbel.contrib.testing.app import TestApp, setup_default_app

    app = TestApp(
        set_as_current=False,
        enable_logging=values.enable_logging,
        config={**values.config, **_marked(request)},
        **values.parameters,
    )
    with setup_default_app(app, use_trap=values.trap):
        yield app


def _marked(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Return the settings that the markers of a test say."""
    marks = (request.node.get_closest_marker(name) for name in ("celery", "umbel"))
    return {name: value for mark in marks if mark for name, value in mark.kwargs.items()}


@contextmanager
def started(app: Umbel, values: WorkerValues) -> Iterator[TestWorkController | None]:
    """Start a worker; with the variable NO_WORKER start none, since one runs elsewhere."""
    if environ.get("NO_WORKER"):
        yield None
        return
    from umbel.contrib.testing.worker import start_worker

    for module in values.includes:
        import_module(module)
    for task in values.class_tasks:
        app.register_task(task)
    with start_worker(app, pool=values.pool, **values.parameters) as worker:
        yield worker


@pytest.fixture
def umbel_app(request: pytest.FixtureRequest, _umbel_app_values: AppValues) -> Iterator[Umbel]:
    """An app for one test, in memory. The marker umbel(**settings) changes its settings."""
    with made(_umbel_app_values, request) as app:
        yield app


@pytest.fixture
def umbel_worker(
    umbel_app: Umbel, _umbel_worker_values: WorkerValues
) -> Iterator[TestWorkController | None]:
    """A worker for one test: it runs the tasks of umbel_app in a thread."""
    with started(umbel_app, _umbel_worker_values) as worker:
        yield worker


@pytest.fixture(scope="session")
def umbel_session_app(
    request: pytest.FixtureRequest, _umbel_session_app_values: AppValues
) -> Iterator[Umbel]:
    """An app for all tests; it is the current app, unless that is a trap."""
    with made(_umbel_session_app_values, request) as app:
        if not _umbel_session_app_values.trap:
            app.set_default()
            app.set_current()
        yield app


@pytest.fixture(scope="session")
def umbel_session_worker(
    umbel_session_app: Umbel, _umbel_session_worker_values: WorkerValues
) -> Iterator[TestWorkController | None]:
    """A worker for all tests: it runs the tasks of umbel_session_app in a thread."""
    with started(umbel_session_app, _umbel_session_worker_values) as worker:
        yield worker
