"""Modules, and what is in them, by names as people write them: ``shop.settings``, ``shop.tasks:app``."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import Any

from umbel.exceptions import ImproperlyConfigured, ModuleMissing


def meant_by_file(name: str) -> str | None:
    """Return the name to write in place of a file's, ``shop/tasks.py``; None for what names no file."""
    module, colon, attribute = name.replace("\\", "/").partition(":")
    if "/" not in module and not module.startswith(".") and not module.endswith(".py"):
        return None
    return f"{module.removesuffix('.py').replace('/', '.').lstrip('.')}{colon}{attribute}"


def is_missing(error: ModuleNotFoundError, module: str) -> bool:
    """Tell whether a module, or its package, is what was not found, and not something that it imports."""
    missing = error.name or ""
    return module == missing or module.startswith(f"{missing}.")


def imported(module: str, named_by: str) -> ModuleType:
    """Return a module. Raises ModuleMissing, which says who named it, when there is none of the name."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if is_missing(error, module):
            raise ModuleMissing(f"{error.msg}; {named_by}.", name=error.name) from None
        raise


def named(path: str) -> Any:
    """Return what ``package.module:attribute`` or ``package.module.attribute`` names."""
    module, colon, attribute = path.partition(":")
    if not colon:
        module, _, attribute = path.rpartition(".")
    try:
        found: Any = import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise ImproperlyConfigured(f"There is no {path!r}: {error}") from error
    return found
