"""The arguments of Celery's app beside settings: what each means here, or that it means nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from umbel.absent import HOOKS, MEANINGLESS
from umbel.nearest import asked, nearest
from umbel.options import warn_once
from umbel.settings import spelling


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
    fixups: Any = None


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
    _refuse_slips(keywords)
    names = (entry.name for entry in fields(Construction))
    given = {name: keywords.pop(name) for name in names if name in keywords}
    return Construction(**{name: value for name, value in given.items() if value is not None})


#: The arguments of an app that are no settings.
_ARGUMENTS = (
    *("main", "broker", "backend", "include", "set_as_current", "autofinalize", *MEANINGLESS),
    *(entry.name for entry in fields(Construction)),
)


def _refuse_slips(keywords: Mapping[str, Any]) -> None:
    """Raise TypeError for a keyword that is no setting, and almost an argument."""
    for name in keywords:
        if spelling(name) is None and name not in _ARGUMENTS:
            # One letter more or less than a short name's is another word: blog is no slip of log.
            near = nearest(name, (known for known in _ARGUMENTS if len(known) > 5), slips=1)
            if near is not None:
                raise TypeError(f"An app has no argument {name!r}.{asked(near)}")
