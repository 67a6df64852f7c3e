"""The fixtures for pytest, under the module's name in Celery.

They are there wherever umbel is installed. ``pytest_plugins = ("umbel.contrib.pytest",)`` is needed only
where pytest loads no plugins by itself (``PYTEST_DISABLE_PLUGIN_AUTOLOAD``).
"""

from __future__ import annotations

from umbel_pytest import pytest_configure
from umbel_pytest.celery_names import (
    celery_app,
    celery_session_app,
    celery_session_worker,
    celery_worker,
    depends_on_current_app,
)
from umbel_pytest.fixtures import (
    umbel_app,
    umbel_session_app,
    umbel_session_worker,
    umbel_worker,
)
from umbel_pytest.values import (
    _umbel_app_values,
    _umbel_session_app_values,
    _umbel_session_worker_values,
    _umbel_worker_values,
    celery_class_tasks,
    celery_config,
    celery_enable_logging,
    celery_includes,
    celery_parameters,
    celery_worker_parameters,
    celery_worker_pool,
    umbel_class_tasks,
    umbel_config,
    umbel_enable_logging,
    umbel_includes,
    umbel_parameters,
    umbel_worker_parameters,
    umbel_worker_pool,
    use_celery_app_trap,
    use_umbel_app_trap,
)

__all__ = [
    "_umbel_app_values",
    "_umbel_session_app_values",
    "_umbel_session_worker_values",
    "_umbel_worker_values",
    "celery_app",
    "celery_class_tasks",
    "celery_config",
    "celery_enable_logging",
    "celery_includes",
    "celery_parameters",
    "celery_session_app",
    "celery_session_worker",
    "celery_worker",
    "celery_worker_parameters",
    "celery_worker_pool",
    "depends_on_current_app",
    "pytest_configure",
    "umbel_app",
    "umbel_class_tasks",
    "umbel_config",
    "umbel_enable_logging",
    "umbel_includes",
    "umbel_parameters",
    "umbel_session_app",
    "umbel_session_worker",
    "umbel_worker",
    "umbel_worker_parameters",
    "umbel_worker_pool",
    "use_celery_app_trap",
    "use_umbel_app_trap",
]
