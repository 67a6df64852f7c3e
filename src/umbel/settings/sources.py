"""Where settings come from: modules, objects, mappings and words of a command line."""

from __future__ import annotations

import inspect
import json
import logging
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from umbel.dotted import imported, meant_by_file
from umbel.exceptions import ImproperlyConfigured, ModuleMissing
from umbel.masking import masked, masked_url
from umbel.settings.declare import to_bool
from umbel.settings.table import PROJECTS_OWN, TABLE, near_miss, spelling, unrelated

logger = logging.getLogger("umbel")


@dataclass(frozen=True, slots=True)
class Found:
    """Settings, and the name of the place where they were found."""

    place: str
    values: Mapping[str, Any]


class StillImported(Exception):
    """The module of settings has not run to its end, so not all of it is there."""


def from_object(source: object, namespace: str | None = None) -> Found:
    """Return the settings of a module, given by name or itself, of another object or of a mapping.

    ``"settings"`` names a module, ``"proj:attribute"`` and ``"proj.attribute"`` something in one. With
    a `namespace` only names that begin with it count: ``CELERY_TASK_ACKS_LATE`` for ``CELERY``.
    Raises ImportError when there is no such module, ImproperlyConfigured when there is nothing of
    that name in it, or when it says two things of one setting, and StillImported when it is read by
    what it imports itself.
    """
    place = _place(source)
    if isinstance(source, str):
        source = _named(source)
    prefix = f"{namespace.rstrip('_')}_" if namespace else ""
    return Found(place, _values(source, prefix, place))


def _place(source: object) -> str:
    if isinstance(source, str):
        return source
    if isinstance(source, Mapping):
        return "a mapping"
    return getattr(source, "__name__", None) or f"an object of the class {type(source).__name__}"


def _named(name: str) -> object:
    meant = meant_by_file(name)
    if meant is not None:
        raise ImproperlyConfigured(
            f"{name!r} names a file, not a module. Name it as an import does: {meant!r}."
        )
    module, colon, attribute = name.partition(":")
    use = f"the settings {name!r} were to be read from there"
    if colon:
        found: object = imported(module, use)
    else:
        found, module, attribute = _module_or_attribute(name, use)
    if getattr(getattr(found, "__spec__", None), "_initializing", False):
        raise StillImported
    for part in attribute.split(".") if attribute else ():
        try:
            found = getattr(found, part)
        except AttributeError:
            raise ImproperlyConfigured(
                f"The settings {name!r} were not found: {module} has no {attribute!r}."
            ) from None
    return found


def _module_or_attribute(name: str, use: str) -> tuple[object, str, str]:
    """Return a module, its name and the rest of a dotted name, which may be its attribute."""
    try:
        return imported(name, use), name, ""
    except ModuleMissing as error:
        parent, _, attribute = name.rpartition(".")
        if error.name != name or not parent:
            raise
        return imported(parent, use), parent, attribute


def _values(source: Any, prefix: str, place: str) -> dict[str, Any]:
    """Return the settings that an object or a mapping holds, without the prefix of their names.

    Names with a leading underscore are none, nor are an object's modules, classes and functions
    under names that no setting has: those were imported, or serve to compute the settings.
    """
    mapping = isinstance(source, Mapping)
    read: Callable[[str], Any] = source.__getitem__ if mapping else partial(getattr, source)
    found: dict[str, Any] = {}
    written_as: dict[str, str] = {}
    for written in source if mapping else dir(source):
        if not isinstance(written, str) or written.startswith("_"):
            continue
        name = _with_prefix(written, prefix) if prefix else _without_prefix(written, place)
        if name is None:
            continue
        value, known = read(written), spelling(name)
        if known is None and not mapping and _is_helper(value):
            continue
        other = written_as.setdefault(known or name, written)
        if other != written and read(other) != value:
            values = f"{masked(other, read(other))!r} and {masked(written, value)!r}"
            raise ImproperlyConfigured(
                f"{place} sets {other} and {written}, two names of the setting {known}, to {values}."
                " Keep one of them."
            )
        found[name] = value
    # Django's own time zone counts where none is set for tasks, as in Celery.
    zone = source.get("TIME_ZONE") if mapping else getattr(source, "TIME_ZONE", None)
    return found if "timezone" in written_as or zone is None else found | {"timezone": zone}


def _is_helper(value: object) -> bool:
    return inspect.ismodule(value) or inspect.isclass(value) or inspect.isroutine(value)


def _with_prefix(written: str, prefix: str) -> str | None:
    """Return the setting's name that a name of a namespace means, or None if it is of another."""
    if not written.startswith(prefix):
        return None
    if spelling(written):  # an old name: CELERY_ACKS_LATE
        return written
    name = written.removeprefix(prefix).lower()
    slip_of_old_name = spelling(name) is None and near_miss(name) is None and near_miss(written)
    return written if slip_of_old_name else name


def _without_prefix(written: str, place: str) -> str | None:
    """Return the setting's name that a name of a settings module means, or None if it means none.

    Such a module is full of names that are not for us. Those in lower case count, and those in upper
    case that begin like ours. The others are kept for plugins, unless they could be taken for ours.
    """
    if unrelated(written):
        first = written.partition("_")[0]
        near = near_miss(written)
        if near and first not in PROJECTS_OWN and written not in DJANGOS:
            logger.warning(
                "%s sets %s, which umbel does not know. Did you mean %s?", place, written, near
            )
        return None if spelling(written) else written
    first, _, rest = written.partition("_")
    if written.isupper() and spelling(written) is None and rest.lower() in TABLE:
        logger.warning(
            "%s sets %s, which means nothing unless the settings are read with namespace=%r. Without it the"
            " setting is called %s.",
            place,
            written,
            first,
            rest.lower(),
        )
        return None
    return written


#: Django's settings that look like slips of ours.
DJANGOS = ("TIME_ZONE", "STATIC_URL")

_CAST = re.compile(r"\((\w+)\)")
_CASTS: Mapping[str, Callable[[str], Any]] = {
    "json": json.loads,
    "string": str,
    "str": str,
    "int": int,
    "float": float,
    "bool": to_bool,
    "tuple": lambda text: tuple(json.loads(text)),
    "list": lambda text: list(json.loads(text)),
    "dict": lambda text: dict(json.loads(text)),
}


def from_words(words: Iterable[str]) -> dict[str, Any]:
    """Return the settings of ``name=value`` and ``name=(type)value`` on a command line.

    A dot in the name stands for an underscore. Raises ImproperlyConfigured for anything else.
    """
    values: dict[str, Any] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise ImproperlyConfigured(
                f"{masked_url(word)!r} is no setting: write name=value or, with a type, name=(json)value."
            )
        name = name.strip().lower().replace(".", "_").lstrip("_")
        found = _CAST.match(value)
        values[name] = _cast(name, found[1], value[found.end() :]) if found else value
    return values


def _cast(name: str, kind: str, value: str) -> Any:
    if kind not in _CASTS:
        raise ImproperlyConfigured(
            f"{name} is given the type {kind!r}, which is not known. Use one of {', '.join(_CASTS)}."
        )
    try:
        return _CASTS[kind](value)
    except (TypeError, ValueError) as error:
        reason = f" ({error})" if isinstance(error, json.JSONDecodeError) else ""
        raise ImproperlyConfigured(
            f"{name} is {masked(name, value)!r}, which cannot be read as {kind}{reason}."
        ) from None
