"""Schedulers of other packages under ``umbel beat`` itself: two processes, of which one sends at a time."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.redis_servers import shared_space
from tests.witnesses import test_django_celery_beat as database
from tests.witnesses import test_redbeat as redbeat
from tests.witnesses.support import LONG, Project
from umbel.testing.conformance.support import until

pytestmark = pytest.mark.slow

#: Adds an entry that is due each second, and says how many calls of it wait and when it ran last.
OF_DATABASE = """
from django.core.management import call_command
from django_celery_beat.models import IntervalSchedule, PeriodicTask

call_command("migrate", verbosity=0)
second = IntervalSchedule.objects.create(every=1, period=IntervalSchedule.SECONDS)
PeriodicTask.objects.create(name="each second", task="tasks.note", args='["database"]', interval=second)
print("null")
"""
OF_REDBEAT = """
from celery.schedules import schedule
from redbeat import RedBeatSchedulerEntry

RedBeatSchedulerEntry("each second", "tasks.note", schedule(1), args=["redbeat"], app=app).save()
print("null")
"""
WAITING = """
found = [one.message for one in app.queues.peek("celery", 1000)]
print(json.dumps([[json.loads(one.body)[0], one.headers["origin"]] for one in found]))
"""


@contextmanager
def beats(project: Project) -> Iterator[list[subprocess.Popen[str]]]:
    """Run two beats, and end them."""
    started = [project.start("-m", "umbel", "-A", "tasks", "beat", "-l", "INFO") for _ in range(2)]
    try:
        yield started
    finally:
        for one in started:
            if one.poll() is None:
                one.kill()
            one.wait()
            if one.stdout is not None:
                one.stdout.close()


def who_sends(project: Project, fewest: int) -> list[str]:
    """Return the origin of each call of the entry that waits, once there are so many."""
    found: list[str] = []

    def enough() -> bool:
        waiting = project.client(WAITING)
        found[:] = [origin for args, origin in waiting if args in (["database"], ["redbeat"])]
        return len(found) >= fewest

    until(enough, LONG)
    return found


def play(project: Project) -> None:
    """Let one beat send, kill it, and let the other one take over."""
    with beats(project) as (one, two):
        first = who_sends(project, 3)
        assert len(set(first)) == 1
        leader = one if f"gen{one.pid}@" in first[0] else two
        leader.send_signal(signal.SIGKILL)
        later = who_sends(project, len(first) + 3)
        assert len(set(later)) == 2
        other = two if leader is one else one
        other.send_signal(signal.SIGTERM)
        text, _ = other.communicate(timeout=LONG)
        assert other.returncode == 0, text
        assert "ERROR" not in text


def test_the_database_scheduler(tmp_path_factory: pytest.TempPathFactory) -> None:
    directory = tmp_path_factory.mktemp("database")
    (directory / "project_settings.py").write_text(database.SETTINGS)
    tasks = database.TASKS.replace('broker="memory://"', "broker=url")
    project = Project(directory, tasks)
    project.client(OF_DATABASE)
    play(project)


def test_redbeat(tmp_path_factory: pytest.TempPathFactory) -> None:
    with shared_space() as (redis, prefix):
        tasks = redbeat.TASKS.replace("{redis}", redis).replace("{prefix}", prefix)
        tasks = tasks.replace('broker="memory://", backend="memory://"', "broker=url")
        # Its own lock would keep the other one waiting for five of its intervals.
        tasks = tasks.replace("beat_max", "redbeat_lock_key = None\napp.conf.beat_max")
        project = Project(tmp_path_factory.mktemp("redbeat"), tasks)
        project.client(OF_REDBEAT)
        play(project)
