"""``umbel queues``: what waits where."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import Any

import click

from umbel.app import Umbel
from umbel.cli.given import Global
from umbel.cli.groups import examples
from umbel.cli.output import json_option, on_terminal, show_json, show_table, terminal
from umbel.cli.times import age

COLUMNS = ("queue", "ready", "oldest", "scheduled", "in flight", "dead")


@click.command(
    "queues",
    epilog=examples("umbel -A tasks queues --watch 2", "umbel -A tasks queues --json"),
)
@json_option
@click.option(
    "-w",
    "--watch",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="Look again every so many seconds, until Ctrl+C.",
)
@click.pass_obj
def command(given: Global, as_json: bool, watch: float | None) -> None:
    """Show what waits in each queue.

    ready: may start now. oldest: how long ago the first of them was sent. scheduled: not due yet. in
    flight: held by workers ("leased" in JSON). dead: see umbel dead.
    """
    app = given.load()
    if watch is None:
        _show(app, as_json)
    elif on_terminal() and not as_json:
        draw = terminal()
        draw.live(lambda: draw.table(COLUMNS, _rows(app)), lambda: app.clock.sleep(watch))
    else:
        with contextlib.suppress(KeyboardInterrupt):
            while True:
                _show(app, as_json)
                app.clock.sleep(watch)


def _show(app: Umbel, as_json: bool) -> None:
    if as_json:
        show_json(_as_data(app))
    else:
        show_table(COLUMNS, _rows(app), empty="No queue has been used yet.")


def _as_data(app: Umbel) -> dict[str, Any]:
    now = app.clock.time()
    return {
        name: {
            **dataclasses.asdict(depth),
            "oldest_seconds": None if depth.oldest is None else max(now - depth.oldest, 0.0),
        }
        for name, depth in app.queues.depths().items()
    }


def _rows(app: Umbel) -> list[tuple[object, ...]]:
    now = app.clock.time()
    return [
        (
            name,
            depth.ready,
            "" if depth.oldest is None else age(now - depth.oldest),
            depth.scheduled,
            depth.leased,
            depth.dead,
        )
        for name, depth in app.queues.depths().items()
    ]
