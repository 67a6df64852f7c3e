"""From a URL to an engine: the one place that imports engines, each when it is first asked for."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from umbel.exceptions import ImproperlyConfigured
from umbel.ports import Engine, EngineOptions

#: Schemes of our own engines; others come from the entry-point group ``umbel.engines``.
_REDIS = ("redis", "rediss", "redis+socket", "unix", "sentinel", "valkey", "valkeys")
_BUILT_IN = {
    "memory": "umbel.engines.memory",
    "cache+memory": "umbel.engines.memory",  # the result store that Celery's tests name
    "sqlite": "umbel.engines.sqlite",
    **dict.fromkeys(_REDIS, "umbel.engines.redis"),
    **dict.fromkeys(("postgresql", "postgres"), "umbel.engines.postgres"),
    **dict.fromkeys(("amqp", "amqps", "pyamqp"), "umbel.engines.rabbitmq"),
}
#: Libraries that engines need, and the extra that brings them.
_NEEDS = {"redis": "redis", "psycopg": "postgres", "amqp": "rabbitmq"}
#: Names of result stores that packages bring, for an error that names the package.
_PACKAGES: Mapping[str, str] = {
    "django-db": "django-celery-results",
    "django-cache": "django-celery-results",
}


def open_engine(url: str, options: EngineOptions | None = None) -> Engine:
    """Return the engine behind a URL; nothing is opened until a port is used.

    Raises ImproperlyConfigured for a scheme that nobody serves, and where a library is missing.
    """
    scheme = url.partition(":")[0].lower()
    factory = _factory(scheme)
    if factory is None and "://" not in url:
        package = _PACKAGES.get(scheme)
        raise ImproperlyConfigured(
            f"{scheme!r} is neither a URL, such as redis://localhost, nor the name of a result store that an"
            " installed package declares." + (f" Run: pip install {package}" if package else "")
        )
    if factory is None:
        known = ", ".join(f"{name}://" for name in sorted(_BUILT_IN))
        raise ImproperlyConfigured(
            f"No engine serves URLs that begin with {scheme!r}. This umbel has {known}."
        )
    engine: Engine = factory(url, options or {})
    return engine


def is_served(url: str) -> bool:
    """Tell whether there is an engine for what is a URL, or a scheme alone."""
    scheme, _, rest = url.partition(":")
    return (not rest or rest.startswith("//")) and _factory(scheme.lower()) is not None


def _factory(scheme: str) -> Any:
    if scheme in _BUILT_IN:
        return _built_in(scheme)
    from importlib.metadata import entry_points  # noqa: PLC0415 - slow to import, and rarely needed

    for entry in entry_points(group="umbel.engines", name=scheme):
        return entry.load()
    return None


def _built_in(scheme: str) -> Any:
    try:
        return import_module(_BUILT_IN[scheme]).ENGINE
    except ModuleNotFoundError as error:
        extra = _NEEDS.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        raise ImproperlyConfigured(
            f"{scheme}:// needs the library {error.name}, which is not installed."
            f" Run: pip install 'umbel[{extra}]'"
        ) from error
