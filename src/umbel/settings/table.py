"""The table of all settings, and `Settings`, the values in force at one moment."""

from __future__ import annotations

import types
from collections.abc import Mapping
from datetime import UTC, tzinfo
from typing import Any, NoReturn
from zoneinfo import ZoneInfo

from umbel.clock import SYSTEM_ZONE
from umbel.nearest import nearest
from umbel.settings import brokers, elsewhere, messages, results, tasks, workers
from umbel.settings.declare import Declared


class Settings(
    brokers.Brokers,
    brokers.Sqlite,
    brokers.Redis,
    messages.Messages,
    messages.Modules,
    messages.Queues,
    tasks.Tasks,
    results.Results,
    results.Database,
    workers.Workers,
    workers.Leases,
    workers.Probes,
    workers.Logs,
    workers.Daemons,
    workers.Beat,
    workers.Monitoring,
    workers.Security,
    workers.Strictness,
    elsewhere.Elsewhere,
):
    """The settings in force at one moment: a value, which no later write changes."""

    def __init__(self, values: Mapping[str, Any] | None = None) -> None:
        defaults = {name: row.fresh_default() for name, row in TABLE.items()}
        self.__dict__.update(defaults, **(values or {}))

    def replaced(self, name: str, value: Any) -> Settings:
        """Return these settings with another value for one of them."""
        changed = object.__new__(Settings)
        changed.__dict__.update(self.__dict__)
        changed.__dict__[name] = value
        return changed

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise AttributeError(f"A snapshot of the settings does not change; set app.conf.{name}.")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"A snapshot of the settings does not change; set app.conf.{name}.")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Settings) and self.__dict__ == other.__dict__

    __hash__ = None  # type: ignore[assignment]


TABLE: Mapping[str, Declared] = types.MappingProxyType(
    {
        name: row
        for group in Settings.__bases__
        for name, row in vars(group).items()
        if isinstance(row, Declared)
    }
)
_OLD_NAMES = {row.old_name: row.name for row in TABLE.values() if row.old_name}
#: How names in upper case begin that a project has for itself: ``REDIS_HOST``, ``DATA_DIR``.
PROJECTS_OWN = frozenset(
    {
        *("ARANGODB", "CACHE", "COUCHBASE", "DATA", "DATABASE", "ELASTICSEARCH", "EVENT", "EVENTS"),
        *("GCS", "MESSAGE", "MONGODB", "REDIS", "S3", "SECURITY"),
    }
)
#: How settings' names in upper case begin, up to the first underscore.
PREFIXES = (
    frozenset(name.partition("_")[0] for name in (*_OLD_NAMES, *map(str.upper, TABLE)))
    - PROJECTS_OWN
)


def spelling(name: str) -> str | None:
    """Return the declared name meant by `name` in any of its spellings, or None."""
    if name in TABLE:
        return name
    found = _OLD_NAMES.get(name)
    if found is not None:
        return found
    lower = name.lower()
    return lower if name.isupper() and lower in TABLE else None


def unrelated(name: str) -> bool:
    """Tell whether a name in upper case is not one of ours, nor begins like one: ``SECRET_KEY``."""
    if not name.isupper() or name in _OLD_NAMES:
        return False
    return name.partition("_")[0] not in PREFIXES


def near_miss(name: str) -> str | None:
    """Return the setting that a name misses by up to two letters, or None."""
    return nearest(name.lower(), TABLE) or nearest(name.upper(), _OLD_NAMES)


def zone(settings: Settings) -> tzinfo:
    """Return the app's time zone."""
    if settings.timezone:
        return ZoneInfo(settings.timezone)
    return UTC if settings.enable_utc else SYSTEM_ZONE
