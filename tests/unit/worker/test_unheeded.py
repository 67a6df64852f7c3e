"""What a worker says of options and settings that have no effect as they are."""

from __future__ import annotations

from typing import Any

import pytest

from umbel import Umbel
from umbel.worker.unheeded import unheeded


def said(app: Umbel, asked: str = "prefork", executor: str = "", **environ: str) -> list[str]:
    return list(unheeded(app, asked, executor or asked, environ))


@pytest.mark.parametrize("executor", ["prefork", "threads", "asyncio", "solo"])
def test_a_worker_that_is_told_nothing_strange_says_nothing(app: Umbel, executor: str) -> None:
    app.conf.update(task_time_limit=10, task_soft_time_limit=9)
    app.task(time_limit=3, soft_time_limit=2)(lambda: None)
    assert said(app, executor, REMAP_SIGTERM="SIGQUIT") == []


@pytest.mark.parametrize(
    ("setting", "heeded", "not_heeded"),
    [
        ("worker_processes", ("threads", "asyncio"), ("prefork", "solo")),
        ("worker_sync_threads", ("asyncio",), ("prefork", "threads", "solo")),
    ],
)
def test_options_of_another_executor_are_of_no_use(
    app: Umbel, setting: str, heeded: tuple[str, ...], not_heeded: tuple[str, ...]
) -> None:
    app.conf[setting] = 3
    assert [said(app, executor) for executor in heeded] == [[] for _ in heeded]
    for executor in not_heeded:
        (text,) = said(app, executor)
        assert f"3 ({setting}) is of no use with -P {executor}" in text


def test_what_is_for_children_is_of_no_use_to_a_process_alone(app: Umbel) -> None:
    names = ("worker_concurrency", "worker_max_tasks_per_child", "worker_max_memory_per_child")
    app.conf.update(dict.fromkeys(names, 4))
    for executor in ("prefork", "threads", "asyncio"):
        assert list(unheeded(app, executor, executor, {}, scales=True)) == []
    texts = list(unheeded(app, "solo", "solo", {}, scales=True))
    assert [sum(f"({name}) is of no use" in text for text in texts) for name in names] == [1, 1, 1]
    assert sum(text.startswith("--autoscale is of no use") for text in texts) == 1
    app.conf.update({**dict.fromkeys(names, None), "worker_concurrency": 1})
    assert said(app, "solo") == []


def test_greenlets_are_threads(app: Umbel) -> None:
    (text,) = said(app, "eventlet", "threads")
    assert text.startswith("There are no greenlets here: -P eventlet runs tasks in threads")


def test_term_is_remapped_to_quit_or_not_at_all(app: Umbel) -> None:
    (text,) = said(app, REMAP_SIGTERM="SIGKILL")
    assert text.startswith("REMAP_SIGTERM=SIGKILL is not heeded")


@pytest.mark.parametrize(
    ("settings", "options"),
    [
        ({"task_soft_time_limit": 10, "task_time_limit": 10}, {}),
        ({"task_time_limit": 3}, {"soft_time_limit": 4}),
        ({"task_soft_time_limit": 300}, {"time_limit": 60}),
    ],
)
def test_a_soft_limit_beyond_the_hard_one_is_told(
    app: Umbel, settings: dict[str, Any], options: dict[str, Any]
) -> None:
    app.conf.update(settings)
    app.task(name="reports.build", **options)(lambda: None)
    (text,) = said(app)
    assert text.startswith("The soft time limit is not below the hard one")
    assert "reports.build" in text
