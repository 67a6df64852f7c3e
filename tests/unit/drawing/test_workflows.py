"""Figures of workflows, and how they are drawn."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from typing import Any

import pytest

from umbel import Umbel, chain, chord, group
from umbel.canvas import chunks
from umbel.drawing import (
    Call,
    Followed,
    Gap,
    Parallel,
    Series,
    Step,
    as_dot,
    as_mermaid,
    as_svg,
    as_text,
    figure_of,
)
from umbel.drawing.layout import Box, Picture, lay_out
from umbel.drawing.texts import in_ascii


@pytest.fixture(autouse=True)
def tasks(app: Umbel) -> None:
    for name in ("fetch", "resize", "publish", "tell"):
        app.task(name=name)(lambda *args, **more: None)


def s(app: Umbel, name: str, *args: Any, **kwargs: Any) -> Any:
    return app.tasks[name].s(*args, **kwargs)


@pytest.fixture
def whole(app: Umbel) -> Any:
    sizes = group(
        s(app, "resize", 100),
        s(app, "resize", 200) | s(app, "tell"),
        chord([s(app, "tell", 1), s(app, "tell", 2)], s(app, "tell", "<&>")),
    )
    publish = s(app, "publish", where="blog").on_error(s(app, "tell", "it failed"))
    return s(app, "fetch", "cat.png") | sizes | publish | group(s(app, "tell"), s(app, "tell"))


def test_a_workflow_as_text(whole: Any) -> None:
    assert as_text(figure_of(whole)).splitlines() == [
        "chain",
        "├─ 1 fetch('cat.png')",
        "├─ 2 group of 3",
        "│    ├─ resize(100)",
        "│    ├─ chain",
        "│    │  ├─ 1 resize(200)",
        "│    │  └─ 2 tell()",
        "│    └─ chain",
        "│       ├─ 1 group of 2",
        "│       │    ├─ tell(1)",
        "│       │    └─ tell(2)",
        "│       └─ 2 tell('<&>')",
        "├─ 3 publish(where='blog')",
        "│    └─ on error: tell('it failed')",
        "└─ 4 group of 2",
        "     ├─ tell()",
        "     └─ tell()",
    ]


def test_a_workflow_is_drawn_the_same_from_its_data(whole: Any) -> None:
    assert figure_of(dict(whole.__json__())) == figure_of(whole)


def test_what_is_too_long_is_left_out(app: Umbel) -> None:
    many = group(s(app, "tell", n) for n in range(1000)) | s(app, "tell", "all")
    assert as_text(figure_of(many, most=4)).splitlines() == [
        "chain",
        "├─ 1 group of 1000",
        "│    ├─ tell(0)",
        "│    ├─ tell(1)",
        "│    ├─ … 997 more calls",
        "│    └─ tell(999)",
        "└─ 2 tell('all')",
    ]
    steps = chain(*(s(app, "tell", n) for n in range(5000)))
    assert as_text(figure_of(steps, most=3)).splitlines()[2] == "├─ 2 … 4,998 more steps"


def test_odd_workflows(app: Umbel) -> None:
    assert figure_of(group(app=app)) == Gap("an empty group")
    assert figure_of(chain(app=app)) == Gap("an empty chain")
    assert figure_of(s(app, "tell", "x" * 99)) == Call("tell", f"('{'x' * 22}…)")
    assert figure_of(app.tasks["tell"].map([1, 2, 3])) == Call("tell", ".map(3 items)")
    made = figure_of(chunks(app.tasks["tell"].s(), [(1,), (2,), (3,)], 2))
    assert isinstance(made, Call | Parallel)
    linked = s(app, "tell")
    linked.link(s(app, "fetch"))
    assert figure_of(linked) == Followed(Call("tell", "()"), on_success=(Call("fetch", "()"),))


RUNNING: Step = Series(
    (
        Call("a", "(1)", "SUCCESS", "3", task_id="the-id"),
        Parallel(
            "group of 3",
            (
                Call("b", "()", "PROGRESS", "40 % (4 of 10)", 0.4, chosen=True),
                Call("c", "()", "FAILURE", "ValueError('\"<x>\\n')"),
                Gap("7 more calls: 7 PENDING"),
            ),
        ),
        Call("d", "()", "PENDING"),
    )
)


def test_states_stand_beside_the_tree() -> None:
    assert as_text(RUNNING, lambda text, state: f"[{text}]").splitlines() == [
        "chain",
        "├─ 1 a(1)                          [✔ SUCCESS]  3",
        "├─ 2 group of 3",
        "│    ├─ b()                        [▶ PROGRESS] ━━━━──────  40 % (4 of 10)  ←",
        "│    ├─ c()                        [✘ FAILURE]  ValueError('\"<x>\\n')",
        "│    └─ … 7 more calls: 7 PENDING",
        "└─ 3 d()                           [· PENDING]",
    ]


def test_a_tree_in_ascii() -> None:
    lines = in_ascii(as_text(RUNNING)).splitlines()
    assert (
        lines[3] == "|    |- b()                        > PROGRESS ====------  40 % (4 of 10)  <-"
    )
    assert lines[-1] == "`- 3 d()                           . PENDING"
    assert in_ascii("ü") == "?"


def test_the_picture_is_svg_in_which_nothing_overlaps(whole: Any) -> None:
    for figure in (figure_of(whole), RUNNING):
        root = ET.fromstring(as_svg(figure))  # noqa: S314 - it is ours
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        picture = lay_out(figure)
        boxes = picture.boxes
        assert not [
            (one, two) for one in boxes for two in boxes if one is not two and _meet(one, two)
        ]
        assert all(_is_within(box, picture) for box in boxes)
        for arrow in picture.arrows:
            assert all(
                0 <= x <= picture.width and 0 <= y <= picture.height for x, y in arrow.points
            )
    text = as_svg(RUNNING)
    assert "ValueError(&#x27;&quot;&lt;x&gt;" in text
    assert 'class="box runs chosen"' in text
    assert "the-id" in text


def _meet(one: Box, two: Box) -> bool:
    apart = (
        one.left + one.width <= two.left
        or two.left + two.width <= one.left
        or one.top + one.height <= two.top
        or two.top + two.height <= one.top
    )
    return not apart


def _is_within(box: Box, picture: Picture) -> bool:
    right, bottom = box.left + box.width, box.top + box.height
    return box.left >= 0 and right <= picture.width and box.top >= 0 and bottom <= picture.height


def test_an_arrow_leaves_where_its_step_ends(app: Umbel) -> None:
    first = s(app, "tell").on_error(s(app, "publish", "a long text, wider than what it follows"))
    picture = lay_out(figure_of(chain(first, s(app, "tell"))))
    (following,) = [arrow for arrow in picture.arrows if arrow.kind == "next"]
    assert following.points[0][0] == picture.boxes[0].width


def test_graphviz_is_told_of_nodes_clusters_and_arrows() -> None:
    text = as_dot(RUNNING)
    assert text.startswith("digraph workflow {")
    assert text.count("{") == text.count("}")
    assert '"c()\\nFAILURE  ValueError(\'\\"<x>\\\\n\')"' in text
    assert "n1 -> n3 [lhead=cluster_g2];" in text
    assert "n3 -> n6 [ltail=cluster_g2];" in text


def test_mermaid_is_told_the_same() -> None:
    text = as_mermaid(RUNNING)
    lines = [line.strip() for line in text.splitlines()]
    assert lines[0] == "flowchart LR"
    assert 'subgraph g2["group of 3"]' in lines
    assert lines.count("end") == 1
    assert {"n1 --> g2", "g2 --> n6", "class n1 state1"} <= set(lines)
    assert "#quot;#lt;x#gt;" in text
    assert not re.search(r'"[^"]*<(?!br/)', text)


def test_errbacks_are_drawn_as_such(app: Umbel) -> None:
    figure = figure_of(s(app, "tell").on_error(s(app, "publish")))
    assert 'n1 -> n2 [label="on error"' in as_dot(figure)
    assert "n1 -. on error .-> n2" in as_mermaid(figure)
    assert ">on error</text>" in as_svg(figure)
