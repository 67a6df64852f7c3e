"""Which class a ``result_backend`` names that is no URL of an engine.

As in Celery: a name of the entry-point group ``celery.result_backends`` (``django-db``), one of the setting
``override_backends`` or of the app's loader's, or where a class is (``shop.results:Backend``). The rest of
``name+url`` and of ``name://place`` is for the class.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from importlib.metadata import entry_points
from typing import Any

from umbel.backends.interface import Backend
from umbel.backends.store import BackendEngine
from umbel.dotted import named
from umbel.exceptions import ImproperlyConfigured

GROUP = "celery.result_backends"
#: Celery's own names of backends that are here, too: ``db+postgresql://…``, and ``database``.
_OWN = dict.fromkeys(("db", "database"), "umbel.backends.tables:DatabaseBackend")


def other_stores(app: Any) -> Callable[[str], BackendEngine | None]:
    """Return what makes an engine of what a setting of this app names; see `engine_of`."""
    return partial(engine_of, app)


def engine_of(app: Any, url: str) -> BackendEngine | None:
    """Return the engine of a class that a setting names; None where it names none.

    Raises ImproperlyConfigured for a class that is not there, or is no backend.
    """
    name, address = _parts(url)
    kind = _class(app, name)
    if kind is None:
        return None
    if not (inspect.isclass(kind) and issubclass(kind, Backend)):
        raise ImproperlyConfigured(
            f"result_backend is {name!r}, which is {kind!r} and no subclass of"
            " umbel.backends.base.Backend (celery.backends.base)."
        )
    return BackendEngine(kind, app, url, address)


def _parts(url: str) -> tuple[str, str | None]:
    """Return name and address: ``name+url`` has the URL's, ``name://place`` is one itself."""
    scheme, slashes, _ = url.partition("://")
    if not slashes:
        return url, None
    name, plus, _ = scheme.partition("+")
    return (name, url[len(name) + 1 :]) if plus else (scheme, url)


def _class(app: Any, name: str) -> Any:
    for entry in entry_points(group=GROUP, name=name):
        try:
            return entry.load()
        except (ImportError, AttributeError) as error:
            raise ImproperlyConfigured(
                f"result_backend is {name!r}, the {entry.value} of an installed package, which cannot be"
                f" imported: {error}"
            ) from error
    loaded = getattr(getattr(app, "loader", None), "override_backends", None) or {}
    path = {**_OWN, **app.conf.snapshot.override_backends, **loaded}.get(name, name)
    if not isinstance(path, str):
        return path
    return named(path) if "." in path or ":" in path else None
