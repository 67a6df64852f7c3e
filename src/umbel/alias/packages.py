"""What the packages ``celery``, ``celery.app`` and so on have as attributes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from umbel.absent import ABSENT_FROM, NotThereToImport
from umbel.alias.finder import FINDER
from umbel.alias.table import ELSEWHERE, TABLE


def attributes_of(
    package: str, own: Mapping[str, str] | None = None, head: str | None = None
) -> Callable[[str], Any]:
    """Return the ``__getattr__`` of a package by Celery's name for it.

    `own` says for names where in umbel they are, ``module:name``; `head` is the module that has all others,
    and whose table of missing names counts. Modules below are imported when they are asked for: so
    ``from celery import states`` works, which Python looks for below the name that the package has in umbel.
    Where the alias is not in place, real Celery may have the names: then they are imported by umbel's.
    """
    places = own or {}

    def getattr_of_package(name: str) -> Any:
        if name in places:
            module, _, attribute = places[name].partition(":")
            return getattr(import_module(module), attribute)
        if f"{package}.{name}" in TABLE:
            full = f"{package}.{name}"
            target = FINDER.target_of(full).name
            return import_module(full if FINDER in sys.meta_path else target)
        missing = ABSENT_FROM.get(head or "", {}).get(name) or ELSEWHERE.get(f"{package}.{name}")
        if missing is not None:
            raise NotThereToImport(f"{package}.{name} {missing}.", name=package)
        if head is not None and not name.startswith("__"):
            return getattr(import_module(head), name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return getattr_of_package
