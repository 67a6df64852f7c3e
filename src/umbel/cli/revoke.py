"""``umbel revoke``: let calls not run any more."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import click

from umbel.cli.given import Global
from umbel.cli.groups import examples
from umbel.cli.output import json_option, show_json
from umbel.cli.result import require_name
from umbel.control import TERM_SIGNAME
from umbel.revoking import signal_number


def _signal(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    try:
        signal_number(value or TERM_SIGNAME)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
    return value


def _ids(
    context: click.Context, parameter: click.Parameter, words: Sequence[str]
) -> tuple[str, ...]:
    """Return the ids that were given, none of which is empty."""
    return tuple(require_name(context, parameter, word) for word in words)


def _stamps(
    context: click.Context, parameter: click.Parameter, words: Sequence[str]
) -> dict[str, list[Any]]:
    """Return the values of each stamp that was given."""
    found = dict[str, list[Any]]()
    for word in words:
        name, equals, text = word.partition("=")
        values: list[Any] = [text]
        if name.endswith(":"):
            name, values = name[:-1], _json(word, text)
        if not name or not equals or None in values:
            raise click.BadParameter(
                f"{word!r} is no stamp: give its name and value, as in tenant=a, or order:=7 for a number."
            )
        found.setdefault(name, []).extend(values)
    return found


def _json(word: str, text: str) -> list[Any]:
    try:
        found = json.loads(text)
        return found if isinstance(found, list) else [found]
    except ValueError:
        raise click.BadParameter(
            f"{word!r} has no JSON after ':=': give it such as order:=7, or as a text by tenant=a."
        ) from None


@click.command(
    "revoke",
    epilog=examples(
        "umbel -A tasks revoke 0190a1b2-7d5a-7bd3-a5ae-1d5ff1d9c1a4",
        "umbel -A tasks revoke --terminate --signal SIGKILL ID ID",
        "umbel -A tasks revoke --stamp tenant=a --stamp order:=7",
    ),
)
@click.argument("ids", metavar="[ID...]", nargs=-1, callback=_ids)
@click.option(
    "--stamp",
    "stamps",
    metavar="NAME=VALUE",
    multiple=True,
    callback=_stamps,
    help="All calls that have this stamp; also several, of which any counts. Of what is no text its JSON:"
    " NAME:=7.",
)
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
    given: Global,
    ids: tuple[str, ...],
    stamps: dict[str, list[Any]],
    terminate: bool,
    signal: str | None,
    as_json: bool,
) -> None:
    """Let calls not run any more, by their ids or stamps.

    What waits is discarded when a worker meets it, also if all are down now; the result is REVOKED then.
    """
    if signal is not None and not terminate:
        raise click.UsageError(
            f"--signal {signal} ends what runs, which goes on without --terminate."
        )
    if not ids and not stamps:
        raise click.UsageError("Give the ids of calls, or stamps by --stamp NAME=VALUE.")
    control, by = given.load().control, signal or TERM_SIGNAME
    if ids:
        control.revoke(ids, terminate=terminate, signal=by)
    if stamps:
        control.revoke_by_stamped_headers(stamps, terminate=terminate, signal=by)
    if as_json:
        shown = {"stamps": stamps} if stamps else {}
        show_json({"revoked": list(ids), "terminate": terminate, **shown})
        return
    if ids:
        given.say(f"Revoked {len(ids)} call{'' if len(ids) == 1 else 's'}.")
    if stamps:
        given.say(f"Revoked all calls with the stamp{_listed(stamps)}.")


def _listed(stamps: dict[str, list[Any]]) -> str:
    found = [f"{name}={value!r}" for name, values in stamps.items() for value in values]
    return f"{'' if len(found) == 1 else 's'} {', '.join(found)}"
