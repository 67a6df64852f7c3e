"""What Django's checks find: ``manage.py check``, and each start of ``manage.py runserver``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning

from umbel.app import Umbel
from umbel.contrib.django.finding import project_apps
from umbel.exceptions import ImproperlyConfigured
from umbel.settings import spelling

#: How the names of the project's settings for us begin.
NAMESPACES = ("CELERY", "UMBEL")
#: How old names of Celery's settings begin that are nobody else's.
OLD_BEGINNINGS = ("BROKER_", "CELERYD_", "CELERYBEAT_")


def check_umbel(app_configs: Any, **_: Any) -> list[CheckMessage]:
    """Return what is wrong with the settings of the project's apps; nothing is connected to or made."""
    found = project_apps()
    messages = [message for place, app in found.items() for message in _problems(place, app)]
    apps = [*found.values()]
    return messages or [*_unread(apps), *_without_prefix(apps)]


def _problems(place: str, app: Umbel) -> Iterator[CheckMessage]:
    where = f"the app {place}"
    try:
        app.conf.finalize()
    except (ImproperlyConfigured, ImportError) as error:
        yield Error(f"The settings of {where} are wrong. {error}", id="umbel.E001")
        return
    for setting, url in (("broker_url", app.broker_url), ("result_backend", app.result_url)):
        problem = _problem(app, url) if url else None
        if problem:
            yield Error(f"{setting} of {where} cannot be used. {problem}", id="umbel.E002")


def _problem(app: Umbel, url: str) -> str | None:
    """Return why a URL cannot be used: nobody serves it, or its place is none to write to."""
    try:
        engine = app.new_engine(url)
    except ImproperlyConfigured as error:
        return str(error)
    try:
        return engine.problem()
    finally:
        engine.close()


def _unread(apps: list[Umbel]) -> Iterator[CheckMessage]:
    """Yield a warning for each namespace whose settings no app has read."""
    for namespace in NAMESPACES:
        prefix = f"{namespace}_"
        names = [name for name in dir(settings) if name.startswith(prefix)]
        known = {name: found for name in names if (found := _spelling(name, prefix))}
        if known and not any(_has_read(app, setting) for app in apps for setting in known.values()):
            name = min(known)
            yield Warning(
                f"The settings have {name}, and no app reads it.",
                hint=f'Let it: app.config_from_object("django.conf:settings", namespace="{namespace}")',
                id="umbel.W001",
            )


def _without_prefix(apps: list[Umbel]) -> Iterator[CheckMessage]:
    """Yield a warning of settings under Celery's old names, where all apps read others."""
    spaces = [app.namespace for app in apps if app.namespace]
    if not spaces or len(spaces) < len(apps):
        return
    for name in dir(settings):
        known = name.startswith(OLD_BEGINNINGS) and spelling(name)
        if known and not any(_has_read(app, known) for app in apps):
            yield Warning(
                f"The settings have {name}, and no app reads it: it has no {spaces[0]}_ before it.",
                hint=f"Name it {spaces[0]}_{known.upper()}.",
                id="umbel.W002",
            )


def _spelling(name: str, prefix: str) -> str | None:
    return spelling(name) or spelling(name.removeprefix(prefix).lower())


def _has_read(app: Umbel, setting: str) -> bool:
    return app.conf.origin(setting).place != "default"
