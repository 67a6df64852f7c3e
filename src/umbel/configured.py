"""How an app takes settings: from objects, modules, the environment and command lines."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from umbel.exceptions import ImproperlyConfigured
from umbel.settings import COMMAND_LINE, Config, Origin, Rank, sources


class Configured:
    """What has settings, in `conf`. `namespace` is what their names begin with where nothing else is said."""

    conf: Config
    namespace: str | None

    def config_from_object(
        self,
        source: object,
        silent: bool = False,
        force: bool = False,
        namespace: str | None = None,
    ) -> None:
        """Take settings from a module, by its name or itself, or from another object or a mapping.

        ``"settings"`` names a module and ``"proj:attribute"`` something in one; it is imported when a
        setting is first read, or at once with `force`. With a `namespace` only names that begin with it
        count: ``CELERY_TASK_ACKS_LATE`` for ``CELERY``. What was given to the app where it was made
        stays. Raises ImproperlyConfigured for wrong settings, ImportError, unless `silent`, when
        there is no such module.
        """
        namespace = namespace or self.namespace

        def load() -> bool:
            try:
                found = sources.from_object(source, namespace)
            except sources.StillImported:
                return False
            except ImportError:
                if not silent:
                    raise
            else:
                self.conf.load(found.values, Origin(Rank.LOADED, found.place))
            return True

        if (isinstance(source, str) and not force) or not load():
            self.conf.put_off(load)

    def config_from_envvar(
        self, variable_name: str, silent: bool = False, force: bool = False
    ) -> None:
        """Take settings from the module that an environment variable names.

        Raises ImproperlyConfigured, unless `silent`, when the variable is not set.
        """
        module = os.environ.get(variable_name)
        if module:
            self.config_from_object(module, silent=silent, force=force)
        elif not silent:
            raise ImproperlyConfigured(
                f"The environment variable {variable_name} is not set. It must name the module that holds"
                " the settings."
            )

    def config_from_cmdline(self, argv: Iterable[str], namespace: str = "celery") -> None:
        """Take settings from words such as ``worker.concurrency=4`` and ``(json)`` values."""
        del namespace  # in Celery, the part before a name that begins with a dot
        self.conf.load(sources.from_words(argv), COMMAND_LINE)

    def add_defaults(self, values: Mapping[str, Any] | Callable[[], Mapping[str, Any]]) -> None:
        """Give defaults of one's own: a mapping, or what is called for one when settings are read."""
        if callable(values):
            make = values
            self.conf.put_off(lambda: self.conf.add_defaults(make()))
        else:
            self.conf.add_defaults(values)
