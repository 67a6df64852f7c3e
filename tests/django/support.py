"""What the tests of Django share: a project in a directory of its own, and Django set up for it, once."""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest

import umbel
from tests.django import article
from umbel import current, registry

SOURCE = Path(umbel.__file__).parents[1]
SETTINGS = "config.settings.local"


def make_project(directory: Path, framework: str = "umbel") -> Path:
    """Write the project, with what the article prints, but for what it imports."""
    shutil.copytree(Path(__file__).with_name("project"), directory, dirs_exist_ok=True)
    (directory / "project_name" / "taskapp").mkdir()
    (directory / "project_name" / "taskapp" / "__init__.py").write_text(
        article.written(article.TASKAPP, framework)
    )
    view = article.written(article.VIEW, framework)
    (directory / "project_name" / "books" / "article.py").write_text(view)
    (directory / "run").mkdir()
    return directory


def environment(project: Path, **more: str) -> dict[str, str]:
    """Return the environment of the project's processes, which says nothing of Django."""
    ours = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    return {
        **ours,
        "SHOP_DATA": str(project),
        "XDG_RUNTIME_DIR": str(project / "run"),
        "PYTHONPATH": str(SOURCE),
        "PYTHONUNBUFFERED": "1",
        "PYTHONWARNINGS": "default",
        **more,
    }


def run(project: Path, *words: str, code: int = 0, **more: Any) -> str:
    """Run a Python program in the project; return all that it said."""
    more.setdefault("cwd", project)
    done: subprocess.CompletedProcess[str] = subprocess.run(
        [sys.executable, *words],
        env=environment(project, **more.pop("variables", {})),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
        **more,
    )
    assert done.returncode == code, done.stdout
    return done.stdout


@cache
def set_up() -> dict[str, registry.SharedTask]:
    """Set Django up in this process; return the tasks that the project shares with all apps."""
    directory = make_project(Path(mkdtemp(prefix="umbel-django-")))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    before = registry._shared
    registry._shared = {}
    with pytest.MonkeyPatch.context() as patch, kept_zone():
        patch.setenv("SHOP_DATA", str(directory))
        patch.setenv("SHOP_BROKER", "memory://shop")
        patch.setenv("DJANGO_SETTINGS_MODULE", SETTINGS)
        sys.path.append(str(directory))
        import django  # noqa: PLC0415 - not before the tests that need it run

        django.setup()
    shared, registry._shared = registry._shared, before
    return shared


@contextlib.contextmanager
def kept_zone() -> Iterator[None]:
    """Keep the time zone of this process, which Django sets to its own."""
    before = os.environ.get("TZ")
    try:
        yield
    finally:
        if before is None:
            os.environ.pop("TZ", None)
        else:
            os.environ["TZ"] = before
        time.tzset()


def project_app() -> Any:
    """Return the app of the article's project in this process."""
    app: Any = sys.modules["project_name.taskapp"].app
    current.set_default_app(app)
    return app
