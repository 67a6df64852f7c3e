"""Random workflows, and what they come to when plain Python evaluates them."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from umbel import Umbel, canvas

Value = Any


def note(value: Value, name: Any) -> Value:
    """Return something that tells what it was called with, and in which order."""
    return [name, value]


@dataclass(frozen=True)
class Call:
    """One call of `note`."""

    name: int


@dataclass(frozen=True)
class Chain:
    """Trees that run one after the other."""

    parts: tuple[Any, ...]


@dataclass(frozen=True)
class Group:
    """Trees that run at the same time."""

    parts: tuple[Any, ...]


@dataclass(frozen=True)
class Chord:
    """A header, and what runs with its values."""

    header: tuple[Any, ...]
    body: Any


Tree = Call | Chain | Group | Chord


def trees(depth: int = 3) -> st.SearchStrategy[Tree]:
    """Return a strategy of trees in which everything is nested in everything."""
    calls = st.integers(0, 9).map(Call)
    if depth == 0:
        return calls
    inner = trees(depth - 1)
    some = st.lists(inner, min_size=1, max_size=3).map(tuple)
    return st.one_of(
        calls,
        some.map(Chain),
        st.lists(inner, min_size=2, max_size=3).map(tuple).map(Group),
        st.builds(Chord, some, inner),
    )


def random_tree(dice: random.Random, depth: int) -> Tree:
    """Return a tree as one of `trees`, by dice that can be thrown again."""

    def some(least: int) -> tuple[Tree, ...]:
        return tuple(random_tree(dice, depth - 1) for _ in range(dice.randint(least, 3)))

    match dice.randrange(4) if depth else 0:
        case 1:
            return Chain(some(1))
        case 2:
            return Group(some(2))
        case 3:
            return Chord(some(1), random_tree(dice, depth - 1))
    return Call(dice.randrange(10))


def signature(tree: Tree, app: Umbel) -> Any:
    """Return a tree as a workflow."""
    match tree:
        case Call(name):
            return app.tasks["note"].s(name)
        case Chain(parts):
            return canvas._chain([signature(part, app) for part in parts], app=app)
        case Group(parts):
            return canvas.group([signature(part, app) for part in parts], app=app)
        case Chord(header, body):
            return canvas.chord(
                [signature(part, app) for part in header], signature(body, app), app=app
            )


def evaluate(tree: Tree, value: Value) -> Value:
    """Return what a tree comes to, as plain calls of functions.

    A group in a group is one with it, as in Celery; so is a group that is all there is of a chain in a group.
    """
    match tree:
        case Call(name):
            return note(value, name)
        case Chain(parts):
            for part in parts:
                value = evaluate(part, value)
            return value
        case Group(parts):
            return [found for part in parts for found in _members(part, value)]
        case Chord(header, body):
            return evaluate(body, [found for part in header for found in _members(part, value)])


def _members(tree: Tree, value: Value) -> list[Value]:
    if isinstance(tree, Group):
        return [found for part in tree.parts for found in _members(part, value)]
    return [evaluate(tree, value)]


def make_app(url: str, results: str | None = None) -> Umbel:
    """Return an app that has the task of trees."""
    app = Umbel("trees", broker=url, backend=results or url, set_as_current=False)
    app.task(name="note")(note)
    return app
