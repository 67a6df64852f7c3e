"""Fixtures of Celery's names: the same objects as those of umbel's own names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from umbel import Umbel
    from umbel.contrib.testing.worker import TestWorkController
    from umbel_pytest.fixtures import StartWorker


@pytest.fixture(scope="session")
def celery_config() -> Mapping[str, Any]:
    """Settings of the app. Define it anew to change them."""
    return {}


@pytest.fixture(scope="session")
def celery_parameters() -> Mapping[str, Any]:
    """Arguments of the app. Define it anew to change them."""
    return {}


@pytest.fixture(scope="session")
def celery_enable_logging() -> bool:
    """Whether the app may set up logging. Define it anew to change that."""
    return False


@pytest.fixture(scope="session")
def use_celery_app_trap() -> bool:
    """Whether the use of the current app is an error. Define it anew to change that."""
    return False


@pytest.fixture(scope="session")
def celery_includes() -> Sequence[str]:
    """Modules that a worker imports. Define it anew to change them."""
    return ()


@pytest.fixture(scope="session")
def celery_class_tasks() -> Sequence[Any]:
    """Tasks made of classes, which a worker registers. Define it anew to change them."""
    return ()


@pytest.fixture(scope="session")
def celery_worker_pool() -> Any:
    """The worker's executor: "solo" or "threads". Define it anew to change it."""
    return "solo"


@pytest.fixture(scope="session")
def celery_worker_parameters() -> Mapping[str, Any]:
    """Arguments of start_worker, such as queues. Define it anew to change them."""
    return {}


@pytest.fixture
def celery_app(umbel_app: Umbel) -> Umbel:
    """The app that umbel_app is. The marker celery(**settings) changes its settings."""
    return umbel_app


@pytest.fixture
def celery_worker(
    request: pytest.FixtureRequest, celery_app: Umbel, _umbel_start_worker: StartWorker
) -> Iterator[TestWorkController | None]:
    """The worker that umbel_worker is, or one of its own for a celery_app that was defined anew."""
    yield from _worker(request, celery_app, "umbel_app", "umbel_worker", _umbel_start_worker)


@pytest.fixture(scope="session")
def celery_session_app(umbel_session_app: Umbel) -> Umbel:
    """The app that umbel_session_app is."""
    return umbel_session_app


@pytest.fixture(scope="session")
def celery_session_worker(
    request: pytest.FixtureRequest, celery_session_app: Umbel, _umbel_start_worker: StartWorker
) -> Iterator[TestWorkController | None]:
    """The worker that umbel_session_worker is, or one for a celery_session_app that was defined anew."""
    names = ("umbel_session_app", "umbel_session_worker")
    yield from _worker(request, celery_session_app, *names, _umbel_start_worker)


def _worker(
    request: pytest.FixtureRequest, app: Umbel, its_app: str, its_worker: str, start: StartWorker
) -> Iterator[TestWorkController | None]:
    same = its_app in request.fixturenames and request.getfixturevalue(its_app) is app
    with nullcontext(request.getfixturevalue(its_worker)) if same else start(app) as worker:
        yield worker


@pytest.fixture
def depends_on_current_app(celery_app: Umbel) -> None:
    """Make celery_app the current app."""
    celery_app.set_current()
