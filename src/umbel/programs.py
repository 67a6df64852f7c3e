"""Commands that are started by the app itself, and what a bug report should contain."""

from __future__ import annotations

import os
import platform
import sqlite3
import sys
from collections.abc import Sequence
from importlib import import_module, metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from umbel import current
from umbel._version import __version__
from umbel.exceptions import UmbelError
from umbel.location import script_name
from umbel.masking import masked
from umbel.settings import TABLE

if TYPE_CHECKING:
    from umbel.app import Umbel

#: Packages whose versions matter when they are there.
PACKAGES = (
    *("click", "rich", "redis", "pika", "psycopg", "Django", "msgpack", "PyYAML"),
    *("zstandard", "cryptography", "celery", "kombu"),
)


def start(app: Umbel, argv: Sequence[str] | None = None) -> None:
    """Run the ``umbel`` command for this app: ``app.start(["queues"])``; ends with SystemExit.

    `argv` are the words after ``umbel``, those of this process by default. A worker's processes import the
    module that the app is in, so that must keep what it runs under ``if __name__ == "__main__":``.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if not {"-A", "--app"} & set(words) and not any(word.startswith("--app=") for word in words):
        words = ["-A", place_of(app), *words]
    # The command line imports the app, so it is found here and not above.
    import_module("umbel.cli").main(words)


def worker_main(app: Umbel, argv: Sequence[str] | None = None) -> None:
    """Run a worker of this app in this process: ``app.worker_main(["worker", "-l", "INFO"])``.

    Raises ValueError when the words do not name that command; ends as `start` does.
    """
    words = list(sys.argv if argv is None else argv)
    if "worker" not in words:
        raise ValueError(
            "The worker sub-command must be specified in argv.\n"
            "Use app.start() to programmatically start other commands."
        )
    start(app, words if argv is not None else words[1:])


def place_of(app: Umbel) -> str:
    """Return what ``-A`` has to say for this app, and let other processes find that."""
    module = sys.modules.get(app.module)
    name = (
        next((name for name, value in vars(module).items() if value is app), "") if module else ""
    )
    place = app.module
    if place == "__main__":
        place = script_name()
        file = getattr(module, "__file__", None)
        directory = str(Path(file).absolute().parent) if file else os.getcwd()
        if directory != os.getcwd() and getattr(module, "__spec__", None) is None:
            paths = [directory, *filter(None, [os.environ.get("PYTHONPATH")])]
            os.environ["PYTHONPATH"] = os.pathsep.join(paths)
    return f"{place}:{name}" if name else place


# Reports


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
