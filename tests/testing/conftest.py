"""Here `celery.ping` has to be there, which every other test forgets with the shared tasks."""

from __future__ import annotations

import threading
from collections.abc import Callable
from importlib import reload

import pytest

from umbel.contrib.testing import tasks


@pytest.fixture(autouse=True)
def _ping(_no_shared_tasks: None) -> None:
    """Share it again."""
    reload(tasks)


@pytest.fixture
def new_threads() -> Callable[[], list[str]]:
    """What tells the names of umbel's threads that were not there when the test began."""
    before = threading.enumerate()

    def names() -> list[str]:
        found = [one.name for one in threading.enumerate() if one not in before]
        return [name for name in found if name.startswith("umbel-")]

    return names
