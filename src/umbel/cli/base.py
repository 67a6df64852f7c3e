"""The ``umbel`` command itself: its global options, and how errors are shown."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import click

from umbel._version import __version__
from umbel.app import Umbel
from umbel.current import set_default_app
from umbel.exceptions import UmbelError
from umbel.settings import COMMAND_LINE
from umbel.worker.bootstrap import find_app

#: The commands, each in a module of that name whose attribute ``command`` it is.
COMMANDS = ("call", "dead", "purge", "queues", "result", "worker")


@dataclass(frozen=True, slots=True)
class Global:
    """The options that stand before the command."""

    app: str
    broker: str | None
    result_backend: str | None

    def settings(self) -> dict[str, Any]:
        """Return the settings that the command line gives."""
        given = {"broker_url": self.broker, "result_backend": self.result_backend}
        return {name: value for name, value in given.items() if value is not None}

    def named_app(self) -> str:
        """Return what -A says. Raises UsageError when it says nothing."""
        if not self.app:
            raise click.UsageError(
                "Which app? Name its module with -A, for example: umbel -A tasks worker"
            )
        return self.app

    def load(self) -> Umbel:
        """Return the app, with the command line's settings and all its modules imported."""
        app = find_app(self.named_app())
        app.conf.load(self.settings(), COMMAND_LINE)
        set_default_app(app)
        app.import_modules()
        return app


class _Commands(click.Group):
    """Imports the module of a command when it is used, so that each starts fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"umbel.cli.{cmd_name}").command
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "-A",
    "--app",
    default=lambda: os.environ.get("UMBEL_APP", ""),
    help="The app: a module (proj), module:attribute, or package. Default: UMBEL_APP.",
)
@click.option("-b", "--broker", help="URL of the broker, instead of the setting broker_url.")
@click.option("--result-backend", help="URL of the result store, instead of the setting.")
@click.option("--workdir", type=click.Path(exists=True, file_okay=False), help="Go there first.")
@click.version_option(__version__, message="%(version)s")
@click.pass_context
def group(
    context: click.Context,
    app: str,
    broker: str | None,
    result_backend: str | None,
    workdir: str | None,
) -> None:
    """Run tasks in the background: workers, queues and results of an umbel app."""
    if workdir:
        os.chdir(workdir)
    context.obj = Global(app, broker, result_backend)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; errors that umbel explains are shown without a traceback."""
    try:
        code = group.main(args=arguments, prog_name="umbel", standalone_mode=False)
        sys.exit(code() if callable(code) else code or 0)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort:
        click.echo("Nothing was done.", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except UmbelError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
