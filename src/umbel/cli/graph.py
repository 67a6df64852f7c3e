"""``umbel graph``: draw a workflow, or a call with all that belongs to it."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from umbel import states
from umbel.app import Umbel
from umbel.canvas import Signature
from umbel.cli.given import Global
from umbel.cli.groups import examples
from umbel.cli.output import on_terminal
from umbel.cli.result import require_name, saved_group, whereabouts
from umbel.dotted import named
from umbel.drawing import (
    Call,
    Step,
    as_dot,
    as_mermaid,
    as_svg,
    as_text,
    figure_of,
    figure_of_result,
)
from umbel.drawing.figure import MOST
from umbel.drawing.texts import in_ascii
from umbel.exceptions import ImproperlyConfigured
from umbel.task import Task

FORMATS: dict[str, Callable[[Step], str]] = {
    "text": as_text,
    "dot": as_dot,
    "mermaid": as_mermaid,
    "svg": as_svg,
}
#: Formats by how a file's name ends; any other gets the text.
_BY_SUFFIX = {".dot": "dot", ".gv": "dot", ".mmd": "mermaid", ".mermaid": "mermaid", ".svg": "svg"}
_COLOURS = {"SUCCESS": "green", "FAILURE": "red", "REVOKED": "magenta", "RETRY": "yellow"}
_IMPORTABLE = re.compile(r"[^\W\d][\w.]*:[^\W\d][\w.]*")


@click.command(
    "graph",
    epilog=examples(
        "umbel -A tasks graph tasks:nightly",
        "umbel -A tasks graph 019f2f6e-6a4b-7d07-b0a2-3d1f0e6f1c2a",
        "umbel -A tasks graph tasks:nightly -o nightly.svg",
        "umbel -A tasks graph tasks:nightly --format dot | dot -Tpng > nightly.png",
    ),
)
@click.argument("target", callback=require_name)
@click.option(
    "-f",
    "--format",
    "wanted",
    type=click.Choice(list(FORMATS)),
    help="How to draw it. Default: as the file's name says, else text.",
)
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write to this file."
)
@click.option(
    "--most",
    type=click.IntRange(min=2),
    default=MOST,
    show_default=True,
    help="Draw so many steps of a chain and calls of a group; leave out others.",
)
@click.pass_context
def command(
    context: click.Context, target: str, wanted: str | None, output: Path | None, most: int
) -> None:
    """Draw a workflow, or a call with all that belongs to it.

    TARGET is a workflow as module:name, which may be a function that returns one; or the id of a call or of a
    saved group, whose states are drawn, too. Names of tasks are known with result_extended.
    """
    given: Global = context.obj
    app = given.load()
    figure = _figure(app, target, most)
    if wanted is None:
        wanted = "text" if output is None else _BY_SUFFIX.get(output.suffix.lower(), "text")
    if output is not None:
        output.write_text(f"{FORMATS[wanted](figure).rstrip()}\n", "utf-8")
    elif wanted == "text":
        text = as_text(figure, _painted if on_terminal() else _plain)
        click.echo(text if _can_be_printed(text) else in_ascii(text))
    else:
        click.echo(FORMATS[wanted](figure).rstrip())


def _can_be_printed(text: str) -> bool:
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _plain(text: str, _: str) -> str:
    return text


def _painted(text: str, state: str) -> str:
    return click.style(text, fg=_COLOURS.get(state, None if state == "PENDING" else "blue"))


def _figure(app: Umbel, target: str, most: int) -> Step:
    if target in {"workers", "bootsteps"}:
        raise click.UsageError(
            f"umbel graph {target} has no meaning here: a worker does not consist of bootsteps that could be"
            " drawn. Name a workflow or a call."
        )
    workflow = _workflow(target)
    if workflow is not None:
        return figure_of(workflow, most)
    group = saved_group(app, target)
    figure = figure_of_result(app.AsyncResult(target) if group is None else group, most)
    if isinstance(figure, Call) and figure.state == states.PENDING:
        click.echo(f"{target}: {whereabouts(app, target)}", err=True)
        if _IMPORTABLE.fullmatch(target):
            module = target.partition(":")[0]
            click.echo(f"There is no module {module!r}, so this is no workflow.", err=True)
    return figure


def _workflow(target: str) -> Signature[Any] | None:
    """Return what ``module:name`` names; None for what is the id of a call, as it is no such name."""
    if not _IMPORTABLE.fullmatch(target) or not _is_module(target.partition(":")[0]):
        return None
    found = named(target)
    if callable(found) and not isinstance(found, Signature | Task):
        found = found()
    if isinstance(found, Task):
        found = found.s()
    if not isinstance(found, Signature):
        kind = type(found).__name__
        raise ImproperlyConfigured(
            f"{target} is no workflow but of the type {kind}. Name a signature, a task, or a function that"
            " returns one."
        )
    return found


def _is_module(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except (ImportError, ValueError):
        return False
