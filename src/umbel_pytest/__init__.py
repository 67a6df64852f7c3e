"""The plugin that umbel brings to pytest, by the entry point ``umbel``.

pytest imports it in each run, wherever umbel is installed. So it is no part of the package umbel, whose
import takes time, and imports nothing of it before a fixture is asked for.

The fixtures are in ``fixtures``, and what is said of apps and workers in ``values``. Apps and workers of
Celery's names are in ``celery_names``, which stays away where Celery's own plugin, or pytest-celery, has been
loaded: these names are theirs then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

MARKERS = (
    "celery(**settings): settings of the app that the fixture celery_app gives to this test",
    "umbel(**settings): settings of the app that the fixture umbel_app gives to this test",
)


def pytest_configure(config: pytest.Config) -> None:
    """Make the markers and the fixtures known."""
    known = config.getini("markers")
    for marker in MARKERS:
        if marker not in known:
            config.addinivalue_line("markers", marker)
    manager = config.pluginmanager
    if not any(_is_celerys(plugin) for plugin in manager.get_plugins()):
        manager.import_plugin("umbel_pytest.celery_names")
    for name in ("values", "fixtures"):
        manager.import_plugin(f"umbel_pytest.{name}")


def _is_celerys(plugin: object) -> bool:
    name = getattr(plugin, "__name__", "")
    return name == "celery.contrib.pytest" or name.partition(".")[0] == "pytest_celery"
