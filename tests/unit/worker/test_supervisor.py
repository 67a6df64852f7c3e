from __future__ import annotations

from typing import Any

import pytest

from umbel import Queue, Umbel
from umbel.exceptions import ImproperlyConfigured
from umbel.worker.supervisor import Wanted, consumed


def names(app: Umbel, **asked: Any) -> tuple[str, ...]:
    return consumed(app, Wanted("w1@host", "INFO", **asked))


def test_a_worker_consumes_the_default_queue_if_none_is_declared(app: Umbel) -> None:
    assert names(app) == ("celery",)
    app.conf.task_default_queue = "main"
    assert names(app) == ("main",)


def test_else_it_consumes_those_that_are(app: Umbel) -> None:
    app.conf.task_queues = [Queue("a"), Queue("b")]
    assert names(app) == ("a", "b")
    assert names(app, exclude_queues=("a",)) == ("b",)


def test_it_consumes_those_that_it_is_told(app: Umbel) -> None:
    app.conf.task_queues = [Queue("a"), Queue("b", alias="bee")]
    assert names(app, queues=("bee", "new")) == ("b", "new")
    assert names(app, queues=("a", "b"), exclude_queues=("b",)) == ("a",)


def test_the_app_may_have_selected_some(app: Umbel) -> None:
    app.conf.task_queues = [Queue("a"), Queue("b")]
    app.select_queues("b")
    assert names(app) == ("b",)


def test_a_worker_may_have_a_queue_of_its_own(app: Umbel) -> None:
    app.conf.worker_direct = True
    assert names(app) == ("celery", "w1@host.dq2")
    assert names(app, queues=("a",)) == ("a", "w1@host.dq2")


def test_a_queue_that_may_not_be_added_is_refused(app: Umbel) -> None:
    app.conf.update(task_queues=[Queue("a")], task_create_missing_queues=False)
    with pytest.raises(ImproperlyConfigured, match=r"-Q a,b: Queue 'b' is missing .*has: a\."):
        names(app, queues=("a", "b"))


def test_a_worker_without_queues_is_refused(app: Umbel) -> None:
    with pytest.raises(ImproperlyConfigured, match="-X celery excludes all there are"):
        names(app, exclude_queues=("celery",))
