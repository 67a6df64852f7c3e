"""The options of ``umbel worker`` that are Celery's: those that do not work yet, and what that means.

An option of Celery's is never unknown here. One whose promise is kept anyway is silent; one whose
absence a worker can live with is a warning; one without which the worker would do something else than
its owner believes is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any

import click

Command = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Later:
    """An option that does not work yet. `why` says what is missing.

    With `fatal` the worker does not start. `kept` is the value, or True for any, whose promise is kept
    anyway, without a word.
    """

    names: tuple[str, ...]
    help: str
    why: str = ""
    type: Any = str
    fatal: bool = False
    kept: object = None
    metavar: str | None = None

    @property
    def parameter(self) -> str:
        """The name under which click hands it over."""
        return max(self.names, key=len).lstrip("-").replace("-", "_")

    def option(self) -> Callable[[Command], Command]:
        """Return click's declaration."""
        if self.type is bool:
            return click.option(*self.names, self.parameter, is_flag=True, help=self.help)
        return click.option(
            *self.names, self.parameter, type=self.type, metavar=self.metavar, help=self.help
        )


_NO_BEAT = "there is no beat"

LATER = (
    Later(("-B", "--beat"), "Run beat inside the worker.", fatal=True, type=bool,
          why="there is no beat, and periodic tasks would silently not run. Leave it out."),
    Later(("-E", "--task-events", "--events"), "Send an event for each step of a task.",
          why="no events are sent", type=bool),
    Later(("-S", "--statedb"), "File for revoked ids.", metavar="PATH",
          why="the broker will keep revoked ids"),
    Later(("--executable",), "Python to run.", metavar="PATH", why="it is the Python that runs umbel"),
    Later(("-s", "--schedule-filename", "--schedule"), "File of beat.", metavar="PATH", why=_NO_BEAT),
    Later(("--scheduler",), "Class of beat.", why=_NO_BEAT),
    Later(("--heartbeat-interval",), "Seconds between heartbeats.", type=int,
          why="workers send no heartbeats; the broker keeps their leases"),
    Later(("--pool-start-method",), "fork or spawn.", type=click.Choice(["fork", "spawn"]), kept="fork",
          why="children are forked from a clean process, or started from scratch where importing the app"
          " leaves threads or sockets open"),
    Later(("-O", "--optimization"), "default or fair: here always fair.", kept=True,
          type=click.Choice(["default", "fair"])),
    Later(("--without-gossip",), "Here always so.", type=bool, kept=True),
    Later(("--without-mingle",), "Here always so.", type=bool, kept=True),
    Later(("--without-heartbeat",), "Here always so.", type=bool, kept=True),
)  # fmt: skip


def standing_options(function: Command) -> Command:
    """Give a command the options that say how its process stands in the system (daemon.py)."""
    options = (
        click.option(
            "-D", "--detach", is_flag=True, help="Run in the background; what it says goes to -f."
        ),
        click.option("--uid", help="User to become, before the app is imported."),
        click.option("--gid", help="Group to become. Default: the user's."),
        click.option("--umask", help="Mask of the modes of new files, an octal number."),
        click.option(
            "--pidfile", metavar="PATH", help="File for the process id; %n is the node's name."
        ),
    )
    return reduce(lambda made, option: option(made), reversed(options), function)


class WorkerCommand(click.Command):
    """Shows the options that do nothing yet in a section of their own."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options that work, then the others."""
        others = {one.parameter: one for one in LATER}
        for title, wanted in (("Options", False), ("Accepted, but without effect yet", True)):
            rows = [
                row
                for option in self.get_params(ctx)
                if isinstance(option, click.Option)
                and (option.name in others and others[option.name].kept is not True) is wanted
                and (row := option.get_help_record(ctx))
            ]
            with formatter.section(title):
                formatter.write_dl(rows)


def later_options(function: Command) -> Command:
    """Give a command all of these options."""
    return reduce(lambda made, one: one.option()(made), reversed(LATER), function)


def warn_of(given: Mapping[str, Any]) -> None:
    """Say of each option that was given that it does nothing yet. Raises UsageError for the fatal ones."""
    for one in LATER:
        value = given[one.parameter]
        if value in (None, False) or one.kept is True or one.kept == value:
            continue
        if one.fatal:
            raise click.UsageError(f"{one.names[-1]} does not work yet: {one.why}")
        click.echo(f"Warning: {one.names[-1]} has no effect yet: {one.why}.", err=True)
