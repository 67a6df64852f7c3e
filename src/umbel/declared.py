"""What installed packages declare for Celery by entry points, and umbel honours.

https://packaging.python.org/en/latest/specifications/entry-points/. Serializers are looked up in
serialization.py, result backends in backends/names.py, and engines, which are umbel's own kind, in engines/.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from umbel.exceptions import ImproperlyConfigured

SCHEDULERS = "celery.beat_schedulers"
COMMANDS = "celery.commands"


def scheduler(name: str) -> Any | None:
    """Return the class that ``beat_scheduler`` names, such as ``django``; None if nobody declares it.

    Raises ImproperlyConfigured when it cannot be loaded.
    """
    return _declared(SCHEDULERS, name)


def commands() -> Iterator[EntryPoint]:
    """Yield what packages declare as commands of the command line; `load` gives each."""
    yield from sorted(entry_points(group=COMMANDS), key=lambda entry: entry.name)


def load(entry: EntryPoint) -> Any:
    """Return what an entry point stands for. Raises ImproperlyConfigured when it cannot be loaded."""
    try:
        return entry.load()
    except Exception as error:
        package = entry.dist.name if entry.dist else "an installed package"
        raise ImproperlyConfigured(
            f"{package} declares {entry.name!r} as one of {entry.group}, but {entry.value} cannot be loaded:"
            f" {error!r}"
        ) from error


def _declared(group: str, name: str) -> Any | None:
    for entry in entry_points(group=group, name=name):
        return load(entry)
    return None
