"""Which class is which kind of signature: what lets the rules stand apart from the classes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from umbel.backend import ResultBase

#: Kinds by the ``subtask_type`` of their dictionaries; None is a plain signature.
CLASSES: dict[str | None, Any] = {}


def class_of(sig: Mapping[str, Any]) -> Any:
    """Return the class of a signature's dictionary.

    Raises NotImplementedError for a kind that there is not, and TypeError for what names no task.
    """
    if "task" not in sig:
        raise no_signature(sig)
    kind = sig.get("subtask_type") or None
    found = CLASSES.get(kind)
    if found is None:
        known = ", ".join(sorted(name for name in CLASSES if name))
        raise NotImplementedError(f"There is no kind {kind!r} of signatures. There are: {known}.")
    return found


def no_signature(value: Any) -> TypeError:
    """Return the error that says that a part of a workflow is no signature, and what to give instead."""
    if isinstance(value, ResultBase):
        return TypeError(
            f"{value!r} is no signature but the result of a call that has been sent already."
            " Give task.s(…) in place of task.delay(…)."
        )
    if hasattr(value, "apply_async"):
        name = str(getattr(value, "name", "task")).rpartition(".")[2]
        return TypeError(f"{value!r} is no signature but a task: give {name}.s(…).")
    return TypeError(
        f"{value!r} is no signature. Workflows consist of signatures, such as add.s(2, 2);"
        " add(2, 2) calls the task here and now."
    )


def require_signatures(tasks: Iterable[Any]) -> None:
    """Raise TypeError for what is no signature, nor the dictionary of one."""
    for task in tasks:
        if not isinstance(task, dict | Mapping) or "task" not in task:
            raise no_signature(task)
