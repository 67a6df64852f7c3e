"""``umbel purge``: delete what waits."""

from __future__ import annotations

import click

from umbel.cli.base import Global


@click.command("purge")
@click.option("-Q", "--queues", help="Queues to purge, separated by commas. Default: all.")
@click.option("-f", "--force", is_flag=True, help="Do not ask.")
@click.pass_obj
def command(given: Global, queues: str | None, force: bool) -> None:
    """Delete every message that waits in queues, ready or scheduled. What is running stays."""
    app = given.load()
    depths = app.queues.depths()
    names = [name.strip() for name in queues.split(",")] if queues else list(depths)
    for name in names:
        if name not in depths:
            raise click.ClickException(f"There is no queue {name!r}.")
    waiting = sum(depths[name].ready + depths[name].scheduled for name in names)
    if not force:
        click.confirm(
            f"Delete {waiting} messages from {', '.join(names) or 'no queue'}?", abort=True
        )
    deleted = sum(app.queues.purge(name) for name in names)
    click.echo(f"Deleted {deleted} messages.")
