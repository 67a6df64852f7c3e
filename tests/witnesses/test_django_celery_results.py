"""django-celery-results: workers store into its tables and its cache, and clients read from there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests import postgres_servers
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


@app.task
def total(numbers):
    return sum(numbers)
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
CHORDS = """
from celery import chain, chord

done = chord([add.s(n, n) for n in range(20)], total.s()).delay()
nested = chord([chain(add.s(1, 1), add.s(2)), add.s(3, 3)], total.s()).delay()
failed = chord([add.s(1, 1), bad.s(0)], total.s()).delay()
values = [one.get(timeout=30) for one in (done, nested)]
error = app.AsyncResult(failed.id)
print(json.dumps([values, type(error.get(timeout=30, propagate=False)).__name__, error.state]))
"""
COUNTERS = """
from django_celery_results.models import ChordCounter

print(json.dumps(ChordCounter.objects.count()))
"""
ROWS = """
from django_celery_results.models import GroupResult, TaskResult

fields = ["task_id", "task_name", "task_args", "task_kwargs", "status", "result", "worker"]
fields.append("periodic_task_name")
rows = list(TaskResult.objects.values(*fields))
started = TaskResult.objects.filter(date_started__isnull=False).count()
traced = TaskResult.objects.filter(task_name="tasks.bad").first().traceback
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
        chords = project.client(CHORDS)
        assert chords == [[380, 10], "ChordError", "FAILURE"]
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
    called = [row["task_name"] for row in by_id.values()]
    assert started == len(by_id) - 1  # all but the body of the chord that failed
    assert (called.count("tasks.total"), called.count("tasks.add"), len(by_id)) == (2, 26, 32)
    assert project.client(COUNTERS) == 0
    assert "1 / x" in traced
    assert groups == ["all"]


POSTGRES = """
DATABASES["default"] = {{
    "ENGINE": "django.db.backends.postgresql",
    "HOST": "127.0.0.1",
    "USER": "postgres",
    "NAME": "test",
    "OPTIONS": {{"options": "-c search_path={schema}"}},
}}
"""
DIES = """

import os, signal
from django_celery_results.backends.database import DatabaseBackend

count = DatabaseBackend.on_chord_part_return


def dies(*args, **kwargs):
    def once(name):
        if not (here / name).exists():
            (here / name).touch()
            os.kill(os.getpid(), signal.SIGKILL)

    once("before")
    count(*args, **kwargs)
    once("after")


DatabaseBackend.on_chord_part_return = dies
"""
CHORD = """
from celery import chord

print(json.dumps(chord([add.s(n, n) for n in range(20)], total.s()).delay().get(timeout=30)))
"""


@pytest.mark.engine
def test_chords_survive_workers_that_die_while_they_count(tmp_path: Path) -> None:
    """In a database that stores and counts in one step."""
    with postgres_servers.shared_space() as (_, schema):
        with psycopg.connect(postgres_servers.SHARED, autocommit=True) as connection:
            connection.execute(f'CREATE SCHEMA "{schema}"')
        settings = SETTINGS + POSTGRES.format(schema=schema)
        (tmp_path / "project_settings.py").write_text(settings)
        project = Project(tmp_path, TASKS.format(backend="django-db") + DIES)
        project.python(MIGRATE)
        with project.worker():
            assert project.client(CHORD) == 380
            assert project.client(COUNTERS) == 0
        assert {path.name for path in tmp_path.iterdir()} > {"before", "after"}
