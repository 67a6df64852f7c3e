"""Tasks that are found by the names of packages: ``app.autodiscover_tasks``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING, Any

from umbel import signals
from umbel.dotted import imported
from umbel.options import warn_once

if TYPE_CHECKING:
    from umbel.app import Umbel

Packages = Iterable[str] | Callable[[], Iterable[str]] | None


def autodiscover_tasks(
    app: Umbel, packages: Packages = None, related_name: str | None = "tasks", force: bool = False
) -> list[ModuleType] | None:
    """Import the module ``tasks`` of each package that has one, when a worker imports its modules.

    `packages` is a list, or a function that returns it then; by default it is INSTALLED_APPS, in a Django
    project. `related_name` is the module's name; None is the
    package itself. With `force` that happens now, and the modules are returned. Errors within a module are
    raised, and so is ImportError for a package that there is not. Raises TypeError for a single name.
    """
    _refuse_text(packages)
    if force:
        return discover(app, packages, related_name)

    def receiver(**_: Any) -> None:
        discover(app, packages, related_name)

    signals.import_modules.connect(receiver, sender=app, weak=False)
    return None


def discover(
    app: Umbel, packages: Packages, related_name: str | None = "tasks"
) -> list[ModuleType]:
    """Import the related module of each package that has one; return these modules."""
    if packages is None:
        packages = _from_frameworks(app)
    names = packages() if callable(packages) else packages
    _refuse_text(names)
    found = (_related(name, related_name) for name in names)
    return [module for module in found if module is not None]


def _from_frameworks(app: Umbel) -> list[str]:
    """Return the packages that a framework knows of, for who names none."""
    names = app.integrations.packages()
    if names is None:
        warn_once(
            "autodiscover_tasks() was given no packages, and there is no Django project to ask for them:"
            " DJANGO_SETTINGS_MODULE was not set when the app was made. Set it before, or name the packages:"
            " app.autodiscover_tasks(['shop', 'blog'])."
        )
    return names or []


def _refuse_text(packages: Packages) -> None:
    """Raise TypeError for a text, which would be taken for a list of its letters."""
    if isinstance(packages, str):
        raise TypeError(
            f"autodiscover_tasks takes a list of packages, not the text {packages!r}. Give a list:"
            f" [{packages!r}]."
        )


def _related(package: str, name: str | None) -> ModuleType | None:
    """Return a module of a package, or of the one that a class such as Django's AppConfig is in."""
    try:
        module = import_module(package)
    except ModuleNotFoundError as error:
        package, _, last = package.rpartition(".")
        if not package or error.name not in (f"{package}.{last}", package):
            raise
        module = import_module(package)
        if not hasattr(module, last):
            raise
        # The class is in a module of the package: ``blog.apps.BlogConfig``.
        package = package.rpartition(".")[0] if not hasattr(module, "__path__") else package
    if not name:
        return module
    place = f"{package}.{name}"
    try:
        spec = find_spec(place)
    except ModuleNotFoundError:
        return None  # what is no package has no modules
    return None if spec is None else import_module(place)


def import_modules(app: Umbel) -> None:
    """Import the modules of the settings ``imports`` and ``include``.

    Frameworks are set up before. Raises ModuleMissing for a module that is not there.
    """
    app.integrations.set_up()
    for _, answer in signals.import_modules.send(app):
        if isinstance(answer, Exception):
            raise answer
    settings = app.conf.snapshot
    for name in ("imports", "include"):
        for module in getattr(settings, name):
            imported(module, f"the setting {name} has {module!r}")


class Loader:
    """``app.loader``: the part of Celery's loaders that packages call to have an app's tasks imported."""

    def __init__(self, app: Umbel) -> None:
        self._app = app

    def import_default_modules(self) -> None:
        """Import what a worker imports when it starts; see ``app.import_modules``."""
        import_modules(self._app)

    def import_task_module(self, module: str) -> ModuleType:
        """Import a module and return it."""
        return import_module(module)
