from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.test import utils

from tests.django.support import SETTINGS, make_project, project_app, set_up
from umbel import registry
from umbel.engines.memory.space import forget_space

# Before the tests are imported, since they import models.
SHARED = set_up()


@pytest.fixture(autouse=True)
def _project(_no_shared_tasks: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Be in the project, as far as apps that are made can see."""
    monkeypatch.setattr(registry, "_shared", SHARED)
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", SETTINGS)


@pytest.fixture
def shop(_no_current_app: None, _project: None) -> Iterator[Any]:
    """The app of the article's project, with nothing in its queues."""
    app = project_app()
    changed = dict(app.conf.changed())
    yield app
    for name in app.conf.changed():
        if name not in changed:
            del app.conf[name]
    app.close()
    forget_space("shop")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project, for processes of its own."""
    return make_project(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="module")
def database() -> Iterator[None]:
    """The databases that Django makes for tests."""
    made = utils.setup_databases(verbosity=0, interactive=False)
    yield
    utils.teardown_databases(made, verbosity=0)
