"""Fixtures that say how apps and workers are made. Each may be defined anew: in a conftest, module or class.

Each value has two names, Celery's and umbel's, and both count. They depend on nothing, so that whoever
defines one anew may choose its scope, as with Celery's own. What apps and workers are made of depends on all
of them, so that a module's own count for its tests, and tests may parametrize them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

# Of the app


@pytest.fixture(scope="session")
def celery_config() -> Mapping[str, Any]:
    """Settings of the app. Define it anew to change them."""
    return {}


@pytest.fixture(scope="session")
def umbel_config() -> Mapping[str, Any]:
    """Settings of the app, beside celery_config. Define it anew to change them."""
    return {}


@pytest.fixture(scope="session")
def celery_parameters() -> Mapping[str, Any]:
    """Arguments of the app. Define it anew to change them."""
    return {}


@pytest.fixture(scope="session")
def umbel_parameters() -> Mapping[str, Any]:
    """Arguments of the app, beside celery_parameters. Define it anew to change them."""
    return {}


@pytest.fixture(scope="session")
def celery_enable_logging() -> bool:
    """Whether the app may set up logging. Define it anew to change that."""
    return False


@pytest.fixture(scope="session")
def umbel_enable_logging() -> bool:
    """Whether the app may set up logging, as celery_enable_logging. Define it anew to change that."""
    return False


@pytest.fixture(scope="session")
def use_celery_app_trap() -> bool:
    """Whether the use of the current app is an error. Define it anew to change that."""
    return False


@pytest.fixture(scope="session")
def use_umbel_app_trap() -> bool:
    """Whether the use of the current app is an error, too. Define it anew to change that."""
    return False


# Of the worker


@pytest.fixture(scope="session")
def celery_includes() -> Sequence[str]:
    """Modules that a worker imports. Define it anew to change them."""
    return ()


@pytest.fixture(scope="session")
def umbel_includes() -> Sequence[str]:
    """Modules that a worker imports, beside celery_includes. Define it anew to change them."""
    return ()


@pytest.fixture(scope="session")
def celery_class_tasks() -> Sequence[Any]:
    """Tasks made of classes, which a worker registers. Define it anew to change them."""
    return ()


@pytest.fixture(scope="session")
def umbel_class_tasks() -> Sequence[Any]:
    """Tasks made of classes, beside celery_class_tasks. Define it anew to change them."""
    return ()


@pytest.fixture(scope="session")
def celery_worker_pool() -> Any:
    """The worker's executor: "solo" or "threads". Define it anew to change it."""
    return "solo"


@pytest.fixture(scope="session")
def umbel_worker_pool() -> Any:
    """The worker's executor; None: what celery_worker_pool says. Define it anew to change it."""
    return None


@pytest.fixture(scope="session")
def celery_worker_parameters() -> Mapping[str, Any]:
    """Arguments of start_worker, such as queues. Define it anew to change them."""
    return {}


@pytest.fixture(scope="session")
def umbel_worker_parameters() -> Mapping[str, Any]:
    """Arguments of start_worker, beside celery_worker_parameters. Define it anew to change them."""
    return {}


# Together, for the fixtures that make something of them


@dataclass(frozen=True, slots=True)
class AppValues:
    """How an app is made."""

    config: Mapping[str, Any]
    parameters: Mapping[str, Any]
    enable_logging: bool
    trap: bool


@dataclass(frozen=True, slots=True)
class WorkerValues:
    """How a worker is made."""

    includes: Sequence[str]
    class_tasks: Sequence[Any]
    pool: Any
    parameters: Mapping[str, Any]


def _app_values(  # noqa: PLR0913, PLR0917 - each is a fixture
    celery_config: Mapping[str, Any],
    umbel_config: Mapping[str, Any],
    celery_parameters: Mapping[str, Any],
    umbel_parameters: Mapping[str, Any],
    celery_enable_logging: bool,
    umbel_enable_logging: bool,
    use_celery_app_trap: bool,
    use_umbel_app_trap: bool,
) -> AppValues:
    """What is said of an app."""
    return AppValues(
        {**celery_config, **umbel_config},
        {**celery_parameters, **umbel_parameters},
        celery_enable_logging or umbel_enable_logging,
        use_celery_app_trap or use_umbel_app_trap,
    )


def _worker_values(  # noqa: PLR0913, PLR0917 - each is a fixture
    celery_includes: Sequence[str],
    umbel_includes: Sequence[str],
    celery_class_tasks: Sequence[Any],
    umbel_class_tasks: Sequence[Any],
    celery_worker_pool: Any,
    umbel_worker_pool: Any,
    celery_worker_parameters: Mapping[str, Any],
    umbel_worker_parameters: Mapping[str, Any],
) -> WorkerValues:
    """What is said of a worker."""
    return WorkerValues(
        (*celery_includes, *umbel_includes),
        (*celery_class_tasks, *umbel_class_tasks),
        umbel_worker_pool or celery_worker_pool,
        {**celery_worker_parameters, **umbel_worker_parameters},
    )


# For one test and for all, since a fixture has one scope.
_umbel_app_values = pytest.fixture(name="_umbel_app_values")(_app_values)
_umbel_session_app_values = pytest.fixture(scope="session", name="_umbel_session_app_values")(
    _app_values
)
_umbel_worker_values = pytest.fixture(name="_umbel_worker_values")(_worker_values)
_umbel_session_worker_values = pytest.fixture(scope="session", name="_umbel_session_worker_values")(
    _worker_values
)
