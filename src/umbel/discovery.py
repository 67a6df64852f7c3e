"""Tasks that are found by the names of packages: ``app.autodiscover_tasks``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING, Any

from umbel import signals
from umbel.options import warn_once

if TYPE_CHECKING:
    from umbel.app import Umbel

Packages = Iterable[str] | Callable[[], Iterable[str]] | None


def autodiscover_tasks(
    app: Umbel, packages: Packages = None, related_name: str | None = "tasks", force: bool = False
) -> list[ModuleType] | None:
    """Import the module ``tasks`` of each package that has one, when a worker imports its modules.

    `packages` is a list, or a function that returns it then. `related_name` is the module's name; None is the
    package itself. With `force` that happens now, and the modules are returned. Errors within a module are
    raised, and so is ImportError for a package that there is not. Raises TypeError for a single name.
    """
    _refuse_text(packages)
    if force:
        return discover(packages, related_name)

    def receiver(**_: Any) -> None:
        discover(packages, related_name)

    signals.import_modules.connect(receiver, sender=app, weak=False)
    return None


def discover(packages: Packages, related_name: str | None = "tasks") -> list[ModuleType]:
    """Import the related module of each package that has one; return these modules."""
    if packages is None:
        warn_once(
            "autodiscover_tasks() without packages is for Django, which umbel does not look into yet: give"
            " it the packages, as in app.autodiscover_tasks(lambda: settings.INSTALLED_APPS)."
        )
    names = packages() if callable(packages) else packages or ()
    _refuse_text(names)
    found = (_related(name, related_name) for name in names)
    return [module for module in found if module is not None]


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
