"""Drawings of workflows: as a text tree, for Graphviz, for Mermaid, and as SVG.

What is drawn is a figure (`figure.py`): made of a signature (`workflows.py`) or of results (`running.py`).
"""

from umbel.drawing.dot import as_dot
from umbel.drawing.figure import Call, Followed, Gap, Parallel, Series, Step
from umbel.drawing.mermaid import as_mermaid
from umbel.drawing.running import figure_of_result
from umbel.drawing.svg import as_svg
from umbel.drawing.texts import as_text
from umbel.drawing.workflows import figure_of

__all__ = [
    "Call",
    "Followed",
    "Gap",
    "Parallel",
    "Series",
    "Step",
    "as_dot",
    "as_mermaid",
    "as_svg",
    "as_text",
    "figure_of",
    "figure_of_result",
]
