"""What followed from a call: the way through the tree of its results, and `DependencyGraph`.

The graph is what Celery's ``celery.utils.graph`` offers to read and to draw, without its formatters: colours
and fonts are Graphviz's own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import ItemsView, Iterable, Iterator, Sequence
from graphlib import TopologicalSorter
from typing import Any, Protocol, TextIO

from umbel.exceptions import IncompleteStream


class DependencyGraph:
    """Objects, and for each those that depend on it: a mapping from each to a list."""

    def __init__(self, arcs: Iterable[tuple[Any, Iterable[Any]]] = (), root: Any = None) -> None:
        self.adjacent: dict[Any, list[Any]] = {}
        self.root = root
        self.update(arcs)

    def add_arc(self, obj: Any) -> None:
        """Add an object that may have no neighbours."""
        self.adjacent.setdefault(obj, [])

    def add_edge(self, one: Any, other: Any) -> None:
        """Add an edge from one object to another."""
        self[one].append(other)

    def connect(self, graph: DependencyGraph) -> None:
        """Take over the objects of another graph."""
        self.adjacent.update(graph.adjacent)

    def update(self, arcs: Iterable[tuple[Any, Iterable[Any]]]) -> None:
        """Add objects with their neighbours."""
        for obj, neighbours in arcs:
            self.add_arc(obj)
            self[obj].extend(neighbours)

    def edges(self) -> Iterator[Any]:
        """Yield the objects from which an edge goes out."""
        return (obj for obj, neighbours in self.items() if neighbours)

    def valency_of(self, obj: Any) -> int:
        """Return how many edges go out from an object and from all below it, on each way to them."""
        counts: dict[Any, int] = {}
        for one in TopologicalSorter(self.adjacent).static_order():
            neighbours = self.adjacent.get(one, ())
            counts[one] = len(neighbours) + sum(counts[other] for other in neighbours)
        return counts.get(obj, 0)

    def topsort(self) -> list[Any]:
        """Return the objects so that each comes after all that depend on it."""
        return list(TopologicalSorter(self.adjacent).static_order())

    def to_dot(self, fh: TextIO) -> None:
        """Write the graph in Graphviz's language."""
        print("digraph dependencies {", file=fh)
        for obj, neighbours in self.items():
            print(f'    "{obj}"', file=fh)
            for other in neighbours:
                print(f'    "{obj}" -> "{other}"', file=fh)
        print("}", file=fh)

    def items(self) -> ItemsView[Any, list[Any]]:
        """Return each object with its neighbours."""
        return self.adjacent.items()

    def __getitem__(self, obj: Any) -> list[Any]:
        return self.adjacent[obj]

    def __contains__(self, obj: Any) -> bool:
        return obj in self.adjacent

    def __iter__(self) -> Iterator[Any]:
        return iter(self.adjacent)

    def __len__(self) -> int:
        return len(self.adjacent)

    def __repr__(self) -> str:
        return f"<DependencyGraph: {len(self)} objects>"


class Node(Protocol):
    """What a result has that calls may have followed from."""

    @property
    def children(self) -> Sequence[Any] | None:
        """The calls that the task made, once it has ended; the members of a group."""

    def ready(self) -> bool:
        """Tell whether the outcome is final."""


def descend(root: Node, intermediate: bool) -> Iterator[tuple[Node | None, Node]]:
    """Yield a result and all calls that followed from it, each with the one that made it.

    Raises IncompleteStream at one that has not ended, or passes it over if `intermediate`.
    """
    left: deque[tuple[Node | None, Node]] = deque([(None, root)])
    while left:
        maker, node = left.popleft()
        yield maker, node
        if node.ready():
            left.extend((node, child) for child in node.children or ())
        elif not intermediate:
            raise IncompleteStream(f"The task {node} has not ended.")


def leading_to(root: Any) -> list[Any]:
    """Return the results of calls that a result consists of, and of all that was before them."""
    found, seen, left = [], set[int](), [root]
    while left:
        node = left.pop()
        if node is None or id(node) in seen:
            continue
        seen.add(id(node))
        members = getattr(node, "results", None)
        if members is None:
            found.append(node)
        left += [*(members or ()), node.parent]
    return found


def graph_of(root: Node, intermediate: bool) -> DependencyGraph:
    """Return a result and all calls that followed from it as a graph."""
    graph = DependencyGraph(root=str(root))
    for maker, node in descend(root, intermediate):
        graph.add_arc(node)
        if maker is not None:
            graph.add_edge(maker, node)
    return graph
