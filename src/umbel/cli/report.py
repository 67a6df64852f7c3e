"""``umbel report``: what a bug report should contain."""

from __future__ import annotations

import click

from umbel.bug_report import facts, lines
from umbel.cli.given import Global
from umbel.cli.groups import examples
from umbel.cli.output import json_option, show_json


@click.command("report", epilog=examples("umbel -A tasks report"))
@json_option
@click.pass_obj
def command(given: Global, as_json: bool) -> None:
    """Print what a bug report should contain.

    Versions, the platform and, with an app, its tasks and the settings that were changed. Secrets are
    masked: you can paste it.
    """
    app = given.load() if given.app or given.broker or given.config else None
    data = facts(app)
    if as_json:
        show_json(data)
        return
    for line in lines(data):
        click.echo(line)
