"""The setting ``task_annotations``: attributes of tasks, set from outside of the tasks' code."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from umbel.dotted import named
from umbel.exceptions import ImproperlyConfigured


def annotate(task: Any, annotations: Any) -> None:
    """Set what annotations have for a task on its class; functions become methods.

    They are a mapping of names (``"*"`` for all tasks) to mappings of attributes, an object with
    ``annotate(task)`` or ``annotate_any()`` that returns attributes, or a list of such. Of a list
    the first that says something about the task counts, then the first that says something about
    all. The key ``"@run"`` gives what wraps the method `run`.
    """
    for attributes in _found(task, _listed(annotations)):
        for name, value in attributes.items():
            if name.startswith("@"):
                _wrap(type(task), name[1:], value)
            else:
                setattr(type(task), name, value)


def _listed(annotations: Any) -> Sequence[Any]:
    if annotations is None:
        return ()
    entries = annotations if isinstance(annotations, list | tuple) else (annotations,)
    return [named(entry)() if isinstance(entry, str) else entry for entry in entries]


def _found(task: Any, entries: Sequence[Any]) -> Iterator[Mapping[str, Any]]:
    for key in (task.name, "*"):
        for entry in entries:
            attributes = _of(entry, key, task)
            if attributes is not None:
                yield attributes
                break


def _of(entry: Any, key: str, task: Any) -> Mapping[str, Any] | None:
    """Return what an entry says about a task or, for the key ``"*"``, about all."""
    if isinstance(entry, Mapping):
        found = entry.get(key)
    elif key == "*":
        found = entry.annotate_any() if hasattr(entry, "annotate_any") else None
    else:
        found = entry.annotate(task) if hasattr(entry, "annotate") else None
    if found is not None and not isinstance(found, Mapping):
        raise ImproperlyConfigured(
            f"task_annotations has {found!r} for {key!r}, but must have a mapping of attributes."
        )
    return found


def _wrap(kind: type, name: str, around: Callable[..., Any]) -> None:
    """Replace a method by what `around` makes of it; done twice, it wraps the first one once."""
    static = isinstance(inspect.getattr_static(kind, name), staticmethod)
    original = getattr(kind, name)
    original = getattr(original, "__annotated__", original)
    wrapper = around(original)
    wrapper.__annotated__ = original
    setattr(kind, name, staticmethod(wrapper) if static else wrapper)
