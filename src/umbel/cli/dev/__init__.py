"""``umbel dev``: a worker for development, which starts anew when the code changes.

`loop` is the process that stays; it never imports the app. `worker` is the process that is started
again and again. `watch` looks at the files, twice a second: no package is needed for that, and it sees
changes in containers and on network mounts, where the system tells of none.
"""

from __future__ import annotations

import os
from pathlib import Path

import click

from umbel.cli.completing import queue_names
from umbel.cli.dev.loop import Loop, Spec
from umbel.cli.given import Global
from umbel.cli.groups import examples
from umbel.cli.purge import names

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


@click.command("dev", epilog=examples("umbel -A tasks dev", "umbel -A tasks dev -P solo"))
@click.option(
    "-c", "--concurrency", type=click.IntRange(min=1), default=1, show_default=True,
    help="Child processes.",
)  # fmt: skip
@click.option(
    "-P",
    "--pool",
    type=click.Choice(["prefork", "solo"]),
    help="What runs the tasks. With solo, breakpoint() works in tasks.",
)
@click.option("-Q", "--queues", shell_complete=queue_names, help="Queues, separated by commas.")
@click.option(
    "-l",
    "--loglevel",
    type=click.Choice(LEVELS, case_sensitive=False),
    default="INFO",
    show_default=True,
    help="What to log.",
)
@click.pass_context
def command(
    context: click.Context, concurrency: int, pool: str | None, queues: str | None, loglevel: str
) -> None:
    """Run a worker that starts anew when the code changes.

    It watches the Python files of the working directory, and those that the app imports from
    elsewhere. A mistake in a file is shown, and the next change tries again. Not for production.
    """
    given: Global = context.obj
    if os.name == "nt":
        raise click.ClickException("umbel dev does not work on Windows yet.")
    spec = Spec(
        app=given.named_app(),
        workdir=os.getcwd(),
        settings=given.settings(),
        config=given.config,
        queues=names(queues),
        concurrency=concurrency,
        pool=pool,
        loglevel=loglevel.upper(),
        color=context.color is not False,
    )
    context.exit(Loop(spec, Path.cwd(), click.echo).run())
