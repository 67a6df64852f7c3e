"""django-celery-results: workers store into its tables and its cache, and clients read from there."""

from __future__ import annotations

from typing import Any

import pytest

from tests.witnesses.support import Project

SETTINGS = """
from pathlib import Path

here = Path(__file__).parent
SECRET_KEY = "for tests"
INSTALLED_APPS = ["django.contrib.contenttypes", "django_celery_results"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": here / "django.db"}}
FILES = "django.core.cache.backends.filebased.FileBasedCache"
CACHES = {"default": {"BACKEND": FILES, "LOCATION": here / "cache"}}
USE_TZ = True
ALLOWED_HOSTS = ["testserver"]
ROOT_URLCONF = "django_celery_results.urls"
DJANGO_CELERY_RESULTS_ID_FIRST_URLS = False
"""
TASKS = """
import os

os.environ["DJANGO_SETTINGS_MODULE"] = "project_settings"
import django

django.setup()
app = Celery("tasks", broker=url, backend={backend!r}, result_extended=True, task_track_started=True)


@app.task
def add(x, y):
    return x + y


@app.task
def bad(x):
    return 1 / x


@app.task(bind=True)
def outer(self, x):
    return add.delay(x, 1).id
"""
MIGRATE = """
from tasks import app
from django.core.management import call_command

call_command("migrate", verbosity=0)
"""
CALLS = """
nightly = {"periodic_task_name": "nightly"}
results = [add.delay(1, 2), bad.delay(0), outer.apply_async((5,), headers=nightly)]
values = [repr(result.get(timeout=30, propagate=False)) for result in results]
found = [[value, one.state, bool(one.date_done)] for value, one in zip(values, results)]
inner = results[2].children[0]
found.append([repr(inner.get(timeout=30)), inner.state, inner.id == results[2].get()])
gone = add.delay(3, 4)
gone.get(timeout=30)
gone.forget()
unknown = app.AsyncResult("unknown").state
ids = [result.id for result in results]
print(json.dumps([ids, found, gone.exists(), unknown, groups_of(results)]))
"""
GROUPS = """
from celery.result import GroupResult
from django.test import Client


def groups_of(results):
    group = app.GroupResult("all", results[::2])
    assert GroupResult.restore("all") is None
    group.save()
    found = GroupResult.restore("all")
    assert found == group
    assert found.join(timeout=30)[0] == 3
    asked = Client().get
    paths = [f"/task/done/{results[0].id}/", f"/task/status/{results[1].id}/", "/group/status/all/"]
    told = [asked(path).json() for path in paths]
    GroupResult("gone", results, app=app).save()
    app.GroupResult.restore("gone").delete()
    return told + [app.GroupResult.restore("gone")]
"""
ROWS = """
from django_celery_results.models import GroupResult, TaskResult

fields = ["task_id", "task_name", "task_args", "task_kwargs", "status", "result", "worker"]
fields.append("periodic_task_name")
rows = list(TaskResult.objects.values(*fields))
started = TaskResult.objects.filter(date_started__isnull=False).count()
traced = TaskResult.objects.get(status="FAILURE").traceback
groups = list(GroupResult.objects.values_list("group_id", flat=True))
print(json.dumps([rows, started, traced, groups]))
"""


def made(tmp_path_factory: pytest.TempPathFactory, backend: str) -> tuple[Project, Any]:
    """Run the calls in a project whose results go to a backend; return it with what the client found."""
    directory = tmp_path_factory.mktemp(backend)
    (directory / "project_settings.py").write_text(SETTINGS)
    project = Project(directory, TASKS.format(backend=backend))
    project.python(MIGRATE)
    with project.worker():
        return project, project.client(GROUPS + CALLS)


@pytest.mark.parametrize("backend", ["django-db", "django-cache"])
def test_results_are_written_and_read(
    tmp_path_factory: pytest.TempPathFactory, backend: str
) -> None:
    project, (ids, found, forgotten, unknown, groups) = made(tmp_path_factory, backend)
    assert found[0] == ["3", "SUCCESS", True]
    assert found[1] == ["ZeroDivisionError('division by zero')", "FAILURE", True]
    assert found[2][1:] == ["SUCCESS", True]
    assert found[3] == ["6", "SUCCESS", True]
    assert (forgotten, unknown) == (False, "PENDING")
    _check_views(ids, *groups)
    if backend == "django-db":
        _check_rows(project, ids)


def _check_views(ids: list[str], done: Any, status: Any, group: Any, deleted: Any) -> None:
    """Check what the package's views say of the calls and their group."""
    assert done == {"task": {"id": ids[0], "executed": True}}
    assert status["task"]["status"] == "FAILURE"
    assert status["task"]["exc"] == "builtins.ZeroDivisionError"
    assert "1 / x" in status["task"]["traceback"]
    assert group["group"]["id"] == "all"
    assert [one["status"] for one in group["group"]["results"]] == ["SUCCESS", "SUCCESS"]
    assert group["group"]["results"][0]["result"] == 3
    assert deleted is None


def _check_rows(project: Project, ids: list[str]) -> None:
    """Check what the tables have of the calls."""
    rows, started, traced, groups = project.client(ROWS)
    by_id = {row.pop("task_id"): row for row in rows}
    assert by_id[ids[0]] == {
        "task_name": "tasks.add",
        "task_args": '"(1, 2)"',
        "task_kwargs": '"{}"',
        "status": "SUCCESS",
        "result": "3",
        "worker": by_id[ids[0]]["worker"],
        "periodic_task_name": None,
    }
    assert by_id[ids[0]]["worker"].startswith("celery@")
    assert by_id[ids[2]]["periodic_task_name"] == "nightly"
    assert started == len(by_id) == 4
    assert "1 / x" in traced
    assert groups == ["all"]
