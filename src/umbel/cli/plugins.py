"""Commands that other packages add to Celery's command line, by the entry points ``celery.commands``.

They are written with what Celery has in ``celery.bin.base``, which is this module there: the classes of a
command and its options, and the object of its context, which has the app.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from functools import update_wrapper
from importlib import metadata
from typing import Any, ClassVar

import click

from umbel import declared
from umbel.app import Umbel
from umbel.cli.given import Global
from umbel.exceptions import ImproperlyConfigured


class CLIContext:
    """``ctx.obj`` of a command of another package: the app, and ways to print."""

    def __init__(
        self, app: Umbel, no_color: bool = False, workdir: str | None = None, quiet: bool = False
    ):
        self.app = app
        self.no_color = no_color
        self.workdir = workdir
        self.quiet = quiet

    @property
    def OK(self) -> str:
        """What is printed where something went well."""
        return self.style("OK", fg="green", bold=True)

    @property
    def ERROR(self) -> str:
        """What is printed where something went wrong."""
        return self.style("ERROR", fg="red", bold=True)

    def style(self, message: str, **options: Any) -> str:
        """Return a text in a style, unless colours are off."""
        return message if self.no_color else click.style(message, **options)

    def echo(self, message: str | None = None, **options: Any) -> None:
        """Print a text."""
        click.echo(message, color=False if self.no_color else None, **options)

    def secho(self, message: str | None = None, **options: Any) -> None:
        """Print a text in a style."""
        click.secho(message, color=False if self.no_color else None, **options)

    def error(self, message: str | None = None, **options: Any) -> None:
        """Print a text to the standard error."""
        click.secho(message, err=True, **options)

    def pretty(self, n: Any) -> tuple[str, str]:
        """Return what became of something and its text."""
        if isinstance(n, dict) and set(n) & {"ok", "error"}:
            word = self.OK if "ok" in n else self.ERROR
            return word, str(n.get("ok", n.get("error")))
        return self.OK, str(n)


class CeleryOption(click.Option):
    """An option; `help_group` is the heading that Celery lists it under, and has no effect here."""

    def __init__(self, *args: Any, help_group: str | None = None, **options: Any) -> None:
        options.pop("default_value_from_context", None)
        super().__init__(*args, **options)
        self.help_group = help_group


class CeleryCommand(click.Command):
    """A command."""


class CeleryDaemonCommand(CeleryCommand):
    """A command whose process is started in the background by what starts services."""


class CommaSeparatedList(click.ParamType):  # type: ignore[type-arg] # click 8.1 has none
    """Texts with commas between them."""

    name = "comma separated list"

    def convert(self, value: Any, param: Any, ctx: Any) -> Sequence[str]:
        """Return the parts."""
        return value.split(",") if isinstance(value, str) else value


class _Json(click.ParamType):  # type: ignore[type-arg] # click 8.1 has none
    kind: ClassVar[type]

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """Return the value of a text in JSON."""
        try:
            found = json.loads(value) if isinstance(value, str) else value
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if not isinstance(found, self.kind):
            self.fail(f"{value!r} is no {self.name}", param, ctx)
        return found


class JsonArray(_Json):
    """A list in JSON."""

    name = "json array"
    kind = list


class JsonObject(_Json):
    """An object in JSON."""

    name = "json object"
    kind = dict


COMMA_SEPARATED_LIST = CommaSeparatedList()
JSON_ARRAY = JsonArray()
JSON_OBJECT = JsonObject()
LOG_LEVEL = click.Choice(
    ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL", "FATAL"), case_sensitive=False
)


def handle_preload_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function: the options that an app adds to all commands are taken before it is called."""

    def caller(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return update_wrapper(caller, function)


# What the command line asks


def help_of() -> dict[str, str]:
    """Return the names of the packages' commands, each with the package that it is of."""
    return {
        entry.name: f"Of the package {entry.dist.name}." if entry.dist else "Of another package."
        for entry in declared.commands()
    }


def find(name: str) -> click.Command | None:
    """Return the command that a package declares by this name, with the app in its context, or None.

    Raises ClickException when it cannot be loaded.
    """
    entry = next((entry for entry in declared.commands() if entry.name == name), None)
    if entry is None:
        return None
    try:
        command = declared.load(entry)
    except ImproperlyConfigured as error:
        raise click.ClickException(_advice(str(error))) from error
    if not isinstance(command, click.Command):
        raise click.ClickException(
            f"{entry.value} is declared as the command {name!r}, but is {command!r} and no click command."
        )
    return _with_app(command)


def _advice(text: str) -> str:
    if "celery" in sys.modules or _celery_is_there():
        return text
    return f"{text}. Such packages import celery: install umbel-as-celery."


def _celery_is_there() -> bool:
    try:
        metadata.version("celery")
    except metadata.PackageNotFoundError:
        return False
    return True


class _Context(click.Context):
    """The context of a package's command: the app is loaded when it is run, not when it shows its help."""

    def invoke(self, callback: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Run the command with Celery's kind of object in its context."""
        given = self.obj
        if isinstance(given, Global):
            parent = self.parent.params if self.parent else {}
            self.obj = CLIContext(
                given.load(),
                no_color=self.color is False,
                workdir=parent.get("workdir"),
                quiet=given.quiet,
            )
        return super().invoke(callback, *args, **kwargs)


def _with_app(command: click.Command) -> click.Command:
    command.context_class = _Context
    return command
