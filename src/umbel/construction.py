"""The arguments of Celery's app beside settings: what each means here, or that it means nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from umbel.absent import HOOKS, MEANINGLESS
from umbel.options import warn_once


@dataclass(frozen=True, slots=True)
class Construction:
    """How an app is made, beside its settings."""

    changes: Mapping[str, Any] = field(default_factory=dict)
    config_source: Any = None
    config_source_silent: bool = False
    namespace: str | None = None
    strict_typing: bool = True
    task_cls: Any = None
    log: Any = None
    tasks: Any = None


def warn_of_hooks(kind: type) -> None:
    """Say of what a subclass of the app has for Celery that it has no meaning here."""
    for name, reason in HOOKS.items():
        if hasattr(kind, name):
            warn_once(f"The attribute {name} of {kind.__name__} {reason}.")


def taken_from(keywords: dict[str, Any]) -> Construction:
    """Take out of an app's keywords what is no setting."""
    for name, meaning in MEANINGLESS.items():
        if keywords.pop(name, None):
            warn_once(f"The argument {name} of an app has no meaning here: {meaning}.")
    if not keywords.pop("autofinalize", True):
        warn_once(
            "The argument autofinalize=False of an app has no meaning here: tasks are made at once, and"
            " the app is finalized when it is first used."
        )
    names = (entry.name for entry in fields(Construction))
    given = {name: keywords.pop(name) for name in names if name in keywords}
    return Construction(**{name: value for name, value in given.items() if value is not None})
