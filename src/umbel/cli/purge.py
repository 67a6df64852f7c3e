"""``umbel purge``: delete what waits."""

from __future__ import annotations

import click

from umbel.cli.completing import queue_names
from umbel.cli.given import Global
from umbel.cli.groups import examples
from umbel.cli.letters import messages
from umbel.cli.output import json_option, show_json
from umbel.nearest import meant
from umbel.ports import QueueDepth


def names(text: str | None) -> list[str]:
    """Return the names of a list separated by commas."""
    return [name.strip() for name in (text or "").split(",") if name.strip()]


@click.command(
    "purge", epilog=examples("umbel -A tasks purge -Q mails,reports", "umbel -A tasks purge -f")
)
@click.option("-f", "--force", is_flag=True, help="Do not ask.")
@click.option(
    "-Q",
    "--queues",
    shell_complete=queue_names,
    help="Queues to purge, separated by commas. Default: all.",
)
@click.option("-X", "--exclude-queues", help="Queues to leave alone, separated by commas.")
@json_option
@click.pass_obj
def command(
    given: Global, force: bool, queues: str | None, exclude_queues: str | None, as_json: bool
) -> None:
    """Delete every message that waits in queues.

    Ready and scheduled ones; what is running and what is dead stays. It asks first. There is no way back.
    """
    app = given.load()
    depths = app.queues.depths()
    chosen = _chosen(depths, names(queues), names(exclude_queues))
    waiting = {name: depths[name].ready + depths[name].scheduled for name in chosen}
    if not sum(waiting.values()):
        if as_json:
            show_json(waiting)
        else:
            given.say(f"Nothing waits in {', '.join(chosen) or 'any queue'}.")
        return
    if not force:
        click.confirm(f"Delete {_counted(waiting)}?", abort=True, err=True)
    deleted = {name: app.queues.purge(name) for name in chosen}
    if as_json:
        show_json(deleted)
    else:
        given.say(f"Deleted {_counted(deleted)}.")


def _chosen(depths: dict[str, QueueDepth], wanted: list[str], spared: list[str]) -> list[str]:
    for name in (*wanted, *spared):
        if name not in depths:
            raise click.ClickException(f"There is no queue {name!r}.{meant(name, depths)}")
    return [name for name in dict.fromkeys(wanted or depths) if name not in spared]


def _counted(counts: dict[str, int]) -> str:
    total = sum(counts.values())
    parts = ", ".join(f"{count} from {name}" for name, count in counts.items() if count)
    return f"{messages(total)}: {parts}" if parts else messages(total)
