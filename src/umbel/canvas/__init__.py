"""Workflows: calls as values, and what follows them. Under the names that Celery's users know."""

from typing import TYPE_CHECKING, Any

from umbel.absent import absent_from
from umbel.canvas.maps import chunks, xmap, xstarmap
from umbel.canvas.signature import (
    Signature,
    maybe_signature,
    maybe_subtask,
    signature,
    subtask,
)
from umbel.canvas.stamping import StampingVisitor
from umbel.canvas.workflows import _chain, _chord, chain, chord, group

__all__ = [
    "Signature",
    "StampingVisitor",
    "_chain",
    "_chord",
    "chain",
    "chord",
    "chunks",
    "group",
    "maybe_signature",
    "maybe_subtask",
    "signature",
    "subtask",
    "xmap",
    "xstarmap",
]


if not TYPE_CHECKING:  # to type checkers, what is not here is missing

    def __getattr__(name: str) -> Any:
        raise absent_from(__name__, name)
