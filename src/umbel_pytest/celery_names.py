"""Fixtures of apps and workers, under Celery's names: the same objects as those of umbel's own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from typing import TYPE_CHECKING

import pytest

from umbel_pytest.fixtures import started
from umbel_pytest.values import WorkerValues

if TYPE_CHECKING:
    from umbel import Umbel
    from umbel.contrib.testing.worker import TestWorkController


@pytest.fixture
def celery_app(umbel_app: Umbel) -> Umbel:
    """The app that umbel_app is. The marker celery(**settings) changes its settings."""
    return umbel_app


@pytest.fixture
def celery_worker(
    request: pytest.FixtureRequest, celery_app: Umbel, _umbel_worker_values: WorkerValues
) -> Iterator[TestWorkController | None]:
    """The worker that umbel_worker is, or one of its own for a celery_app that was defined anew."""
    yield from _worker(request, celery_app, "umbel_app", "umbel_worker", _umbel_worker_values)


@pytest.fixture(scope="session")
def celery_session_app(umbel_session_app: Umbel) -> Umbel:
    """The app that umbel_session_app is."""
    return umbel_session_app


@pytest.fixture(scope="session")
def celery_session_worker(
    request: pytest.FixtureRequest,
    celery_session_app: Umbel,
    _umbel_session_worker_values: WorkerValues,
) -> Iterator[TestWorkController | None]:
    """The worker that umbel_session_worker is, or one for a celery_session_app that was defined anew."""
    names = ("umbel_session_app", "umbel_session_worker")
    yield from _worker(request, celery_session_app, *names, _umbel_session_worker_values)


def _worker(
    request: pytest.FixtureRequest, app: Umbel, its_app: str, its_worker: str, values: WorkerValues
) -> Iterator[TestWorkController | None]:
    same = its_app in request.fixturenames and request.getfixturevalue(its_app) is app
    with (
        nullcontext(request.getfixturevalue(its_worker)) if same else started(app, values) as worker
    ):
        yield worker


@pytest.fixture
def depends_on_current_app(celery_app: Umbel) -> None:
    """Make celery_app the current app."""
    celery_app.set_current()
