"""RedBeat: its scheduler keeps its entries in Redis, and sends what is due."""

from __future__ import annotations

import pytest

from tests.redis_servers import shared_space
from tests.witnesses.support import Project

TASKS = """
app = Celery("tasks", broker="memory://", backend="memory://")
app.conf.beat_scheduler = "redbeat.RedBeatScheduler"
app.conf.redbeat_redis_url = "{redis}"
app.conf.redbeat_key_prefix = "{prefix}"
app.conf.beat_max_loop_interval = 5
app.conf.beat_schedule = {"of settings": {"task": "tasks.note", "schedule": 3600, "args": ("hourly",)}}


@app.task
def note(what):
    return what
"""
TICKS = """
from datetime import timedelta
from types import SimpleNamespace

from celery.schedules import crontab, schedule
from celery.signals import beat_init
from celery.utils.imports import symbol_by_name
from redbeat import RedBeatSchedulerEntry
from umbel.testing import run_pending

scheduler = symbol_by_name(app.conf.beat_scheduler)(app=app)
beat_init.send(sender=SimpleNamespace(scheduler=scheduler))
for name, when in (("daily", schedule(86400)), ("cron", crontab(minute="*"))):
    entry = RedBeatSchedulerEntry(name, "tasks.note", when, args=[name], app=app)
    entry.last_run_at = app.now() - timedelta(2)
    entry.save()


def tick():
    wait = scheduler.tick()
    return [sorted(one.result for one in run_pending(app)), 0 < wait <= 5]


def stored(name):
    return RedBeatSchedulerEntry.from_key(app.redbeat_conf.key_prefix + name, app=app)


found = [tick()]
last = stored("daily").last_run_at
found.append(tick())
stored("daily").reschedule(last_run_at=app.now() - timedelta(2))
found.append(tick())
print(json.dumps([found, (app.now() - last).total_seconds() < 60, repr(stored("cron").schedule)]))
scheduler.close()
"""


def test_what_is_due_is_sent(tmp_path_factory: pytest.TempPathFactory) -> None:
    with shared_space() as (redis, prefix):
        tasks = TASKS.replace("{redis}", redis).replace("{prefix}", prefix)
        project = Project(tmp_path_factory.mktemp("redbeat"), tasks)
        found, just_now, cron = project.client(TICKS)
    first, second, third = found
    assert first == [["cron", "daily"], True]
    assert second[0] in ([], ["cron"])  # a minute may have ended
    assert "daily" in third[0]
    assert just_now
    assert cron == "<crontab: * * * * * (m/h/dM/MY/d)>"
