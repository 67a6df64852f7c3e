"""django-celery-beat: its scheduler reads the tables, sends what is due, and hears of changes."""

from __future__ import annotations

import pytest

from tests.witnesses.support import Project

SETTINGS = """
from pathlib import Path

SECRET_KEY = "for tests"
INSTALLED_APPS = ["django.contrib.contenttypes", "django_celery_beat", "django_celery_results"]
NAME = Path(__file__).parent / "django.db"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": NAME}}
USE_TZ = True
TIME_ZONE = "Europe/Berlin"
CELERY_BEAT_SCHEDULER = "django_celery_beat.schedulers:DatabaseScheduler"
CELERY_BEAT_SCHEDULE = {"of settings": {"task": "tasks.note", "schedule": 3600, "args": ("yearly",)}}
CELERY_RESULT_BACKEND = "django-db"
CELERY_RESULT_EXTENDED = True
"""
TASKS = """
import os

os.environ["DJANGO_SETTINGS_MODULE"] = "project_settings"
import django

django.setup()
app = Celery("tasks", broker="memory://")
app.config_from_object("django.conf:settings", namespace="CELERY")


@app.task
def note(what):
    return what
"""
TICKS = """
from datetime import timedelta

from celery.beat import Service
from celery.utils.imports import symbol_by_name
from django.core.management import call_command
from django.utils.timezone import now
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask
from django_celery_results.models import TaskResult
from umbel.testing import run_pending

call_command("migrate", verbosity=0)
daily = IntervalSchedule.objects.create(every=1, period=IntervalSchedule.DAYS)
each_minute = CrontabSchedule.objects.create(timezone="Europe/Berlin")
for name, schedule in (("daily", {"interval": daily}), ("cron", {"crontab": each_minute})):
    PeriodicTask.objects.create(
        name=name, task="tasks.note", args=json.dumps([name]), last_run_at=now() - timedelta(2), **schedule
    )
scheduler = symbol_by_name(app.conf.beat_scheduler)(app=app)


def ticks():
    waits = [scheduler.tick() for _ in range(6)]
    scheduler.sync()
    ran = [one.result for one in run_pending(app)]
    return [ran, min(waits) == 0.0, 0 < waits[-1] <= 5]


found = [ticks(), ticks()]
task = PeriodicTask.objects.get(name="daily")
task.last_run_at, task.args = now() - timedelta(2), '["again"]'
task.save()
found.append(ticks())
task.last_run_at, task.args = now() - timedelta(2), '["by the service"]'
task.save()
services = [Service(app, scheduler_cls=name) for name in ("django", app.conf.beat_scheduler)]
for _ in range(6):
    waits = [service.step() for service in services]
kinds = {type(service._scheduler).__name__ for service in services}
services[0].sync()
found.append([[one.result for one in run_pending(app)], sorted(kinds), max(waits) <= 5])
scheduler = services[0].scheduler
TaskResult.objects.create(task_id="old")
TaskResult.objects.update(date_done=now() - timedelta(9))
task = PeriodicTask.objects.get(name="celery.backend_cleanup")
task.last_run_at, task.crontab, task.interval = now() - timedelta(2), None, daily
task.save()
found.append(ticks())
counts = dict(PeriodicTask.objects.values_list("name", "total_run_count"))
stored = sorted(TaskResult.objects.values_list("periodic_task_name", flat=True), key=str)
print(json.dumps([found, counts, stored]))
"""


def test_what_is_due_is_sent(tmp_path_factory: pytest.TempPathFactory) -> None:
    directory = tmp_path_factory.mktemp("beat")
    (directory / "project_settings.py").write_text(SETTINGS)
    found, counts, stored = Project(directory, TASKS).client(TICKS)
    first, second, third, served, last = found
    assert sorted(first[0]) == ["cron", "daily"]
    assert first[1:] == [True, True]
    assert second == [[], False, True]
    assert third[0] == ["again"]
    # One of two services leads; the other has not even made its scheduler.
    assert "by the service" in served[0]
    assert served[1:] == [["DatabaseScheduler", "NoneType"], True]
    assert counts.pop("cron") in (1, 2)  # another minute may begin
    assert counts == {"daily": 2, "of settings": 0, "celery.backend_cleanup": 1}
    # That task deletes what has expired, and then its own result is stored.
    assert last[0] == [None]
    assert stored == ["celery.backend_cleanup"]
