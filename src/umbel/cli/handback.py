"""``umbel handback``: give back to the queues what dead workers hold."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import click

from umbel.app import Umbel
from umbel.cli.given import Global
from umbel.cli.groups import examples
from umbel.cli.letters import messages
from umbel.cli.output import json_option, show_json
from umbel.ports import Holding
from umbel.worker.handback import Handback


@click.command(
    "handback",
    epilog=examples("umbel -A tasks handback", "umbel -A tasks handback --living --force"),
)
@click.option(
    "--living",
    is_flag=True,
    help="Take from everybody, also whose leases still run. It asks first.",
)
@click.option("-f", "--force", is_flag=True, help="Do not ask.")
@json_option
@click.pass_obj
def command(given: Global, living: bool, force: bool, as_json: bool) -> None:
    """Give back to the queues what dead workers hold.

    Needed when the last umbel worker of a broker died and only Celery's workers go on: they see what lies on
    the queues. A worker that stops gives everything back by itself, and takes over from others that died.

    What workers of this machine held goes back at once, other machines' when their leases have ended
    (worker_lease_ttl), for which it waits. Scheduled messages stay: Celery's workers find them when due.
    """
    app = given.load()
    _check(app)
    with Handback(app) as handback:
        if living:
            _take(handback, force)
            left = []
        else:
            left = handback.from_the_silent(lambda seconds: _say_wait(given, seconds))
        counts = handback.counts
    if as_json:
        show_json({**dataclasses.asdict(counts), "living": [_as_data(one) for one in left]})
    else:
        given.say(f"Gave back {messages(counts.returned)}.")
        for count, what in ((counts.failed, "failed"), (counts.dead, "became dead letters")):
            if count:
                given.say(f"Did not give back {messages(count)}, which {what}.")
    holders = [one for one in left if one.held]
    if holders:
        raise click.ClickException(
            f"The leases of {_who(holders)} are renewed, with {messages(_held(holders))}: somebody lives"
            " there. Stop that worker, which then gives everything back; or take it with --living."
        )


def _check(app: Umbel) -> None:
    """Refuse where nobody else can hold anything."""
    features = app.broker.features
    if not features.shared:
        raise click.ClickException(
            f"{app.show_url(app.broker_url)} lives in one process, and ends with it: no worker of another"
            " process holds anything of it."
        )
    if not features.leases:
        raise click.ClickException(
            f"The broker at {app.show_url(app.broker_url)} gives back by itself what a worker held whose"
            " connection ends."
        )


def _take(handback: Handback, force: bool) -> None:
    """Take from the living, too, unless somebody says no."""
    handback.from_the_dead()
    living = handback.holdings()
    if not living:
        return
    if not force:
        click.confirm(
            f"Take {messages(_held(living))} from {_who(living)}, with leases that still run? What runs there"
            " runs again elsewhere, and its outcome is refused.",
            abort=True,
            err=True,
        )
    handback.from_the_living()


def _say_wait(given: Global, seconds: float) -> None:
    if not given.quiet:
        click.echo(f"Waiting up to {seconds:.0f} s for leases to end.", err=True)


def _held(holdings: Sequence[Holding]) -> int:
    return sum(one.held for one in holdings)


def _who(holdings: Sequence[Holding]) -> str:
    """Name processes by host."""
    hosts: dict[str, list[str]] = {}
    for one in holdings:
        hosts.setdefault(one.owner.host, []).append(str(one.owner.pid))
    return " and ".join(
        f"process{'es' if len(pids) > 1 else ''} {', '.join(pids)} on {host}"
        for host, pids in hosts.items()
    )


def _as_data(holding: Holding) -> dict[str, Any]:
    return {
        "host": holding.owner.host,
        "pid": holding.owner.pid,
        "held": holding.held,
        "seconds_left": holding.left,
    }
