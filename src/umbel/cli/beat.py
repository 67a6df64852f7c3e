"""``umbel beat``: send periodic tasks."""

from __future__ import annotations

from functools import partial
from typing import Any

import click

from umbel.beat.program import Wanted, run_beat
from umbel.cli.given import Global
from umbel.cli.groups import examples
from umbel.cli.worker import LEVELS
from umbel.cli.worker_options import standing_options
from umbel.nodenames import host_format
from umbel.worker.daemon import Standing, run_as


@click.command("beat", epilog=examples("umbel -A tasks beat -l INFO"))
@click.option(
    "-s",
    "--schedule",
    metavar="PATH",
    help="Celery's file of last runs, to take them over once. Default: beat_schedule_filename.",
)
@click.option(
    "-S",
    "--scheduler",
    metavar="CLASS",
    help="Class of the scheduler, or a package's name for it. Default: beat_scheduler.",
)
@click.option(
    "--max-interval",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="Most seconds between two looks at the schedule.",
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
    help="File to log to. Default: beat_logfile, or standard error.",
)
@click.option("-n", "--hostname", default="beat@%h", help="Name in lines of JSON; %h is the host.")
@click.option(
    "--enable-remote-control/--no-enable-remote-control",
    "remote_control",
    default=None,
    help="Without effect yet: beat takes no remote commands.",
)
@click.option("--executable", metavar="PATH", help="Here without effect: it is this Python.")
@standing_options
@click.pass_obj
def command(
    given: Global,
    /,
    schedule: str | None,
    scheduler: str | None,
    max_interval: float | None,
    loglevel: str,
    logfile: str | None,
    hostname: str,
    remote_control: bool | None,
    executable: str | None,
    **standing: Any,
) -> int:
    """Send periodic tasks when they are due.

    Any number of beats may run, also within workers (umbel worker -B): one of them sends, and another takes
    over within five seconds when it dies. TERM or Ctrl+C ends it.
    """
    given.named_app()
    if remote_control:
        text = "--enable-remote-control has no effect yet: beat takes no remote commands"
        click.echo(f"Warning: {text}.", err=True)
    stands = Standing(**standing)
    wanted = Wanted(
        loglevel=loglevel.upper(),
        logfile=logfile,
        schedule_filename=schedule,
        scheduler=scheduler,
        max_interval=max_interval,
        hostname=host_format(hostname),
        quiet=given.quiet,
        standing=stands,
    )
    run = partial(run_beat, given.load, wanted)
    return run_as(stands, host_format(hostname), logfile, run)
