"""Workflows by reference: steps that are stored in pieces, of which messages have no more than the name.

A piece holds the next steps of a chain, or the body of a chord. In a message one signature stands in for it:
a call of the task `umbel.rest`, which sends what the piece holds. So messages keep Celery's form, and all
that is stored and sent of a workflow grows with its size. Pure; who sends and who reads is elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from umbel.canvas.algebra import kind_of
from umbel.links import is_signature
from umbel.tails import RawTail

#: The task that a stand-in calls.
REST = "umbel.rest"
#: Bytes of the steps that a message carries, or one piece holds, unless it is a single step.
PIECE = 8192
#: Bytes of the body that each call of a header carries at most.
BODY = 1024

Data = Mapping[str, Any]
#: Options of the call that gives a result which are its stand-in's too.
_OF_RESULT = (
    *("task_id", "group_id", "group_index", "chord", "root_id", "reply_to"),
    *("link_error", "replaced_task_nesting"),
)


@dataclass(frozen=True, slots=True)
class Piece:
    """Steps in the order in which they run; `following` is the piece that the last stands in for, if any."""

    id: str
    steps: Sequence[Data]
    following: str | None = None


def is_stand_in(sig: Data) -> bool:
    """Tell whether a signature stands in for a piece."""
    return sig.get("task") == REST and isinstance((sig.get("kwargs") or {}).get("piece"), str)


def is_carried(size: int) -> bool:
    """Tell whether each call of a header carries a body of so many bytes."""
    return size <= BODY


def stand_in(piece: str, last: Data, place: Data, expires: float | None = None) -> dict[str, Any]:
    """Return what stands in for a piece, and for all that it leads to: `last` is the last step of that.

    `place` are options that say where it is sent. `expires` is when the piece does, if nobody renews it.
    """
    found = _giving(last)
    options = {name: found[name] for name in _OF_RESULT if found.get(name) is not None}
    return {
        "task": REST,
        "args": [],
        "kwargs": {"piece": piece} if expires is None else {"piece": piece, "expires": expires},
        "options": {**options, **place},
        "subtask_type": None,
        "immutable": False,
    }


def _giving(step: Data) -> Data:
    """Return the options of the call that gives the result of a step; none of a group, which has many."""
    kwargs = step.get("kwargs") or {}
    match kind_of(step):
        case "chord":
            return _giving(kwargs.get("body") or {})
        case "chain":
            return _giving(kwargs["tasks"][-1]) if kwargs.get("tasks") else {}
        case "group":
            return {}
    found: Data = step.get("options") or {}
    return found


def cut(
    steps: Sequence[Data],
    new_id: Callable[[], str],
    size_of: Callable[[Data], int],
    place_of: Callable[[Data], Data],
    expires: float | None = None,
) -> tuple[list[Data], list[Piece]]:
    """Return the steps that travel with a message, and the pieces that hold the others.

    `steps` are in the order in which they run. What travels, and what a piece holds, ends with a stand-in
    where more follows.
    """
    parts = _parts(steps, size_of)
    if not parts:
        return [], []
    travelling: list[Data] = []
    if sum(map(size_of, parts[0])) <= PIECE:
        travelling, parts = list(parts[0]), parts[1:]
    pieces: list[Piece] = []
    behind: list[Data] = []
    for part in reversed(parts):
        following = pieces[-1].id if pieces else None
        pieces.append(Piece(new_id(), [*part, *behind], following))
        behind = [stand_in(pieces[-1].id, steps[-1], place_of(part[0]), expires)]
    return travelling + behind, pieces


def _parts(steps: Sequence[Data], size_of: Callable[[Data], int]) -> list[list[Data]]:
    parts: list[list[Data]] = []
    left = 0
    for step in steps:
        size = size_of(step)
        if not parts or size > left:
            parts.append([])
            left = PIECE
        parts[-1].append(step)
        left -= size
    return parts


def first_call(step: Data) -> Data:
    """Return the first call that a step sends."""
    kwargs = step.get("kwargs") or {}
    match kind_of(step):
        case "chord":
            header = kwargs.get("header") or ()
            parts = header["kwargs"]["tasks"] if isinstance(header, Mapping) else header
        case "chain" | "group":
            parts = kwargs.get("tasks") or ()
        case _:
            return step
    return first_call(parts[0]) if parts else step


_IN_TEXT = re.compile(rb'"piece": ?"([^"\\]+)", ?"expires": ?(\d+(?:\.\d+)?)')
_PIECE = b'"piece"'


def ahead(*written: Any) -> Iterator[tuple[str, float | None]]:
    """Yield the pieces that steps, the rest of a chain or the body of a chord lead to.

    Each comes with when it expires, as far as they know.
    """
    for found in within(*written):
        if isinstance(found, RawTail):
            yield from ahead_in(found.text)
        elif is_stand_in(found):
            kwargs = found["kwargs"]
            yield kwargs["piece"], kwargs.get("expires")


def ahead_in(text: bytes) -> Iterator[tuple[str, float]]:
    """Yield those that a text of JSON leads to."""
    # What looks like one within an argument does no harm: nothing is kept by its name. To search all of the
    # text by the pattern would take ten times as long.
    at = text.find(_PIECE)
    while at >= 0:
        found = _IN_TEXT.match(text, at)
        if found is not None:
            yield found[1].decode(), float(found[2])
        at = text.find(_PIECE, at + len(_PIECE))


def within(*written: Any) -> Iterator[Data | RawTail]:
    """Yield the signatures in what is written of steps, and in them: their parts, and what follows them."""
    left = list(written)
    while left:
        found = left.pop()
        if isinstance(found, RawTail):
            yield found
        elif isinstance(found, list | tuple):
            left += found
        elif is_signature(found):
            yield found
            options, kwargs = found.get("options") or {}, found.get("kwargs") or {}
            left += (options[name] for name in ("chain", "chord") if name in options)
            left += (kwargs[name] for name in ("tasks", "header", "body") if name in kwargs)
