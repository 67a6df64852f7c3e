"""Every other test forgets shared tasks; here `celery.ping` has to be there."""

from __future__ import annotations

from importlib import reload

import pytest

from umbel.contrib.testing import tasks


@pytest.fixture(autouse=True)
def _ping(_no_shared_tasks: None) -> None:
    """Share it again."""
    reload(tasks)
