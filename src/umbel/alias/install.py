"""Let ``celery``, ``kombu`` and ``billiard`` mean umbel, in this process and a worker's others."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable
from functools import partial
from importlib import import_module
from types import ModuleType
from typing import Any

from umbel.alias.finder import FINDER
from umbel.beside import NAMES, is_marked, real_on_path
from umbel.exceptions import ImproperlyConfigured, UmbelWarning

#: Set in the environment by `install_as_celery`, so that processes that import umbel do it, too.
#: Set by hand, it lets a project run unchanged: ``UMBEL_AS_CELERY=1 umbel -A proj worker``.
VARIABLE = "UMBEL_AS_CELERY"
#: Its value where a process above has warned of real Celery already.
_TOLD = "told"


def install_as_celery() -> None:
    """Let ``import celery`` give umbel, and so for ``kombu`` and ``billiard``; repeated calls do no harm.

    Call it before anything imports one of them, in the module that ``-A`` names or in its package. Where
    Celery is installed too, it warns: umbel is what this process gets. Raises ImproperlyConfigured when
    Celery's own modules are imported already: what holds them would go on using them.
    """
    if FINDER in sys.meta_path:
        return
    foreign = _imported_already()
    if foreign:
        raise ImproperlyConfigured(
            f"{' and '.join(foreign)} of Celery's own {'is' if len(foreign) == 1 else 'are'} imported"
            f" already, from {sys.modules[foreign[0]].__file__}. Call umbel.install_as_celery() before the"
            " first import of celery, kombu or billiard, or uninstall Celery."
        )
    _warn_of_real()
    _put_in_place()
    os.environ[VARIABLE] = _TOLD


def install_if_told() -> None:
    """Do it where the environment says so, and Celery's own modules are not in use in this process."""
    if not os.environ.get(VARIABLE) or FINDER in sys.meta_path:
        return
    foreign = _imported_already()
    if foreign:
        warnings.warn(
            f"The environment variable {VARIABLE} is set, but Celery's own {' and '.join(foreign)} was"
            " imported before umbel, and stays in this process.",
            UmbelWarning,
            stacklevel=3,
        )
        return
    install_as_celery()


def take_the_place_of(name: str) -> Callable[[str], Any]:
    """Let a module that is being imported be umbel's: for the packages of umbel-as-celery.

    What comes back is to be its ``__getattr__``: a thread that waited for this import may be given the module
    that was there before. What such a thread sets there, a patch, is set on umbel's. Nothing is said of real
    Celery here: who installed umbel-as-celery wants umbel.
    Raises NoSuchModule for a row of the table whose module umbel does not have yet.
    """
    _put_in_place()
    module = import_module(FINDER.target_of(name).name)
    before = sys.modules.get(name)
    if before is not None and before is not module:
        before.__class__ = _passing_on_to(module)
    sys.modules[name] = module
    return partial(getattr, module)


def _passing_on_to(target: ModuleType) -> type[ModuleType]:
    """Return a class of modules that set and delete nothing of their own, but on another module."""

    class Passing(ModuleType):
        def __setattr__(self, name: str, value: object) -> None:
            # What Python itself notes about a module that it imports stays with that.
            notes = name.startswith("__")
            super().__setattr__(name, value) if notes else setattr(target, name, value)

        def __delattr__(self, name: str) -> None:
            delattr(target, name)

    return Passing


def _put_in_place() -> None:
    if FINDER not in sys.meta_path:
        sys.meta_path.insert(0, FINDER)


def _imported_already() -> list[str]:
    """Return which of the names are taken by modules that are not umbel's."""
    return [
        name
        for name in NAMES
        if (module := sys.modules.get(name)) is not None
        and not module.__name__.startswith("umbel.")
        and not is_marked(getattr(module, "__file__", None))
    ]


def _warn_of_real() -> None:
    if os.environ.get(VARIABLE) == _TOLD:
        return
    real = real_on_path()
    if real:
        verb = "is" if len(real) == 1 else "are"
        warnings.warn(
            f"{' and '.join(real)} of Celery's own {verb} installed, too. In this process, and in the"
            " worker's others, umbel takes their place. Uninstall them if nothing else needs them.",
            UmbelWarning,
            stacklevel=3,
        )
