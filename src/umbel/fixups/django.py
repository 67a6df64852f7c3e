"""Django: what an app does where ``DJANGO_SETTINGS_MODULE`` is set.

Django is imported when it is needed, and not when an app is made: it may be reading its settings then.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Coroutine
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from umbel import current, signals
from umbel.driving import drive_here
from umbel.exceptions import ImproperlyConfigured
from umbel.options import warn_once

if TYPE_CHECKING:
    from umbel.app import Umbel
    from umbel.fixups.connections import Connections

logger = logging.getLogger("umbel.django")

#: The class of a Django project's tasks, unless the app names its own.
TASK_CLASS = "umbel.contrib.django.task:DjangoTask"


#: Names the module of a project's settings, as Django has it.
VARIABLE = "DJANGO_SETTINGS_MODULE"


def fixup(app: Umbel, env: str = VARIABLE) -> DjangoFixup | None:
    """Integrate Django where the environment variable names its settings; else return None."""
    if not os.environ.get(env):
        return None
    if find_spec("django") is None:
        warn_once(f"The environment variable {env} is set, but Django is not installed.")
        return None
    return DjangoFixup(app).install()


class DjangoFixup:
    """The integration of Django into one app."""

    def __init__(self, app: Umbel) -> None:
        self._app = app
        self._in_worker = False
        self._connections: Connections | None = None

    def install(self) -> DjangoFixup:
        """Let the app find the project, make its tasks Django's, and hear what its workers do."""
        if os.getcwd() not in sys.path:
            sys.path.insert(0, os.getcwd())
        if not self._app.has_own_task_class:
            self._app.task_cls = TASK_CLASS
        if current.current_app_or_none() is None:
            current.set_default_app(self._app)
        signals.celeryd_init.connect(self._on_worker)
        signals.worker_process_init.connect(self._on_process)
        return self

    def autodiscover_tasks(self) -> list[str]:
        """Return the packages of INSTALLED_APPS."""
        configs: Any = _registry().get_app_configs()
        return [config.name for config in configs]

    def set_up(self) -> None:
        """Set Django up, unless it is. A worker also says what Django's checks find."""
        if not _registry().ready:
            _require_settings()
            import_module("django").setup()
            _let_loggers_speak()
        if self._in_worker and not os.environ.get("CELERY_SKIP_CHECKS"):
            _say_what_checks_find()

    def require_ready(self) -> None:
        """Raise ImproperlyConfigured where nobody has configured the app, and Django may be yet to do it."""
        if not _registry().ready and not self._app.conf.changed():
            raise ImproperlyConfigured(
                "Django is not set up, and this app has no settings yet: what gives it some may be an"
                " AppConfig.ready(). Call django.setup() first, or run the program by manage.py."
            )
        import_module("django.core.signals").setting_changed.connect(self._on_setting_changed)

    def drive(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine to its end where it is called: its queries on this thread, in its transaction."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return import_module("asgiref.sync").async_to_sync(_awaited)(coroutine)
        return drive_here(coroutine)

    def _on_setting_changed(self, **_: Any) -> None:
        """Follow ``override_settings`` in tests."""
        self._app.conf.reread()

    def _on_worker(self, instance: Any, **_: Any) -> None:
        """Be in a process of a worker that imports the app."""
        if instance.app is not self._app:
            return
        self._in_worker = True
        # What was opened while modules were imported is of no use here, and must not be shared by a fork.
        self._app.on_after_finalize.connect(self._close_connections)
        signals.worker_before_create_process.connect(self._close_connections)

    def _close_connections(self, **_: Any) -> None:
        from umbel.fixups.connections import close_all, close_pools  # noqa: PLC0415 - needs Django

        close_all()
        close_pools()

    def _on_process(self, **_: Any) -> None:
        """Be in a process that runs tasks."""
        if current.current_app_or_none() is not self._app or self._connections is not None:
            return
        from umbel.fixups.connections import Connections  # noqa: PLC0415 - needs Django

        self._connections = Connections(self._app.conf.snapshot.db_reuse_max)
        self._connections.look_after()


async def _awaited(coroutine: Coroutine[Any, Any, Any]) -> Any:
    return await coroutine


def _registry() -> Any:
    return import_module("django.apps").apps


def _require_settings() -> None:
    """Raise ImproperlyConfigured where the module of the settings is not there."""
    name = os.environ.get(VARIABLE, "")
    if import_module("django.conf").settings.configured:
        return
    try:
        import_module(name)
    except ModuleNotFoundError as error:
        if not f"{name}.".startswith(f"{error.name}."):
            raise  # the settings are there, and import something else
        raise ImproperlyConfigured(
            f"{VARIABLE} is {name!r}, and there is no module {error.name!r}. It is looked for in"
            f" {os.getcwd()} and where Python finds packages."
        ) from error


def _let_loggers_speak() -> None:
    """Undo what LOGGING does to all loggers that it does not name, but for ``disable_existing_loggers``."""
    for name, found in list(logging.getLogger().manager.loggerDict.items()):
        if name.partition(".")[0] == "umbel" and isinstance(found, logging.Logger):
            found.disabled = False


def _say_what_checks_find() -> None:
    checks = import_module("django.core.checks")
    for message in checks.run_checks():
        # What is wrong with our own settings, the worker says itself when it uses them.
        ours = str(message.id).startswith("umbel.E")
        if message.level >= checks.WARNING and not message.is_silenced() and not ours:
            logger.warning("A check of Django's found: %s", message)
