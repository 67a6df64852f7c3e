"""A figure in the language of Graphviz (https://graphviz.org/doc/info/lang.html). Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from umbel.drawing.edges import Cluster, Edge, Node, Part, graph_of
from umbel.drawing.figure import Call, Step
from umbel.drawing.svg import COLOURS, RUNS


def as_dot(figure: Step) -> str:
    """Return a figure as the text of a DOT file."""
    graph = graph_of(figure)
    lines = [
        "digraph workflow {",
        "  rankdir=LR; compound=true;",
        '  node [shape=box, style="rounded,filled", fillcolor=white, fontname=monospace, fontsize=11];',
        "  edge [arrowsize=0.7];",
        *_parts(graph.parts, "  "),
        *(f"  {_edge(edge)}" for edge in graph.edges),
        "}",
    ]
    return "\n".join(lines) + "\n"


def _parts(parts: Sequence[Part], indent: str) -> Iterator[str]:
    for part in parts:
        if isinstance(part, Node):
            yield f"{indent}{_node(part)}"
            continue
        yield f"{indent}subgraph cluster_{part.name} {{"
        yield f"{indent}  label={_quoted(part.title)}; style=rounded; color=gray; fontsize=10;"
        yield from _parts(part.parts, f"{indent}  ")
        yield f"{indent}}}"


def _node(node: Node) -> str:
    step = node.step
    if not isinstance(step, Call):
        return f"{node.name} [label={_quoted(f'… {step.text}')}, shape=plaintext, style=solid];"
    if step.state is None:
        return f"{node.name} [label={_quoted(step.label)}];"
    colour = COLOURS.get(step.state, RUNS)[0]
    label = _quoted(step.label, f"{step.state}  {step.note}".rstrip())
    width = ", penwidth=2.5" if step.chosen else ""
    return f'{node.name} [label={label}, color="{colour}"{width}];'


def _edge(edge: Edge) -> str:
    """Return an arrow. Between clusters it goes from node to node and is cut off at their borders."""
    start, end = edge.start, edge.end
    marks = []
    if isinstance(start, Cluster):
        marks.append(f"ltail=cluster_{start.name}")
        start = start.some_node()
    if isinstance(end, Cluster):
        marks.append(f"lhead=cluster_{end.name}")
        end = end.some_node()
    if edge.kind != "next":
        colour = COLOURS["FAILURE" if edge.kind == "error" else "SUCCESS"][0]
        marks.append(f'label="on {edge.kind}", style=dashed, color="{colour}", fontsize=9')
    attributes = f" [{', '.join(marks)}]" if marks else ""
    return f"{start.name} -> {end.name}{attributes};"


def _quoted(*lines: str) -> str:
    escaped = (line.replace("\\", "\\\\").replace('"', '\\"') for line in lines)
    text = "\\n".join(line.replace("\n", " ") for line in escaped)
    return f'"{text}"'
