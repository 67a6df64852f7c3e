"""The options of ``umbel worker`` that are Celery's: those that do not work yet, and what that means.

An option of Celery's is never unknown here. One whose promise is kept anyway is silent; one whose
absence a worker can live with is a warning.
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
    """An option that does not work yet, or `never` will. `why` says what is missing, or what is instead.

    `kept` is the value, or True for any, whose promise is kept anyway, without a word.
    """

    names: tuple[str, ...]
    help: str
    why: str = ""
    type: Any = str
    kept: object = None
    never: bool = False
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


LATER = (
    Later(("-E", "--task-events", "--events"), "Send an event for each step of a task.",
          why="no events are sent", type=bool),
    Later(("-S", "--statedb"), "File for revoked ids.", metavar="PATH", never=True,
          why="no file is written, since what it holds in Celery is the broker's to keep, for all workers"),
    Later(("--executable",), "Python to run.", metavar="PATH", never=True,
          why="it is the Python that runs umbel"),
    Later(("--heartbeat-interval",), "Seconds between heartbeats.", type=int, never=True,
          why="a worker's heartbeat is that it renews its leases, three times in worker_lease_ttl seconds"),
    Later(("--pool-start-method",), "fork or spawn.", type=click.Choice(["fork", "spawn"]), kept="fork",
          never=True,
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


def beat_options(function: Command) -> Command:
    """Give a command the options of a beat that runs beside the node."""
    options = (
        click.option("-B", "--beat", is_flag=True, help="Send periodic tasks, too; as umbel beat."),
        click.option(
            "-s",
            "--schedule-filename",
            "--schedule",
            "schedule_filename",
            metavar="PATH",
            help="With -B: Celery's file of last runs, to take them over once.",
        ),
        click.option("--scheduler", metavar="CLASS", help="With -B: the class of the scheduler."),
    )
    return reduce(lambda made, option: option(made), reversed(options), function)


class WorkerCommand(click.Command):
    """Shows the options that do nothing in a section of their own."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options that work, then the others."""
        others = {one.parameter: one for one in LATER}
        for title, wanted in (("Options", False), ("Accepted, but without effect", True)):
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
    """Say of each option that was given that it does nothing yet."""
    for one in LATER:
        value = given[one.parameter]
        if value in (None, False) or one.kept is True or one.kept == value:
            continue
        effect = "no effect" if one.never else "no effect yet"
        click.echo(f"Warning: {one.names[-1]} has {effect}: {one.why}.", err=True)
