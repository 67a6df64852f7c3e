"""The ``umbel`` command itself: its global options, and how errors are shown."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import click

from umbel._version import __version__
from umbel.absent import ABSENT_COMMANDS
from umbel.cli import plugins, user_options
from umbel.cli.given import Global
from umbel.cli.groups import Group, examples
from umbel.exceptions import ImproperlyConfigured, UmbelError

#: The commands, each in a module of that name whose attribute ``command`` it is, with the first
#: line of its help: the modules are imported only when they are used.
COMMANDS = {
    "beat": "Send periodic tasks when they are due.",
    "call": "Send a call of a task.",
    "completion": "Print the script that completes umbel's words in a shell.",
    "config": "Explain settings: value, origin, meaning, default.",
    "dead": "Show, retry or drop dead letters.",
    "dev": "Run a worker that starts anew when the code changes.",
    "graph": "Draw a workflow, or a call with all that belongs to it.",
    "handback": "Give back to the queues what dead workers hold.",
    "list": "List tasks, queues or bindings.",
    "migrate": "Make or update the tables in a database.",
    "multi": "Start and stop several workers of this machine.",
    "purge": "Delete every message that waits in queues.",
    "queues": "Show what waits in each queue.",
    "report": "Print what a bug report should contain.",
    "result": "Show what became of a call, or of a group's.",
    "revoke": "Let calls not run any more, by their ids or stamps.",
    "schedule": "Look at periodic tasks, and change them while beats run.",
    "shell": "Open a Python shell with the app and its tasks.",
    "worker": "Start a worker.",
}
CODES = """Exit codes: 0 done; 1 failed, or not found; 2 wrong words or settings; 3 a result has not come
yet; 130 interrupted by Ctrl+C."""


class _Commands(Group):
    """Imports the module of a command when it is used, so that each starts fast."""

    others = {  # noqa: RUF012 - a table, never changed
        name: f"umbel {name} {reason}." for name, reason in ABSENT_COMMANDS.items()
    }

    def list_commands(self, ctx: click.Context) -> list[str]:
        # To complete words, nothing of other packages is imported.
        added = () if ctx.resilient_parsing else plugins.help_of()
        return [*COMMANDS, *(name for name in added if name not in COMMANDS)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None if ctx.resilient_parsing else plugins.find(cmd_name)
        command: click.Command = import_module(f"umbel.cli.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that the first word names, with the options that the app adds to it."""
        name, command, words = super().resolve_command(ctx, args)
        if command is None or ctx.resilient_parsing:
            return name, command, words
        if user_options.asks_for_more(command, words, ctx):
            _set_up(ctx)
            optional = bool({"-h", "--help"} & set(words))
            command = user_options.extended(command, ctx.obj, optional=optional)
        return name, command, words

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))
        added = plugins.help_of()
        if added:
            with formatter.section("Commands of other packages"):
                formatter.write_dl(list(added.items()))


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=examples("umbel -A tasks worker -l INFO", "umbel worker --help", codes=CODES),
)
@click.option(
    "-A",
    "--app",
    help="The app: a module (proj), module:attribute, or package. Default: $UMBEL_APP.",
)
@click.option(
    "-b", "--broker", envvar="BROKER_URL", help="URL of the broker, instead of the setting."
)
@click.option(
    "--result-backend",
    envvar="RESULT_BACKEND",
    help="URL of the result store, instead of the setting.",
)
@click.option(
    "--loader", envvar="LOADER", help="Celery's loaders; umbel has one, and no need of it."
)
@click.option("--config", envvar="CONFIG_MODULE", help="Module of settings to load into the app.")
@click.option("--workdir", type=click.Path(exists=True, file_okay=False), help="Go there first.")
@click.option("-C", "--no-color", is_flag=True, help="No colours; NO_COLOR does the same.")
@click.option("-q", "--quiet", is_flag=True, help="Say less: no banner, no counts.")
@click.option("--skip-checks", is_flag=True, help="Do not run Django's checks in a worker.")
@click.version_option(__version__, message="%(version)s")
@click.pass_context
def group(context: click.Context, /, **_: Any) -> None:
    """Run tasks in the background: workers, queues and results of an umbel app."""
    if context.obj is None:
        _set_up(context)


def _set_up(context: click.Context) -> None:
    """Do what the options before the command say."""
    given = context.params
    try:
        begun_in = os.getcwd()
    except OSError:  # it was deleted
        begun_in = None
    if given["workdir"]:
        os.chdir(given["workdir"])
    if given["loader"] not in (None, "app", "default"):
        click.echo(
            f"Warning: --loader {given['loader']} has no effect: -A names the app.", err=True
        )
    if given["no_color"] or os.environ.get("NO_COLOR"):
        context.color = False
        os.environ["NO_COLOR"] = "1"  # for what is started from here
    if given["skip_checks"]:
        os.environ["CELERY_SKIP_CHECKS"] = "true"  # for a worker's other processes too
    names = ("broker", "result_backend", "config", "quiet")
    options = {name: given[name] for name in names}
    context.obj = Global.of(given["app"], begun_in=begun_in, **options)


def main(arguments: Sequence[str] | None = None, program: str = "umbel") -> None:
    """Run the command line; errors that umbel explains are shown without a traceback."""
    try:
        code = group.main(args=arguments, prog_name=program, standalone_mode=False)
        sys.exit(code() if callable(code) else code or 0)
    except click.ClickException as error:
        _explained(error).show()
        sys.exit(error.exit_code)
    except click.Abort as abort:
        if isinstance(abort.__cause__, KeyboardInterrupt):
            sys.exit(130)
        click.echo("Nothing was done.", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        click.echo(f"Error: what this says cannot be written: {error.strerror}.", err=True)
        sys.exit(1)
    except UmbelError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(2 if isinstance(error, ImproperlyConfigured) else 1)


def _explained(error: click.ClickException) -> click.ClickException:
    """Say of a global option that it stands before the command."""
    if isinstance(error, click.NoSuchOption) and error.ctx and error.ctx.parent:
        name = error.option_name
        if any(name in option.opts for option in group.params):
            program = error.ctx.find_root().info_name
            text = f"{name} stands before the command: {program} {name} … {error.ctx.info_name}"
            return click.UsageError(text, error.ctx)
    return error


if __name__ == "__main__":
    main()
