"""``umbel queues``: what waits where."""

from __future__ import annotations

import dataclasses
import json

import click

from umbel.cli.base import Global
from umbel.cli.tables import show_table


@click.command("queues")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def command(given: Global, as_json: bool) -> None:
    """Show how many messages of each queue are ready, scheduled, leased (held by workers), and dead."""
    app = given.load()
    depths = app.queues.depths()
    if as_json:
        click.echo(json.dumps({name: dataclasses.asdict(depth) for name, depth in depths.items()}))
        return
    now = app.clock.time()
    show_table(
        ("queue", "ready", "oldest", "scheduled", "leased", "dead"),
        [
            (
                name,
                depth.ready,
                "" if depth.oldest is None else f"{max(now - depth.oldest, 0):.1f} s",
                depth.scheduled,
                depth.leased,
                depth.dead,
            )
            for name, depth in depths.items()
        ],
        empty="No queue has been used yet.",
    )
