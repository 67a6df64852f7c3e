"""``umbel config``: what each setting is, where its value came from and what it means."""

from __future__ import annotations

import shutil
from typing import Any

import click

from umbel.app import Umbel
from umbel.cli.completing import setting_names
from umbel.cli.given import Global
from umbel.cli.groups import examples
from umbel.cli.output import json_option, on_terminal, show_json, show_table
from umbel.masking import masked
from umbel.nearest import meant
from umbel.settings import TABLE, Config, spelling
from umbel.settings.declare import Declared


@click.command(
    "config",
    epilog=examples("umbel -A tasks config", "umbel -A tasks config task_acks_late"),
)
@click.argument("name", required=False, shell_complete=setting_names)
@click.option("--all", "everything", is_flag=True, help="All settings, not only the changed ones.")
@json_option
@click.pass_obj
def command(given: Global, name: str | None, everything: bool, as_json: bool) -> None:
    """Explain settings: value, origin, meaning, default.

    Without NAME it lists the settings that were changed. Secrets are masked.
    """
    if name is not None and everything:
        raise click.UsageError("Give the name of a setting, or --all, not both.")
    conf = _conf(given)
    if name is not None:
        _show_one(conf, _known(conf, name), as_json)
        return
    names = list(conf) if everything else list(conf.changed())
    if as_json:
        show_json({name: _as_data(conf, name) for name in names})
        return
    show_table(
        ("setting", "value", "origin", "meaning"),
        [
            (name, value(conf, name), conf.origin(name).place, meaning(TABLE.get(name)))
            for name in names
        ],
        empty="No setting was changed; --all lists them all.",
    )


def _conf(given: Global) -> Config:
    """Return the app's settings; without an app, those of one to which nothing was said."""
    app = given.load() if given.app or given.broker or given.config else Umbel()
    return app.conf


def _known(conf: Config, name: str) -> str:
    found = spelling(name) or (name if name in conf else None)
    if found is None:
        raise click.ClickException(f"There is no setting {name!r}.{meant(name.lower(), TABLE)}")
    return found


def _show_one(conf: Config, name: str, as_json: bool) -> None:
    if as_json:
        show_json(_as_data(conf, name))
        return
    row = TABLE.get(name)
    lines = [("value", value(conf, name)), ("origin", conf.origin(name).place)]
    lines.append(("meaning", meaning(row)))
    if row is not None:
        lines += [("group", row.group), ("must be", row.wanted), ("default", repr(row.default))]
        lines.append(("in Celery", in_celery(row)))
        if row.old_name:
            lines.append(("old name", row.old_name))
    click.echo(name)
    for title, text in lines:
        line = f"  {title + ':':<10} {text}"
        click.echo(wrapped(line) if on_terminal() else line)


def wrapped(line: str) -> str:
    """Return a line, broken to fit the terminal; what follows stands below its text."""
    columns = shutil.get_terminal_size().columns
    return click.wrap_text(line, columns, subsequent_indent=" " * 13)


def value(conf: Config, name: str) -> str:
    """Return a setting's value for people to read, without secrets."""
    return repr(masked(name, conf[name]))


def meaning(row: Declared | None) -> str:
    """Return in words what a setting does, or why it does nothing."""
    if row is None:
        return "umbel does not know it: kept for plugins."
    if row.unused:
        return f"It has no effect. {row.unused}"
    later = f" It {row.later}." if row.later else ""
    return f"{row.doc}{later}"


def in_celery(row: Declared) -> str:
    """Return Celery's default and, where ours is another one, why."""
    if row.ours:
        return "there is no such setting"
    if not row.differs:
        return "the same default"
    return f"{row.celery_default!r}. {row.why}".rstrip()


def _as_data(conf: Config, name: str) -> dict[str, Any]:
    row = TABLE.get(name)
    data = {
        "value": masked(name, conf[name]),
        "origin": conf.origin(name).place,
        "meaning": meaning(row),
        "known": row is not None,
    }
    if row is None:
        return data
    return data | {
        "group": row.group,
        "must_be": row.wanted,
        "default": row.default,
        "celery_default": row.celery_default,
        "differs": row.differs,
        "why": row.why,
        "old_name": row.old_name,
        "works": not (row.later or row.unused),
    }
