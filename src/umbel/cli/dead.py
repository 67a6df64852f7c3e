"""``umbel dead``: messages that could not be processed."""

from __future__ import annotations

import json
from collections.abc import Collection

import click

from umbel.cli.base import Global
from umbel.cli.tables import show_table
from umbel.clock import utc
from umbel.ports import DeadLetter, QueueAdmin

#: Dead letters read at a time when all are wanted.
PAGE = 1000


@click.group("dead")
def command() -> None:
    """Show, retry or drop dead letters.

    Messages kept apart with the reason why they could not be run.
    """


@command.command("list")
@click.option("-n", "--limit", default=50, show_default=True, type=click.IntRange(min=1))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def list_(given: Global, limit: int, as_json: bool) -> None:
    """Show dead letters, the latest first."""
    letters = given.load().queues.dead_letters(limit)
    if as_json:
        click.echo(json.dumps([_as_data(letter) for letter in letters]))
        return
    show_table(
        ("key", "died", "queue", "task", "reason"),
        [
            (
                letter.key,
                utc(letter.died_at).strftime("%Y-%m-%d %H:%M:%S"),
                letter.queue,
                letter.message.headers.get("task", "?"),
                letter.reason,
            )
            for letter in letters
        ],
        empty="There are no dead letters.",
    )


@command.command("show")
@click.argument("key")
@click.pass_obj
def show(given: Global, key: str) -> None:
    """Show the dead letter KEY with its headers and body."""
    for letter in _all(given.load().queues):
        if letter.key == key:
            click.echo(json.dumps(_as_data(letter), indent=2))
            return
    raise click.ClickException(f"There is no dead letter {key!r}.")


@command.command("retry")
@click.argument("keys", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Retry all of them.")
@click.pass_obj
def retry(given: Global, keys: tuple[str, ...], everything: bool) -> None:
    """Put dead letters back on their queues."""
    queues = given.load().queues
    wanted = _wanted(queues, keys, everything)
    count = queues.retry_dead(wanted)
    click.echo(f"Put {count} messages back on their queues.")
    _check_all(count, wanted)


@command.command("drop")
@click.argument("keys", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Drop all of them.")
@click.pass_obj
def drop(given: Global, keys: tuple[str, ...], everything: bool) -> None:
    """Delete dead letters for good."""
    queues = given.load().queues
    wanted = _wanted(queues, keys, everything)
    count = queues.drop_dead(wanted)
    click.echo(f"Dropped {count} messages.")
    _check_all(count, wanted)


def _wanted(queues: QueueAdmin, keys: Collection[str], everything: bool) -> Collection[str]:
    if everything == bool(keys):
        raise click.UsageError("Name the keys of dead letters (umbel dead list), or give --all.")
    return [letter.key for letter in _all(queues)] if everything else keys


def _check_all(count: int, wanted: Collection[str]) -> None:
    if count < len(wanted):
        raise click.ClickException(f"{len(wanted) - count} of the keys name no dead letter.")


def _all(queues: QueueAdmin) -> list[DeadLetter]:
    letters: list[DeadLetter] = []
    while page := queues.dead_letters(PAGE, len(letters)):
        letters += page
    return letters


def _as_data(letter: DeadLetter) -> dict[str, object]:
    return {
        "key": letter.key,
        "queue": letter.queue,
        "reason": letter.reason,
        "died_at": letter.died_at,
        "crashes": letter.crashes,
        "headers": dict(letter.message.headers),
        "properties": dict(letter.message.properties),
        "body": letter.message.body.decode("utf-8", "backslashreplace"),
    }
