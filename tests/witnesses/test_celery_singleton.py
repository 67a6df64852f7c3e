"""celery-singleton: a call that waits or runs already is not sent again; its locks are keys of Redis."""

from __future__ import annotations

import pytest

from tests.redis_servers import shared_space
from tests.witnesses.support import Project

TASKS = """
import threading

from celery_singleton import DuplicateTaskError, Singleton

app = Celery("tasks", broker=url, backend=url)
app.conf.singleton_backend_url = "{redis}"
app.conf.singleton_key_prefix = "{prefix}"
app.conf.singleton_lock_expiry = 60


@app.task(base=Singleton)
def single(x):
    while not (here / "gate").exists():
        threading.Event().wait(0.005)
    return x


@app.task(base=Singleton, bind=True)
def again(self, x):
    if not self.request.retries:
        raise self.retry(countdown=0)
    return x


@app.task(base=Singleton, unique_on="user", raise_on_duplicate=True)
def of(user, what):
    return what
"""
CALLS = """
first, second, other = single.delay(1), single.delay(1), single.delay(2)
retried = again.delay(3)
of.delay(1, "a")
try:
    of.delay(1, "b")
    refused = False
except DuplicateTaskError:
    refused = True
of.delay(2, "b")
(here / "gate").touch()
results = [one.get(timeout=30) for one in (first, second, other, retried)]
for _ in range(2000):
    once_more = single.delay(1)
    if once_more.id != first.id:
        break
    threading.Event().wait(0.005)  # the lock goes when the task has ended
print(json.dumps([first.id == second.id, refused, results, once_more.get(timeout=30)]))
"""


def test_a_call_that_runs_already_is_not_sent_again(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with shared_space() as (redis, prefix):
        tasks = TASKS.replace("{redis}", redis).replace("{prefix}", prefix)
        project = Project(tmp_path_factory.mktemp("singleton"), tasks)
        with project.worker():
            same, refused, results, once_more = project.client(CALLS)
    assert same
    assert refused
    assert results == [1, 1, 2, 3]
    assert once_more == 1
