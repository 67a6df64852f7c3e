"""Settings that an app is told to take from elsewhere: objects, modules, the environment, command lines."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from umbel.exceptions import ImproperlyConfigured
from umbel.settings import sources
from umbel.settings.config import COMMAND_LINE, Config, Origin, Rank


def load_object(
    conf: Config,
    source: object,
    *,
    namespace: str | None = None,
    silent: bool = False,
    force: bool = False,
) -> None:
    """Take settings from a module, by its name or itself, or from another object or a mapping.

    A module that is given by its name is imported when a setting is first read, or at once with
    `force`. Raises what `sources.from_object` does, but no ImportError if `silent`.
    """

    def load() -> bool:
        try:
            found = sources.from_object(source, namespace)
        except sources.StillImported:
            return False
        except ImportError:
            if not silent:
                raise
        else:
            conf.load(found.values, Origin(Rank.LOADED, found.place))
        return True

    conf.add_source(load)
    if (isinstance(source, str) and not force) or not load():
        conf.put_off(load)


def load_variable(
    conf: Config,
    variable: str,
    *,
    namespace: str | None = None,
    silent: bool = False,
    force: bool = False,
) -> None:
    """Take settings from the module that an environment variable names.

    Raises ImproperlyConfigured, unless `silent`, when the variable is not set.
    """
    module = os.environ.get(variable)
    if module:
        load_object(conf, module, namespace=namespace, silent=silent, force=force)
    elif not silent:
        raise ImproperlyConfigured(
            f"The environment variable {variable} is not set. It must name the module that holds the"
            " settings."
        )


def load_words(conf: Config, words: Iterable[str]) -> None:
    """Take settings from the words of a command line; see `sources.from_words`."""
    conf.load(sources.from_words(words), COMMAND_LINE)


def load_defaults(
    conf: Config, values: Mapping[str, Any] | Callable[[], Mapping[str, Any]]
) -> None:
    """Take defaults: a mapping, or what is called for one when settings are read."""
    if callable(values):
        make = values
        conf.put_off(lambda: conf.add_defaults(make()))
    else:
        conf.add_defaults(values)
