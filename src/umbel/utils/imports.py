"""What Celery has in ``celery.utils.imports``: objects by the names that settings have for them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any

__all__ = ["cwd_in_path", "import_from_cwd", "instantiate", "qualname", "symbol_by_name"]


def qualname(obj: Any) -> str:
    """Return the name of a class, or of an object's class, with its module."""
    kind = obj if hasattr(obj, "__name__") else type(obj)
    return f"{kind.__module__}.{kind.__qualname__}"


def symbol_by_name(
    name: Any,
    aliases: Mapping[str, Any] | None = None,
    imp: Callable[..., ModuleType] | None = None,
    package: str | None = None,
    sep: str = ".",
    default: Any = None,
    **kwargs: Any,
) -> Any:
    """Return what ``package.module:attribute`` or ``package.module.attribute`` names; no text, as it is.

    With a default, that is returned for what cannot be imported. `aliases` are short names.
    """
    if not isinstance(name, str):
        return name
    full = (aliases or {}).get(name) or name
    mark = ":" if ":" in full else sep
    module, _, attribute = full.rpartition(mark)
    module, attribute = (module, attribute) if module else (attribute, "")
    try:
        found: Any = (imp or import_module)(module or package or "", package=package, **kwargs)
        return getattr(found, attribute) if attribute else found
    except (ImportError, AttributeError):
        if default is None:
            raise
        return default


def instantiate(name: Any, *args: Any, **kwargs: Any) -> Any:
    """Return an instance of a class that is given by its name."""
    return symbol_by_name(name)(*args, **kwargs)


@contextmanager
def cwd_in_path() -> Iterator[None]:
    """Let modules in the working directory be imported."""
    here = os.getcwd()
    if here in sys.path:
        yield
        return
    sys.path.insert(0, here)
    try:
        yield
    finally:
        if here in sys.path:
            sys.path.remove(here)


def import_from_cwd(
    module: str, imp: Callable[..., ModuleType] | None = None, package: str | None = None
) -> ModuleType:
    """Return a module, which may stand in the working directory."""
    with cwd_in_path():
        return (imp or import_module)(module, package=package)
