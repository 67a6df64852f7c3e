"""The arguments of Celery's app beside settings: what each means here, or that it means nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from umbel.options import warn_once

_NO_MEANING = {
    "loader": "there are no loaders: settings are read by config_from_object and by name",
    "amqp": "engines take the place of the AMQP class; they are chosen by URL",
    "events": "there is one kind of events",
    "control": "there is one kind of remote control",
    "fixups": "frameworks are integrated by packages of their own",
}


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


#: What subclasses of Celery's app may name, and why it has no meaning here.
_HOOKS = {
    **{f"{name}_cls": meaning for name, meaning in _NO_MEANING.items() if name != "fixups"},
    "backend_cls": "result stores are engines; they are chosen by URL",
    "registry_cls": "there is one kind of registry",
    "builtin_fixups": _NO_MEANING["fixups"],
    "prepare_config": "settings are changed by app.conf, or by a receiver of app.on_configure",
}


def warn_of_hooks(kind: type) -> None:
    """Say of what a subclass of the app has for Celery that it has no meaning here."""
    for name, meaning in _HOOKS.items():
        if hasattr(kind, name):
            warn_once(f"The attribute {name} of {kind.__name__} has no meaning here: {meaning}.")


def taken_from(keywords: dict[str, Any]) -> Construction:
    """Take out of an app's keywords what is no setting."""
    for name, meaning in _NO_MEANING.items():
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
