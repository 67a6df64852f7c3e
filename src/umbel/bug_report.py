"""What a bug report should contain: ``app.bugreport()`` and ``umbel report``."""

from __future__ import annotations

import platform
import sqlite3
from importlib import metadata
from typing import TYPE_CHECKING, Any

from umbel import beside, current, hooks
from umbel._version import __version__
from umbel.exceptions import UmbelError
from umbel.masking import masked
from umbel.settings import TABLE

if TYPE_CHECKING:
    from umbel.app import Umbel

#: Packages whose versions matter when they are there.
PACKAGES = (
    *("click", "rich", "redis", "amqp", "psycopg", "Django", "msgpack", "PyYAML"),
    *("zstandard", "cryptography"),
)


def bugreport(app: Umbel | None = None) -> str:
    """Return what a bug report should contain, of this app or the current one; secrets are masked."""
    app = app or current.current_app_or_none()
    return "\n".join(lines(facts(app)))


def facts(app: Umbel | None) -> dict[str, dict[str, Any]]:
    """Return versions, the platform and, with an app, its tasks and the settings that were changed."""
    return {
        "software": _software(),
        "platform": _platform(),
        **({} if app is None else _of_app(app)),
    }


def lines(report: dict[str, dict[str, Any]]) -> list[str]:
    """Return a report as lines for people."""
    return [
        line
        for title, found in report.items()
        if found
        for line in (f"{title}:", *(f"  {name}: {text}" for name, text in found.items()))
    ]


def _software() -> dict[str, str]:
    found = {"umbel": __version__, "Python": platform.python_version()}
    found["SQLite"] = sqlite3.sqlite_version
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found | beside.facts()


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
        "replaced by other packages": dict(hooks.replaced()),
    }


def _place(app: Umbel, url: str) -> str:
    """Return a URL without its secrets, and whether there is an engine for it."""
    try:
        app.engine(url)
    except UmbelError as error:
        return f"{app.show_url(url)} ({error})"
    return app.show_url(url)
