"""``umbel worker``: run tasks."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from functools import partial

import click

from umbel.cli.base import Global
from umbel.exceptions import ImproperlyConfigured
from umbel.worker.bootstrap import Source
from umbel.worker.supervisor import Wanted, run_worker

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


@click.command("worker")
@click.option("-n", "--hostname", help="Name of the node, for example mails@%h (%h is the host).")
@click.option("-Q", "--queues", help="Queues to consume from, separated by commas.")
@click.option(
    "-c", "--concurrency", type=click.IntRange(min=1), help="Child processes. Default: one a CPU."
)
@click.option(
    "-P",
    "--pool",
    type=click.Choice(["prefork", "solo"]),
    help="What runs the tasks: child processes (prefork, the default) or this process (solo).",
)
@click.option(
    "-l",
    "--loglevel",
    type=click.Choice(LEVELS, case_sensitive=False),
    default="WARNING",
    show_default=True,
    help="What to log.",
)
@click.option("-I", "--include", help="More modules to import, separated by commas.")
@click.option(
    "--prefetch-multiplier",
    type=click.IntRange(min=0),
    help="Most messages a child holds. 0, the default: what it can run in some 30 ms.",
)
@click.pass_context
def command(
    context: click.Context,
    hostname: str | None,
    queues: str | None,
    concurrency: int | None,
    pool: str | None,
    loglevel: str,
    include: str | None,
    prefetch_multiplier: int | None,
) -> Callable[[], int]:
    """Start a worker: it takes messages from queues and runs their tasks.

    TERM or one Ctrl+C lets running tasks end first; a second Ctrl+C, or QUIT, does not, and what
    was running is run again by another worker.
    """
    # It is run when the command line is done with: tasks shall not find its context.
    given: Global = context.obj
    settings = given.settings()
    if concurrency is not None:
        settings["worker_concurrency"] = concurrency
    if include is not None:
        settings["include"] = [name.strip() for name in include.split(",") if name.strip()]
    if prefetch_multiplier is not None:
        settings["worker_prefetch_multiplier"] = prefetch_multiplier
    wanted = Wanted(
        hostname=_node_name(hostname),
        loglevel=loglevel.upper(),
        queues=tuple(name.strip() for name in (queues or "").split(",") if name.strip()),
        concurrency=concurrency,
        executor=pool,
    )
    return partial(run_worker, Source(given.named_app(), os.getcwd(), settings), wanted)


def _node_name(given: str | None) -> str:
    """Return the node's name, with Celery's abbreviations.

    %h host with domain, %n name, %d domain.
    """
    host = platform.node()
    name, _, domain = host.partition(".")
    text = given or "celery@%h"
    for code, value in (("%h", host), ("%n", name), ("%d", domain), ("%%", "%")):
        text = text.replace(code, value)
    if "@" not in text:
        text = f"{text}@{host}"
    if any(character.isspace() for character in text):
        raise ImproperlyConfigured(f"The node name {text!r} contains white space.")
    return text
