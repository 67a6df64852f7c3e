"""A figure as nodes, groups of them, and arrows: what languages that draw graphs are told. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from umbel.drawing.figure import Call, Followed, Gap, Parallel, Series, Step


@dataclass(frozen=True, slots=True)
class Node:
    """A call, or what is left out, by its name in the drawing."""

    name: str
    step: Call | Gap


@dataclass(frozen=True, slots=True)
class Cluster:
    """What is in a group, and its name in the drawing. It is never empty."""

    name: str
    title: str
    parts: tuple[Node | Cluster, ...]

    def some_node(self) -> Node:
        """Return one of the nodes within."""
        first = self.parts[0]
        return first.some_node() if isinstance(first, Cluster) else first


Part = Node | Cluster


@dataclass(frozen=True, slots=True)
class Edge:
    """An arrow; `kind` is "next", "success" or "error"."""

    start: Part
    end: Part
    kind: str = "next"


@dataclass(slots=True)
class Graph:
    """The parts at the outermost level, and all arrows."""

    parts: list[Part] = field(default_factory=list)
    edges: list[Edge] = field(default_factory=list)


def graph_of(figure: Step) -> Graph:
    """Return a figure as a graph."""
    graph = Graph()
    _Builder(graph).add(figure, graph.parts)
    return graph


class _Builder:
    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._count = 0

    def _name(self, letter: str) -> str:
        self._count += 1
        return f"{letter}{self._count}"

    def add(self, step: Step, into: list[Part]) -> tuple[Part, Part]:
        """Add a step among these parts; return where arrows come in, and where they go out."""
        match step:
            case Call() | Gap():
                node = Node(self._name("n"), step)
                into.append(node)
                return node, node
            case Parallel(title, members):
                name, parts = self._name("g"), list[Part]()
                for member in members:
                    self.add(member, parts)
                cluster = Cluster(name, title, tuple(parts))
                into.append(cluster)
                return cluster, cluster
            case Series(steps):
                ends = [self.add(one, into) for one in steps]
                for (_, start), (end, _) in pairwise(ends):
                    self._graph.edges.append(Edge(start, end))
                return ends[0][0], ends[-1][1]
            case Followed(inner, on_success, on_error):
                ends_of = self.add(inner, into)
                for kind, others in (("success", on_success), ("error", on_error)):
                    for other in others:
                        begin, _ = self.add(other, into)
                        self._graph.edges.append(Edge(ends_of[1], begin, kind))
                return ends_of


def nodes_of(parts: list[Part] | tuple[Part, ...]) -> Iterator[Node]:
    """Yield all nodes among parts, and within them."""
    for part in parts:
        if isinstance(part, Cluster):
            yield from nodes_of(part.parts)
        else:
            yield part
