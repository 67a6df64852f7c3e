"""The umbel app of a Django project, found without being named."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

from django.apps import apps
from django.conf import settings

from umbel.app import Umbel
from umbel.exceptions import ImproperlyConfigured

#: Modules of a project's packages in which an app usually is.
USUAL = ("celery", "umbel", "taskapp", "taskapp.celery")


def project_place() -> str:
    """Return what ``-A`` says for the project's app. Raises ImproperlyConfigured where it is not clear.

    The setting UMBEL_APP, or the environment variable of that name, says where it is.
    """
    named = os.environ.get("UMBEL_APP") or getattr(settings, "UMBEL_APP", None)
    if named:
        return str(named)
    found = sorted(project_apps())
    if len(found) == 1:
        return found[0]
    if found:
        raise ImproperlyConfigured(
            f"This project has {len(found)} apps: {', '.join(found)}. Say which one is meant, by -A, or by"
            f" the setting UMBEL_APP = {found[0]!r}."
        )
    raise ImproperlyConfigured(
        "This project has no app. Make one in the module celery beside its settings (app = Umbel(…)), or name"
        " the module where it is by the setting UMBEL_APP. Looked into all modules that are imported, and:"
        f" {', '.join(_usual_modules())}."
    )


def project_apps() -> dict[str, Umbel]:
    """Return the apps that modules have by place, once those are imported in which they usually are."""
    for name in _usual_modules():
        if _is_there(name):
            import_module(name)
    places: dict[int, list[tuple[bool, int, str]]] = {}
    apps: dict[int, Umbel] = {}
    for name, module in sorted(sys.modules.items()):
        for attribute, app in _apps_in(module):
            apps[id(app)] = app
            # Its own module comes first, and then the nearest that has imported it.
            place = (name != app.module, len(name), f"{name}:{attribute}")
            places.setdefault(id(app), []).append(place)
    return {min(places[key])[-1]: app for key, app in apps.items()}


def _apps_in(module: object) -> Iterator[tuple[str, Umbel]]:
    """Yield the apps that a module has, with their names there."""
    if isinstance(module, ModuleType):
        for name, value in list(vars(module).items()):
            # Not `isinstance`, which asks what only stands for something else what that is.
            if issubclass(type(value), Umbel):
                yield name, value


def _usual_modules() -> list[str]:
    """Return the modules to look into: of the packages of settings and addresses, and of installed apps."""
    places = [str(getattr(settings, name, "")) for name in ("SETTINGS_MODULE", "ROOT_URLCONF")]
    packages = dict.fromkeys(package for place in places for package in _packages(place))
    ours = [config.name for config in apps.get_app_configs() if not _is_installed(config.path)]
    names = [f"{package}.{name}" for package in packages for name in USUAL]
    return [*names, *(f"{name}.celery" for name in ours)]


def _packages(module: str) -> list[str]:
    """Return the packages that a module is in, the inner ones first."""
    parts = module.split(".")[:-1]
    return [".".join(parts[:count]) for count in range(len(parts), 0, -1)]


def _is_installed(path: str) -> bool:
    return "site-packages" in path or "dist-packages" in path


def _is_there(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # its package is none
        return False
