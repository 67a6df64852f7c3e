"""Workflows made and joined, knowing neither Celery nor umbel: every pair of kinds, and more."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from tests.compat.signature_cases import Kit

Json = Any


def shape(value: Any) -> Json:
    """Return how a workflow is built, without ids and options: what tells one from another."""
    if not isinstance(value, dict):
        return None if value is None else repr(value)
    kind, kwargs = value.get("subtask_type"), value.get("kwargs") or {}
    if kind in ("chain", "group"):
        return {kind: [shape(one) for one in kwargs["tasks"]]}
    if kind == "chord":
        header = kwargs["header"]
        if isinstance(header, dict):
            header = header["kwargs"]["tasks"]
        return {"chord": [shape(one) for one in header], "body": shape(kwargs["body"])}
    if kind in ("xmap", "xstarmap", "chunks"):
        return kind
    return [value["task"], list(value["args"]), bool(value["immutable"])]


#: Each kind, with nothing in it, one and many.
OPERANDS: dict[str, Callable[[Kit], Any]] = {
    "task": lambda kit: kit.add.s(1),
    "immutable": lambda kit: kit.add.si(2, 2),
    "chain-0": lambda kit: kit.canvas._chain(),
    "chain-1": lambda kit: kit.canvas._chain(kit.add.s(3)),
    "chain-3": lambda kit: kit.add.s(4) | kit.add.s(5) | kit.add.s(6),
    "chain-to-group": lambda kit: kit.add.s(7) | kit.canvas.group(kit.add.s(8), kit.add.s(9)),
    "chain-to-chord": lambda kit: (
        kit.add.s(10) | kit.canvas.group(kit.add.s(11), kit.add.s(12)) | kit.other.s(13)
    ),
    "group-0": lambda kit: kit.canvas.group([]),
    "group-1": lambda kit: kit.canvas.group([kit.add.s(14)]),
    "group-2": lambda kit: kit.canvas.group(kit.add.s(15), kit.add.s(16)),
    "group-of-generator": lambda kit: kit.canvas.group(kit.add.s(i) for i in (17, 18)),
    "chord-0": lambda kit: kit.canvas.chord([], kit.other.s(19)),
    "chord-1": lambda kit: kit.canvas.chord([kit.add.s(20)], kit.other.s(21)),
    "chord-2": lambda kit: kit.canvas.chord([kit.add.s(22), kit.add.s(23)], kit.other.s(24)),
    "chord-to-chain": lambda kit: kit.canvas.chord(
        [kit.add.s(25), kit.add.s(26)], kit.other.s(27) | kit.other.s(28)
    ),
    "chord-to-group": lambda kit: kit.canvas.chord(
        [kit.add.s(29)], kit.canvas.group(kit.add.s(30), kit.add.s(31))
    ),
    "map": lambda kit: kit.add.map([1, 2]),
    "starmap": lambda kit: kit.add.starmap([(1, 2)]),
    "chunks": lambda kit: kit.add.chunks([(1, 2), (3, 4)], 1),
}


def pairs() -> Iterator[tuple[str, Callable[[Kit], Any]]]:
    """Yield each pair of kinds by its name, as a function that joins the two."""
    for left, first in OPERANDS.items():
        for right, second in OPERANDS.items():
            yield f"{left} | {right}", _joined(first, second)
            yield f"chain({left}, {right})", _chained(first, second)


Make = Callable[[Kit], Any]


def _joined(first: Make, second: Make) -> Make:
    return lambda kit: first(kit) | second(kit)


def _chained(first: Make, second: Make) -> Make:
    return lambda kit: kit.canvas.chain(first(kit), second(kit))


def _cloned(make: Make) -> Make:
    return lambda kit: make(kit).clone()


def _text(make: Make) -> Make:
    return lambda kit: repr(make(kit))


def _through_json(make: Callable[[Kit], Any]) -> Callable[[Kit], Any]:
    def again(kit: Kit) -> Any:
        sig = make(kit)
        if hasattr(sig, "tasks"):
            list(sig.tasks)  # a generator's are read
        return kit.canvas.signature(json.loads(json.dumps(sig, default=list)), app=kit.app)

    return again


CASES: dict[str, Callable[[Kit], Any]] = {
    **dict(pairs()),
    **{f"clone {name}": _cloned(make) for name, make in OPERANDS.items()},
    **{
        f"json {name}": _through_json(make)
        for name, make in OPERANDS.items()
        if name not in ("map", "starmap", "chunks", "group-of-generator")
    },
    "unchain": lambda kit: kit.canvas._chain(
        (kit.add.s(1) | kit.add.s(2) | kit.add.s(3)).unchain_tasks()
    ),
    "group-of-groups": lambda kit: kit.canvas.group(
        kit.add.s(1), kit.canvas.group(kit.add.s(2), kit.add.s(3))
    ),
    "chain-of-list": lambda kit: kit.canvas.chain([kit.add.s(1), kit.add.s(2)]),
    "chain-of-generator": lambda kit: kit.canvas.chain(kit.add.s(i) for i in range(3)),
    "chain-of-one": lambda kit: kit.canvas.chain([kit.add.s(1)]),
    "chord-of-group": lambda kit: kit.canvas.chord(
        kit.canvas.group(kit.add.s(1), kit.add.s(2)), kit.other.s()
    ),
    "chunks-group": lambda kit: kit.add.chunks([(1, 2), (3, 4), (5, 6)], 2).group(),
}

TEXTS: dict[str, Callable[[Kit], str]] = {
    **{
        name: _text(make)
        for name, make in OPERANDS.items()
        if name not in ("chain-0", "group-of-generator", "chunks", "chord-0")
    },
    "chord-without-body": lambda kit: repr(kit.canvas.chord([kit.add.s(1)])),
    "long-map": lambda kit: repr(kit.add.map(list(range(100)))),
    "len": lambda kit: str(len(kit.canvas.group(kit.add.s(1), kit.add.s(2)))),
    "bool": lambda kit: str([bool(kit.canvas.group([])), bool(kit.canvas._chain())]),
    "hint": lambda kit: str(
        kit.canvas.chord(
            [kit.add.s(1), kit.canvas.group(kit.add.s(2), kit.add.s(3)) | kit.other.s()],
            kit.other.s(),
        ).__length_hint__()
    ),
}


def outcome(case: Callable[[Kit], Any], kit: Kit) -> Json:
    """Return the shape that came of a case, or the class of the exception that it raised."""
    try:
        found = case(kit)
        return found if isinstance(found, str) else shape(found)
    except Exception as error:  # noqa: BLE001 - the error is what the case is about
        return f"raises {type(error).__name__}"
