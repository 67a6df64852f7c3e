from __future__ import annotations

import os
import platform
import re
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pytest

from tests.cli.conftest import Command
from umbel.worker.autoscale import Bounds
from umbel.worker.bootstrap import Source
from umbel.worker.supervisor import Wanted

HOST = platform.node()


@pytest.fixture
def started(umbel: Command) -> Any:
    """Start a worker that does not run; return with what it would."""

    def start(*words: str, code: int = 0) -> tuple[Source, Wanted]:
        with patch("umbel.cli.worker.run_worker", return_value=code) as run:
            ended = umbel("worker", *words)
        assert (ended.code, ended.err) == (code, "")
        source, wanted = run.call_args.args
        return source, wanted

    return start


def test_what_the_command_line_leaves_out_is_the_settings_to_say(started: Any) -> None:
    source, wanted = started()
    assert wanted == Wanted(f"celery@{HOST}", "WARNING")
    assert (source.app, source.settings) == ("tasks", {})


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (("-Q", "a, b,,c"), {"queues": ("a", "b", "c")}),
        (("-X", "a, b"), {"exclude_queues": ("a", "b")}),
        (("-c", "3"), {"concurrency": 3}),
        (("-P", "solo"), {"executor": "solo"}),
        (("-P", "asyncio"), {"executor": "asyncio"}),
        (("-l", "info"), {"loglevel": "INFO"}),
        (("-n", "mails@%h"), {"hostname": f"mails@{HOST}"}),
        (("-n", "mails"), {"hostname": f"mails@{HOST}"}),
        (("-n", "w@x%%y"), {"hostname": "w@x%y"}),
        (("-n", "w@%%h"), {"hostname": "w@%h"}),
        (("-n", "w@%n"), {"hostname": f"w@{HOST.partition('.')[0]}"}),
    ],
)
def test_options(started: Any, words: tuple[str, ...], wanted: dict[str, Any]) -> None:
    assert started(*words)[1] == replace(Wanted(f"celery@{HOST}", "WARNING"), **wanted)


def test_settings(started: Any) -> None:
    source, _ = started(
        *("-c", "3", "--prefetch-multiplier", "1", "-I", "a, b"),
        *("--processes", "2", "--sync-threads", "4"),
    )
    assert source.settings == {
        "worker_concurrency": 3,
        "worker_processes": 2,
        "worker_sync_threads": 4,
        "worker_prefetch_multiplier": 1,
        "include": ["a", "b"],
    }


@pytest.mark.parametrize(
    ("words", "settings"),
    [
        (("--time-limit", "5"), {"task_time_limit": 5}),
        (("--soft-time-limit", "2.5"), {"task_soft_time_limit": 2.5}),
        (("--max-tasks-per-child", "5"), {"worker_max_tasks_per_child": 5}),
        (("--max-memory-per-child", "5000"), {"worker_max_memory_per_child": 5000}),
    ],
)
def test_limits(started: Any, words: tuple[str, ...], settings: dict[str, Any]) -> None:
    assert started(*words)[0].settings == settings


def test_the_exit_code_is_the_workers(started: Any) -> None:
    started(code=1)


def test_a_name_with_a_space_is_refused(umbel: Command) -> None:
    ended = umbel("worker", "-n", "my worker@%h")
    assert ended.code == 2
    assert "contains white space" in ended.err


def test_what_counts_before_the_worker_starts(started: Any) -> None:
    assert started("-X", "a,b", "--purge")[1] == replace(
        Wanted(f"celery@{HOST}", "WARNING"), exclude_queues=("a", "b"), purge=True
    )
    assert started("--disable-prefetch")[0].settings == {"worker_prefetch_multiplier": 1}
    assert started("--", "worker.lease_ttl=30", "result_expires=(int)60")[0].settings == {
        "worker_lease_ttl": "30",
        "result_expires": 60,
    }


def test_auto_is_as_many_as_there_are_processors(started: Any) -> None:
    assert started("-c", "auto")[1].concurrency == len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    "words",
    [
        ("-P", "processes"),
        ("-O", "fair"),
        ("-O", "default"),
        ("--pool-start-method", "fork"),
        ("--without-gossip", "--without-mingle", "--without-heartbeat"),
    ],
)
def test_options_whose_promise_is_kept_anyway_are_silent(
    started: Any, words: tuple[str, ...]
) -> None:
    started(*words)  # which asserts that nothing is said


WARNED = [
    ("-E",),
    ("--events",),
    ("--task-events",),
    ("-S", "x"),
    ("--statedb", "x"),
    ("--executable", "x"),
    ("--heartbeat-interval", "2"),
    ("--pool-start-method", "spawn"),
]


@pytest.mark.parametrize("words", WARNED, ids=" ".join)
def test_options_without_effect_are_warned_of_once(umbel: Command, words: tuple[str, ...]) -> None:
    with patch("umbel.cli.worker.run_worker", return_value=0) as run:
        ended = umbel("worker", *words)
    assert (ended.code, ended.out, run.call_count) == (0, "", 1)
    (line,) = ended.err.splitlines()
    assert re.fullmatch(r"Warning: --[a-z-]+ has no effect( yet)?: .*[^.]\.", line)


def test_who_the_worker_becomes_is_a_setting_too(started: Any) -> None:
    """So that no process of it becomes somebody else whom the app's settings name."""
    source = started("--uid", str(os.getuid()), "--umask", "022")[0]
    assert source.settings == {
        "worker_umask": "022",
        "worker_uid": str(os.getuid()),
        "worker_gid": None,
    }


@pytest.mark.parametrize("words", [("-B",), ("--beat", "-s", "x", "--scheduler", "y")])
def test_a_beat_runs_beside_it_where_one_is_wanted(started: Any, words: tuple[str, ...]) -> None:
    assert callable(started(*words)[1].beside)
    assert started(*words[1:])[1].beside is None


@pytest.mark.parametrize(
    ("words", "fewest", "most"),
    [
        (("--autoscale=10,3",), 3, 10),
        (("--autoscale=3,10",), 3, 10),
        (("--autoscale=10,3", "-c", "4"), 3, 10),
        (("--autoscale=10",), 1, 10),
        (("--autoscale=10,0",), 1, 10),
    ],
)
def test_autoscale_is_as_many_tasks_at_a_time_as_are_needed(
    started: Any, words: tuple[str, ...], fewest: int, most: int
) -> None:
    assert started("-c", "4")[1].scale is None
    wanted = started(*words)[1]
    assert wanted.scale == Bounds(most, fewest)


def test_autoscale_is_numbers(umbel: Command) -> None:
    assert "'many' is no pair of numbers" in umbel("worker", "--autoscale", "many").err


#: `celery worker --help` of Celery 5.7.0.
CELERYS = """
-n --hostname -D --detach -S --statedb -l --loglevel -O --optimization --prefetch-multiplier
--disable-prefetch -c --concurrency -P --pool -E --task-events --events --time-limit --soft-time-limit
--max-tasks-per-child --pool-start-method --max-memory-per-child --purge --discard -Q --queues -X
--exclude-queues -I --include --without-gossip --without-mingle --without-heartbeat --heartbeat-interval
--autoscale -B --beat -s --schedule-filename --schedule --scheduler -f --logfile --pidfile --uid --gid
--umask --executable --help
"""


def test_all_of_celerys_options_are_known(umbel: Command) -> None:
    ours = umbel("worker", "--help").out
    known = set(re.findall(r"(?<![\w-])--?[A-Za-z][a-z-]*", ours))
    assert set(CELERYS.split()) <= known


# What the supervisor makes of it


def test_nothing_left_to_consume_is_an_error(umbel: Command) -> None:
    ended = umbel("worker", "-Q", "a,b", "-X", "a,b")
    assert ended.code == 2
    assert "No queue is left to consume from: -X a,b excludes all there are." in ended.err
