"""``umbel report``: what a bug report should contain."""

from __future__ import annotations

import platform
import sqlite3
from importlib import metadata
from typing import Any

import click

from umbel._version import __version__
from umbel.app import Umbel
from umbel.cli.given import Global
from umbel.cli.groups import examples
from umbel.cli.output import json_option, show_json
from umbel.exceptions import UmbelError
from umbel.masking import masked
from umbel.settings import TABLE

#: Packages whose versions matter when they are there.
PACKAGES: tuple[str, ...] = (
    "click",
    "rich",
    "redis",
    "pika",
    "psycopg",
    "Django",
    "msgpack",
    "PyYAML",
)
PACKAGES += ("zstandard", "cryptography", "celery", "kombu")


@click.command("report", epilog=examples("umbel -A tasks report"))
@json_option
@click.pass_obj
def command(given: Global, as_json: bool) -> None:
    """Print what a bug report should contain.

    Versions, the platform and, with an app, its tasks and the settings that were changed. Secrets are
    masked: you can paste it.
    """
    data = {"software": _software(), "platform": _platform()}
    if given.app or given.broker or given.config:
        data |= _of_app(given.load())
    if as_json:
        show_json(data)
        return
    for title, facts in data.items():
        if facts:
            click.echo(f"{title}:")
        for name, text in facts.items():
            click.echo(f"  {name}: {text}")


def _software() -> dict[str, str]:
    found = {"umbel": __version__, "Python": platform.python_version()}
    found["SQLite"] = sqlite3.sqlite_version
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _platform() -> dict[str, str]:
    return {
        "system": platform.platform(),
        "machine": platform.machine(),
        "implementation": platform.python_implementation(),
    }


def _of_app(app: Umbel) -> dict[str, Any]:
    changed = app.conf.changed()
    shown = {name: repr(masked(name, value)) for name, value in changed.items()}
    return {
        "app": {
            "broker": _place(app, app.broker_url),
            "results": _place(app, app.result_url) if app.result_url else "not kept",
            "tasks": len(app.tasks),
        },
        "changed settings": {
            name: f"{text} ({app.conf.origin(name).place})"
            for name, text in shown.items()
            if name in TABLE
        },
        "unknown settings": {name: text for name, text in shown.items() if name not in TABLE},
    }


def _place(app: Umbel, url: str) -> str:
    """Return a URL without its secrets, and whether there is an engine for it."""
    try:
        app.engine(url)
    except UmbelError as error:
        return f"{app.show_url(url)} ({error})"
    return app.show_url(url)
