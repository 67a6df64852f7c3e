"""A figure in the language of Mermaid (https://mermaid.js.org/syntax/flowchart.html). Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from umbel.drawing.edges import Edge, Node, Part, graph_of, nodes_of
from umbel.drawing.figure import Call, Step
from umbel.drawing.svg import COLOURS, RUNS

#: How arrows begin and end, by their kind.
_ARROWS = {"next": "-->", "success": "-. on success .->", "error": "-. on error .->"}


def as_mermaid(figure: Step) -> str:
    """Return a figure as the text of a Mermaid diagram."""
    graph = graph_of(figure)
    lines = [
        "flowchart LR",
        *_parts(graph.parts, "  "),
        *(f"  {_edge(edge)}" for edge in graph.edges),
        *_colours(list(nodes_of(graph.parts))),
    ]
    return "\n".join(lines) + "\n"


def _parts(parts: Sequence[Part], indent: str) -> Iterator[str]:
    for part in parts:
        if isinstance(part, Node):
            yield f"{indent}{_node(part)}"
            continue
        yield f"{indent}subgraph {part.name}[{_quoted(part.title)}]"
        yield from _parts(part.parts, f"{indent}  ")
        yield f"{indent}end"


def _node(node: Node) -> str:
    step = node.step
    if not isinstance(step, Call):
        return f"{node.name}[{_quoted(f'… {step.text}')}]"
    if step.state is None:
        return f"{node.name}({_quoted(step.label)})"
    return f"{node.name}({_quoted(step.label, f'{step.state} {step.note}'.rstrip())})"


def _edge(edge: Edge) -> str:
    return f"{edge.start.name} {_ARROWS[edge.kind]} {edge.end.name}"


def _colours(nodes: Sequence[Node]) -> Iterator[str]:
    by_state: dict[str, list[str]] = {}
    for node in nodes:
        if isinstance(node.step, Call) and node.step.state is not None:
            by_state.setdefault(node.step.state, []).append(node.name)
    for number, (state, names) in enumerate(by_state.items(), 1):
        colour = COLOURS.get(state, RUNS)[0]
        yield f"  classDef state{number} stroke:{colour},stroke-width:2px"
        yield f"  class {','.join(names)} state{number}"


def _quoted(*lines: str) -> str:
    """Return a text that Mermaid takes as it is: what would end it or be HTML is written as an entity."""
    text = "\n".join(lines)
    for character, entity in (("#", "#35;"), ('"', "#quot;"), ("<", "#lt;"), (">", "#gt;")):
        text = text.replace(character, entity)
    text = text.replace("\n", "<br/>")
    return f'"{text}"'
