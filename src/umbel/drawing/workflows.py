"""A workflow as a figure: of a signature, which has not been sent. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from umbel.canvas.algebra import kind_of
from umbel.canvas.texts import shortened
from umbel.drawing.figure import (
    MOST,
    Call,
    Followed,
    Gap,
    Parallel,
    Step,
    in_series,
    shown_of,
)
from umbel.links import as_list, is_signature

#: Characters of an argument that are shown.
LONGEST = 24
#: What tasks that call another one for each item of a list are called with.
_MAPS = {"celery.map": "map", "celery.starmap": "starmap", "celery.chunks": "chunks"}


def figure_of(sig: Mapping[str, Any], most: int = MOST) -> Step:
    """Return a signature as a figure; of longer series and larger groups than `most`, parts are left out."""
    kind = kind_of(sig)
    kwargs: Any = sig.get("kwargs") or {}
    step: Step
    if kind == "chain":
        step = _series(list(kwargs.get("tasks") or ()), most)
    elif kind == "group":
        step = _parallel("group", kwargs.get("tasks"), most)
    elif kind == "chord":
        body = kwargs.get("body")
        header = _parallel("group", kwargs.get("header"), most)
        step = in_series([header, figure_of(body, most)]) if is_signature(body) else header
    else:
        step = _call(sig)
    options = sig.get("options") or {}
    links, errbacks = (_links(options.get(name), most) for name in ("link", "link_error"))
    return Followed(step, links, errbacks) if links or errbacks else step


def _series(tasks: Sequence[Any], most: int) -> Step:
    if not tasks:
        return Gap("an empty chain")
    return in_series(_shown(tasks, most, "steps", lambda task: figure_of(task, most)))


def _parallel(what: str, tasks: Any, most: int) -> Step:
    if is_signature(tasks):  # the header of a chord may be a group
        tasks = (tasks.get("kwargs") or {}).get("tasks")
    members = list(tasks or ())
    if not members:
        return Gap(f"an empty {what}")
    shown = _shown(members, most, "calls", lambda task: figure_of(task, most))
    return Parallel(f"{what} of {len(members)}", tuple(shown))


def _shown(parts: Sequence[Any], most: int, what: str, draw: Callable[[Any], Step]) -> list[Step]:
    """Return the figures of parts, of which those in the middle are left out where there are too many."""
    first, left, last = shown_of(len(parts), most)
    gap: list[Step] = [Gap(f"{left:,} more {what}")] if left else []
    return [*(draw(parts[n]) for n in first), *gap, *(draw(parts[n]) for n in last)]


def _links(links: Any, most: int) -> tuple[Step, ...]:
    return tuple(figure_of(link, most) for link in as_list(links) or () if is_signature(link))


def _call(sig: Mapping[str, Any]) -> Call:
    name = str(sig.get("task"))
    kwargs: Any = sig.get("kwargs") or {}
    task_id = str((sig.get("options") or {}).get("task_id") or "")
    inner = kwargs.get("task")
    if name in _MAPS and is_signature(inner):
        items = kwargs.get("it")
        count = len(items) if isinstance(items, list | tuple) else "some"
        return Call(str(inner["task"]), f".{_MAPS[name]}({count} items)", task_id=task_id)
    return Call(name, arguments_of(sig.get("args"), kwargs), task_id=task_id)


def arguments_of(args: Any, kwargs: Any) -> str:
    """Return arguments as they stand in a call; long ones without their end."""
    if not isinstance(args, list | tuple) or not isinstance(kwargs, Mapping):
        return "(…)" if args or kwargs else "()"
    positional = [_short(one) for one in args]
    return (
        f"({', '.join([*positional, *(f'{name}={_short(one)}' for name, one in kwargs.items())])})"
    )


def _short(value: Any) -> str:
    text = shortened(value, 4 * LONGEST)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
