"""Which class is which kind of signature: what lets the rules stand apart from the classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Kinds by the ``subtask_type`` of their dictionaries; None is a plain signature.
CLASSES: dict[str | None, Any] = {}


def class_of(sig: Mapping[str, Any]) -> Any:
    """Return the class of a signature's dictionary.

    Raises NotImplementedError for a kind that there is not.
    """
    kind = sig.get("subtask_type") or None
    found = CLASSES.get(kind)
    if found is None:
        known = ", ".join(sorted(name for name in CLASSES if name))
        raise NotImplementedError(f"There is no kind {kind!r} of signatures. There are: {known}.")
    return found
