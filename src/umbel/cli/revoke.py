"""``umbel revoke``: let calls not run any more."""

from __future__ import annotations

import click

from umbel.cli.given import Global
from umbel.cli.groups import examples
from umbel.cli.output import json_option, show_json
from umbel.control import TERM_SIGNAME
from umbel.revoking import signal_number


def _signal(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    try:
        signal_number(value or TERM_SIGNAME)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
    return value


@click.command(
    "revoke",
    epilog=examples(
        "umbel -A tasks revoke 0190a1b2-7d5a-7bd3-a5ae-1d5ff1d9c1a4",
        "umbel -A tasks revoke --terminate --signal SIGKILL ID ID",
    ),
)
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@click.option("--terminate", is_flag=True, help="End it, too, where it runs already.")
@click.option(
    "--signal",
    callback=_signal,
    show_default=TERM_SIGNAME,
    help="By which signal, by its name or number, where it has a process to itself; with --terminate.",
)
@json_option
@click.pass_obj
def command(
    given: Global, ids: tuple[str, ...], terminate: bool, signal: str | None, as_json: bool
) -> None:
    """Let calls not run any more, by their ids.

    What waits is discarded when a worker meets it, also if all are down now; the result is REVOKED then.
    """
    if signal is not None and not terminate:
        raise click.UsageError(
            f"--signal {signal} ends what runs, which goes on without --terminate."
        )
    given.load().control.revoke(ids, terminate=terminate, signal=signal or TERM_SIGNAME)
    if as_json:
        show_json({"revoked": list(ids), "terminate": terminate})
    else:
        given.say(f"Revoked {len(ids)} call{'' if len(ids) == 1 else 's'}.")
