"""Results with those before them and those within them, as documents have them, however many there are.

A call is written as ``((id, parent), None)`` and a group as ``((id, parent), members)``, where parent and
members are written in the same way (celery/result.py, ``as_tuple``). A chain of a thousand calls is as many
pairs within each other, so nothing here calls itself. Documents cannot be that deep: `generations` says how
much of it they take.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from umbel.limits import Limits

N = TypeVar("N")
M = TypeVar("M")

#: What a document has of a call or of a group.
Written = tuple[Any, Any]
#: Lists within each other that Celery surely reads: its readers call themselves for each, which Python lets
#: them do a thousand times.
DEEPEST = 500
#: Lists around the first call, at most, in a result, a saved group or a message.
AROUND = 4
#: Generations that serializers write which call themselves several times for each list.
SHALLOW = {"yaml": 100}


def fold(
    root: N,
    kin: Callable[[N, int], tuple[N | None, Iterable[N]]],
    make: Callable[[N, M | None, Sequence[M]], M],
) -> M:
    """Make one thing of another with its kin, which is made first.

    `kin` is asked for the parent and the members of each, and told which generation that one is of: the root
    is of the first. `make` gets what was made of them.
    """
    order: list[tuple[N, bool, int]] = []
    left = [(root, 1)]
    while left:
        node, generation = left.pop()
        parent, members = kin(node, generation)
        near = [(member, generation + 1) for member in members]
        order.append((node, parent is not None, len(near)))
        if parent is not None:
            left.append((parent, generation + 1))
        left += near
    made: list[M] = []
    for node, has_parent, count in reversed(order):
        members_made = made[len(made) - count :]
        del made[len(made) - count :]
        parent_made = made.pop() if has_parent else None
        made.append(make(node, parent_made, members_made))
    return made[0]


def generations(limits: Limits, serializer: str) -> int:
    """Return how many parents in a row, or groups within each other, a document takes and readers read."""
    deepest = (min(limits.message_max_depth, DEEPEST) - AROUND) // 2
    return max(1, min(deepest, SHALLOW.get(serializer, deepest)))


def is_alone(result: Any) -> bool:
    """Tell whether a result has neither a parent nor members, as most have."""
    return getattr(result, "parent", None) is None and getattr(result, "results", None) is None


def written(result: Any, most: int | None = None) -> Written:
    """Return a result as documents have it, of at most so many generations: what is further is left out."""
    if is_alone(result):
        return (result.id, None), None

    def fits(one: Any, generation: int) -> bool:
        return most is None or generation + bool(_members(one)) < most

    def kin(one: Any, generation: int) -> tuple[Any, Iterable[Any]]:
        parent = getattr(one, "parent", None) or None
        if parent is not None and not fits(parent, generation):
            parent = None
        return parent, [each for each in _members(one) or () if fits(each, generation)]

    def make(one: Any, parent: Written | None, members: Sequence[Written]) -> Written:
        return (one.id, parent), None if _members(one) is None else list(members)

    return fold(result, kin, make)


def _members(result: Any) -> list[Any] | None:
    """Return the members of a group, those of sets without an id among them; None for a call."""
    results = getattr(result, "results", None)
    return None if results is None else list(named(results))


def named(results: Iterable[Any]) -> Iterator[Any]:
    """Yield results that have ids, those in sets without one too."""
    left = list(results)[::-1]
    while left:
        one = left.pop()
        if hasattr(one, "id"):
            yield one
        else:
            left.extend(one.results[::-1])


def split(ids: Any) -> tuple[Any, Written | None]:
    """Return the id in what is written before members, and the parent that is written with it or None."""
    return (ids[0], ids[1] or None) if isinstance(ids, list | tuple) else (ids, None)


def kin_of(one: Written, generation: int = 1) -> tuple[Written | None, Iterable[Written]]:
    """Return the parent and the members in what is written of a call or of a group."""
    ids, members = one
    return split(ids)[1], members or ()


def reduced(result: Any) -> tuple[Any, ...]:
    """Return what pickles make a result again of, with those before it."""
    if result.parent is None:
        alone: tuple[Any, ...] = result._alone()
        return alone
    line = [result]
    while line[-1].parent is not None:
        line.append(line[-1].parent)
    return in_line, ([one._alone() for one in reversed(line)],)


def in_line(line: Iterable[tuple[Any, ...]]) -> Any:
    """Make results, each of which ran after the one before it, and return the last."""
    result = None
    for kind, arguments in line:
        before, result = result, kind(*arguments)
        result.parent = before
    return result
