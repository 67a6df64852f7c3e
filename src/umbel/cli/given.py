"""What stands before the command, ``umbel -A proj -b URL``, and the app that it names."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import click

from umbel.app import Umbel
from umbel.current import set_default_app
from umbel.exceptions import ImproperlyConfigured, UmbelError
from umbel.settings import COMMAND_LINE
from umbel.tracebacks import traceback_text
from umbel.worker.bootstrap import find_app
from umbel.worker.preload import announce

#: Environment variables that name the app; the second is Celery's.
APP_VARIABLES = ("UMBEL_APP", "APP")
#: Where the context of a command has the values of the options that the app adds to all commands.
PRELOAD = "umbel.preload"


class ImportFailed(click.ClickException):
    """The app's own code raised when it was imported; the text is the traceback."""

    def show(self, file: Any = None) -> None:
        """Show the traceback, which ends in the user's own lines, and then what it means."""
        click.echo(self.message, err=True, nl=False)
        click.echo("Error: importing the app failed.", err=True)


@dataclass(frozen=True, slots=True)
class Global:
    """The options that stand before the command.

    `app_from` is the variable that named the app, `begun_in` the directory in which the command was started.
    """

    app: str = ""
    app_from: str = ""
    broker: str | None = None
    result_backend: str | None = None
    config: str | None = None
    quiet: bool = False
    begun_in: str | None = None

    @classmethod
    def of(cls, app: str | None, **options: Any) -> Global:
        """Return the options; an app that is not given is looked for in the environment."""
        if app:
            return cls(app, **options)
        variable = next((name for name in APP_VARIABLES if os.environ.get(name)), "")
        return cls(os.environ.get(variable, ""), variable, **options)

    def settings(self) -> dict[str, Any]:
        """Return the settings that the command line gives."""
        given = {"broker_url": self.broker, "result_backend": self.result_backend}
        return {name: value for name, value in given.items() if value is not None}

    def named_app(self) -> str:
        """Return what -A says. Raises UsageError when it says nothing."""
        if not self.app:
            program, _, words = click.get_current_context().command_path.partition(" ")
            raise click.UsageError(
                f"Which app? Name its module with -A, for example: {program} -A tasks {words}"
            )
        return self.app

    def load(self) -> Umbel:
        """Return the app, with the command line's settings and all its modules imported.

        Without -A, a broker or a module of settings is enough to look at queues and results.
        """
        app = self.found()
        context = click.get_current_context()
        try:
            if self.config:
                app.config_from_object(self.config)
            app.conf.load(self.settings(), COMMAND_LINE)
            set_default_app(app)
            announce(app, context.info_name or "", context.meta.get(PRELOAD))
            app.import_modules()
        except (UmbelError, click.ClickException):
            raise
        except Exception as error:
            raise ImportFailed(traceback_text(error)) from error
        return app

    def found(self) -> Umbel:
        """Return the app as its module has it. Raises ImportFailed where that raises."""
        try:
            return self._found()
        except (UmbelError, click.ClickException):
            raise
        except Exception as error:
            raise ImportFailed(traceback_text(error)) from error

    def _found(self) -> Umbel:
        if not self.app and (self.broker or self.config):
            return Umbel()
        try:
            return find_app(self.named_app())
        except ImproperlyConfigured as error:
            if not self.app_from:
                raise
            place = f"{error} It was named by the environment variable {self.app_from}."
            raise ImproperlyConfigured(place) from error

    def say(self, text: str) -> None:
        """Print what is only for people, unless they want quiet."""
        if not self.quiet:
            click.echo(text)
