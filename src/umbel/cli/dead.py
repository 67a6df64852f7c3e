"""``umbel dead``: messages that could not be processed."""

from __future__ import annotations

import json
from typing import Any

import click

from umbel.app import Umbel
from umbel.cli.filters import Filter, filter_options
from umbel.cli.given import Global
from umbel.cli.groups import Group, examples
from umbel.cli.letters import as_data, messages, show_letters
from umbel.cli.output import json_option, show_json
from umbel.ports import DeadLetter

limit_option = click.option("-n", "--limit", type=click.IntRange(min=1), help="At most so many.")
all_option = click.option("--all", "everything", is_flag=True, help="All of them.")
dry_run_option = click.option("--dry-run", is_flag=True, help="Only show which ones it would be.")


@click.group("dead", cls=Group, epilog=examples("umbel -A tasks dead list --since 2h"))
def command() -> None:
    """Show, retry or drop dead letters.

    Messages kept apart with the reason why they could not be run. They are told from each other by
    their key.
    """


@command.command("list", epilog=examples("umbel -A tasks dead list --task 'shop.*' --since 1d"))
@filter_options
@click.option("-n", "--limit", default=50, show_default=True, type=click.IntRange(min=1))
@json_option
@click.pass_obj
def list_(given: Global, /, limit: int, as_json: bool, **words: str | None) -> None:
    """Show dead letters, the latest first."""
    app = given.load()
    letters = Filter.of(app, words).find(app.queues, limit + 1)
    if as_json:
        show_json([as_data(letter) for letter in letters[:limit]])
        return
    show_letters(app, letters[:limit])
    if len(letters) > limit:
        click.echo(f"These are the latest {limit}; --limit shows more.", err=True)


@command.command("show", epilog=examples("umbel -A tasks dead show 17"))
@click.argument("key")
@json_option
@click.pass_obj
def show(given: Global, key: str, as_json: bool) -> None:
    """Show the dead letter KEY with its headers and body, as JSON."""
    letters = Filter(keys=frozenset({key})).find(given.load().queues, 1)
    if not letters:
        raise click.ClickException(_no_such([key]))
    data = as_data(letters[0])
    if as_json:
        show_json(data)
    else:
        click.echo(json.dumps(data, indent=2, default=repr))


@command.command(
    "retry",
    epilog=examples("umbel -A tasks dead retry 17", "umbel -A tasks dead retry --reason timeout"),
)
@click.argument("keys", nargs=-1)
@filter_options
@limit_option
@all_option
@dry_run_option
@json_option
@click.pass_obj
def retry(given: Global, /, dry_run: bool, as_json: bool, **which: Any) -> None:
    """Put dead letters back on their queues, with no crash counted."""
    app = given.load()
    letters, missing = _wanted(app, **which)
    if dry_run:
        _dry_run(app, letters, as_json)
    else:
        count = app.queues.retry_dead([letter.key for letter in letters])
        done = f"Put {messages(count)} back on {'its queue' if count == 1 else 'their queues'}."
        _tell(given, {"retried": count, "missing": missing}, done, as_json)
    _refuse_missing(missing)


@command.command(
    "drop",
    epilog=examples("umbel -A tasks dead drop 17", "umbel -A tasks dead drop --until 7d --dry-run"),
)
@click.argument("keys", nargs=-1)
@filter_options
@limit_option
@all_option
@dry_run_option
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@json_option
@click.pass_obj
def drop(given: Global, /, dry_run: bool, yes: bool, as_json: bool, **which: Any) -> None:
    """Delete dead letters for good. It asks first."""
    app = given.load()
    letters, missing = _wanted(app, **which)
    if dry_run:
        _dry_run(app, letters, as_json)
    else:
        if letters and not yes:
            click.confirm(f"Delete {messages(len(letters))} for good?", abort=True, err=True)
        count = app.queues.drop_dead([letter.key for letter in letters])
        data = {"dropped": count, "missing": missing}
        _tell(given, data, f"Dropped {messages(count)}.", as_json)
    _refuse_missing(missing)


def _wanted(
    app: Umbel, keys: tuple[str, ...], everything: bool, limit: int | None, **words: str | None
) -> tuple[list[DeadLetter], list[str]]:
    """Return the letters that are meant, and the keys that none has."""
    chosen = Filter.of(app, words, keys)
    if everything == chosen.says_something:
        raise click.UsageError(
            "Name the keys of dead letters (umbel dead list), or what they have in common (--task,"
            " --reason and so on), or give --all."
        )
    letters = chosen.find(app.queues, limit)
    by_keys_alone = chosen == Filter(keys=chosen.keys) and limit is None
    missing = chosen.keys - {letter.key for letter in letters} if by_keys_alone else ()
    return letters, sorted(missing)


def _dry_run(app: Umbel, letters: list[DeadLetter], as_json: bool) -> None:
    if as_json:
        show_json([as_data(letter) for letter in letters])
        return
    show_letters(app, letters)
    click.echo(f"It would be {messages(len(letters))}. Nothing was done.")


def _tell(given: Global, data: dict[str, Any], text: str, as_json: bool) -> None:
    if as_json:
        show_json(data)
    else:
        given.say(text)


def _refuse_missing(missing: list[str]) -> None:
    if missing:
        raise click.ClickException(_no_such(missing))


def _no_such(keys: list[str]) -> str:
    """Return that there are no dead letters of these keys, and where to look for others."""
    what = (
        "is no dead letter with the key" if len(keys) == 1 else "are no dead letters with the keys"
    )
    return (
        f"There {what} {', '.join(map(repr, keys))}. `umbel dead list` shows the keys; a task's id is"
        " none."
    )
