"""``umbel worker``: run tasks."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import click

from umbel.app import Umbel
from umbel.beat.service import beside
from umbel.cli.completing import queue_names
from umbel.cli.given import Global
from umbel.cli.groups import examples
from umbel.cli.purge import names
from umbel.cli.user_options import own_values, preload_values, travelling
from umbel.cli.worker_options import (
    WorkerCommand,
    beat_options,
    later_options,
    standing_options,
    warn_of,
)
from umbel.cli.worker_values import POOLS, bounds, concurrency, node_name
from umbel.settings.sources import from_words
from umbel.worker.bootstrap import Source
from umbel.worker.daemon import Standing, run_as
from umbel.worker.supervisor import Wanted, run_worker

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL", "FATAL")


@click.command(
    "worker",
    cls=WorkerCommand,
    epilog=examples(
        "umbel -A tasks worker -l INFO",
        "umbel -A tasks worker -c 4 -Q mails,reports -n mails@%h",
        "umbel -A tasks worker -- worker_lease_ttl=30",
        codes="Exit codes: 0 warm shutdown, 1 it failed or was interrupted, 2 wrong words or settings.",
    ),
)
@click.option("-n", "--hostname", help="Name of the node, for example mails@%h (%h is the host).")
@click.option(
    "-Q",
    "--queues",
    shell_complete=queue_names,
    help="Queues to consume from, separated by commas.",
)
@click.option("-X", "--exclude-queues", help="Queues not to consume from, separated by commas.")
@click.option(
    "-c",
    "--concurrency",
    metavar="N",
    help="Tasks at a time, or auto. Default: one a CPU; 100 for asyncio.",
)
@click.option(
    "--processes",
    type=click.IntRange(min=1),
    help="Child processes of threads and asyncio, each of which runs -c tasks at a time. Default: 1.",
)
@click.option(
    "--sync-threads",
    type=click.IntRange(min=1),
    help="Threads in which asyncio runs tasks that are not async. Default: 8.",
)
@click.option(
    "--autoscale",
    metavar="MAX,MIN",
    help="Most and fewest tasks at a time: as many child processes as are needed. It goes before -c, which"
    " with threads and asyncio is how many each of them runs.",
)
@click.option(
    "-P",
    "--pool",
    type=click.Choice(POOLS),
    metavar="[prefork|threads|asyncio|solo]",
    help="What runs the tasks: child processes (prefork, the default), threads, an event loop (asyncio) or"
    " this process (solo).",
)
@click.option(
    "-l",
    "--loglevel",
    type=click.Choice(LEVELS, case_sensitive=False),
    metavar="LEVEL",
    default="WARNING",
    show_default=True,
    help="What to log: DEBUG, INFO, WARNING, ERROR, CRITICAL or FATAL.",
)
@click.option(
    "-f",
    "--logfile",
    metavar="PATH",
    help="File to log to; %n is the node's name, %h the host, %i a child's number. Default: standard error.",
)
@click.option(
    "--shutdown-timeout",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="How long running tasks may go on after TERM; then they go back. Default: until they end.",
)
@click.option(
    "--health-file",
    metavar="PATH",
    help="File that says how the worker is, for umbel-health; %n is the node's name.",
)
@click.option(
    "--health-port",
    type=click.IntRange(0, 65535),
    metavar="PORT",
    help="Port for the probes /livez and /readyz by HTTP.",
)
@click.option(
    "--log-format",
    type=click.Choice(("text", "json")),
    help="How log lines look: text, or JSON with a task's facts as fields.",
)
@click.option("-I", "--include", help="More modules to import, separated by commas.")
@click.option("--purge", "--discard", is_flag=True, help="First delete what waits in its queues.")
@click.option(
    "--prefetch-multiplier",
    type=click.IntRange(min=0),
    help="Most messages a child holds. 0, the default: what it can run in some 30 ms.",
)
@click.option("--disable-prefetch", is_flag=True, help="As --prefetch-multiplier 1.")
@click.option(
    "--time-limit",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="Kill a task, with its child process, that runs longer.",
)
@click.option(
    "--soft-time-limit",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="Raise SoftTimeLimitExceeded in a task that runs longer.",
)
@click.option(
    "--max-tasks-per-child",
    type=click.IntRange(min=0),
    metavar="N",
    help="Replace a child after so many tasks.",
)
@click.option(
    "--max-memory-per-child",
    type=click.IntRange(min=0),
    metavar="KIB",
    help="Replace a child that has taken more memory, after its running task.",
)
@beat_options
@standing_options
@later_options
@click.argument("words", nargs=-1, metavar="[-- SETTING=VALUE ...]")
@click.pass_context
def command(
    context: click.Context,
    /,
    hostname: str | None,
    queues: str | None,
    exclude_queues: str | None,
    pool: str | None,
    loglevel: str,
    purge: bool,
    words: tuple[str, ...],
    **more: Any,
) -> Callable[[], int]:
    """Start a worker.

    It takes messages from queues and runs their tasks. TERM or one Ctrl+C lets running tasks end first;
    a second Ctrl+C, or QUIT, does not, and what was running is run again by another worker.
    All of Celery's options are accepted. One that does not work yet says so.
    """
    # It is run when the command line is done with: tasks shall not find its context.
    given: Global = context.obj
    warn_of(more)
    more["concurrency"] = concurrency(more["concurrency"])
    wanted = Wanted(
        hostname=node_name(hostname),
        loglevel=loglevel.upper(),
        logfile=more["logfile"],
        queues=tuple(names(queues)),
        exclude_queues=tuple(names(exclude_queues)),
        concurrency=more["concurrency"],
        scale=bounds(more["autoscale"]),
        executor=pool,
        purge=purge,
        quiet=given.quiet,
        pidfile=more["pidfile"],
        beside=_beside(**more),
    )
    settings = given.settings() | from_words(words) | _settings(**more)
    preload = preload_values()
    source = Source(
        given.named_app(),
        os.getcwd(),
        settings,
        given.config,
        wanted.hostname,
        options=travelling(own_values()),
        preload=None if preload is None else travelling(preload),
    )
    run = partial(run_worker, source, wanted, begun_in=given.begun_in)
    return partial(run_as, _standing(**more), wanted.hostname, wanted.logfile, run)


def _beside(
    *, beat: bool, schedule_filename: str | None, scheduler: str | None, **_: Any
) -> Callable[[Umbel], AbstractContextManager[None]] | None:
    """Return what runs a beat beside the node, if one is wanted."""
    if not beat:
        return None
    return lambda app: beside(
        app,
        schedule_filename=schedule_filename,
        scheduler_cls=scheduler or app.conf.snapshot.beat_scheduler,
    )


def _standing(
    *,
    detach: bool,
    uid: str | None,
    gid: str | None,
    umask: str | None,
    pidfile: str | None,
    **_: Any,
) -> Standing:
    return Standing(detach, uid, gid, umask, pidfile)


def _settings(
    *,
    concurrency: int | None,
    include: str | None,
    prefetch_multiplier: int | None,
    disable_prefetch: bool,
    time_limit: float | None,
    soft_time_limit: float | None,
    max_tasks_per_child: int | None,
    max_memory_per_child: int | None,
    shutdown_timeout: float | None,
    health_file: str | None,
    health_port: int | None,
    log_format: str | None,
    processes: int | None,
    sync_threads: int | None,
    uid: str | None,
    gid: str | None,
    umask: str | None,
    **_: Any,
) -> dict[str, Any]:
    multiplier = 1 if disable_prefetch else prefetch_multiplier
    found = {
        "worker_concurrency": concurrency,
        "include": None if include is None else names(include),
        "worker_prefetch_multiplier": multiplier,
        "task_time_limit": time_limit,
        "task_soft_time_limit": soft_time_limit,
        "worker_max_tasks_per_child": max_tasks_per_child,
        "worker_max_memory_per_child": max_memory_per_child,
        "worker_shutdown_timeout": shutdown_timeout,
        "worker_health_file": health_file,
        "worker_health_port": health_port,
        "worker_log_json": None if log_format is None else log_format == "json",
        "worker_processes": processes,
        "worker_sync_threads": sync_threads,
        "worker_umask": umask,
    }
    found = {name: value for name, value in found.items() if value is not None}
    # Who is named here has no group, or is of no user, that settings name.
    return found if uid is None and gid is None else {**found, "worker_uid": uid, "worker_gid": gid}
