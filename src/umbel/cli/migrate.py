"""``umbel migrate``: make or update the tables in a database."""

from __future__ import annotations

import click

from umbel.absent import MOVING
from umbel.cli.given import Global
from umbel.cli.groups import examples
from umbel.cli.output import json_option, show_json


@click.command("migrate", epilog=examples("umbel -A tasks migrate"))
@click.argument("urls", nargs=-1, metavar="")
@json_option
@click.pass_obj
def command(given: Global, urls: tuple[str, ...], as_json: bool) -> None:
    """Make or update the tables in a database.

    Of the broker and the stores of results and state, those that are in PostgreSQL. Workers and clients make
    the tables by themselves where there are none yet, unless create_tables is off; after an upgrade of umbel
    this command may be needed, and they say so. It may run twice at once, and while workers run.
    """
    if urls:
        raise click.UsageError(f"umbel migrate with two URLs {MOVING}.")
    app = given.load()
    done: list[str] = []
    needed = False
    for url in dict.fromkeys(filter(None, (app.broker_url, app.result_url, app.engines.state_url))):
        found = app.engine(url).migrate()
        needed = needed or found is not None
        done += found or ()
    if as_json:
        show_json(done)
    elif not needed:
        given.say(
            "Nothing to do: neither the broker nor a store of results or state has tables to update."
        )
    else:
        for line in done or ["The tables are up to date."]:
            given.say(line)
