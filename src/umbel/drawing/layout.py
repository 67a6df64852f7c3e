"""Where things stand in a picture of a figure: from left to right, members below each other. Pure; in pixels.

A step becomes a `Picture` of its own, with an axis: the height at which arrows come in at its left side and
go out at its right one. Steps of a series stand with their axes at one height.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from umbel.drawing.figure import Call, Followed, Gap, Parallel, Series, Step

#: Of the label's font and of the smaller one: how wide a character is, at most.
WIDE, NARROW = 7.9, 6.8
#: Around a box's text; between a box's lines; between steps, members, and a frame and what is in it.
PAD, LINE, STEP, MEMBER, INSET = 14.0, 18.0, 44.0, 14.0, 16.0
#: Below the lines of a box, for a bar.
BAR = 5.0
#: Above the members of a frame, for its title.
TITLE = 24.0
#: How far to the right what follows beside a series stands.
BESIDE = 30.0
LEAST, MOST_CHARACTERS = 110.0, 44


@dataclass(frozen=True, slots=True)
class Box:
    """A call, or what is left out."""

    left: float
    top: float
    width: float
    height: float
    step: Call | Gap


@dataclass(frozen=True, slots=True)
class Frame:
    """What is around members that run at the same time."""

    left: float
    top: float
    width: float
    height: float
    title: str


@dataclass(frozen=True, slots=True)
class Arrow:
    """A way from one step to the next: its corners. `kind` is "next", "success" or "error"."""

    points: tuple[tuple[float, float], ...]
    kind: str = "next"


@dataclass(frozen=True, slots=True)
class Picture:
    """What stands where; all of it has a left and a top of at least 0."""

    width: float
    height: float
    axis: float
    #: Where arrows go out, from the left.
    out: float
    boxes: list[Box] = field(default_factory=list)
    frames: list[Frame] = field(default_factory=list)
    arrows: list[Arrow] = field(default_factory=list)


def lay_out(step: Step) -> Picture:
    """Return the picture of a figure."""
    match step:
        case Call() | Gap():
            return _box(step)
        case Series(steps):
            return _series([lay_out(one) for one in steps])
        case Parallel(title, members):
            return _frame(title, [lay_out(one) for one in members])
        case Followed(inner, on_success, on_error):
            beside = [("success", lay_out(one)) for one in on_success]
            beside += [("error", lay_out(one)) for one in on_error]
            return _followed(lay_out(inner), beside)


def shortened(text: str) -> str:
    """Return what of a text has room in a box."""
    return text if len(text) <= MOST_CHARACTERS else f"{text[: MOST_CHARACTERS - 1]}…"


def _box(step: Call | Gap) -> Picture:
    label = step.label if isinstance(step, Call) else step.text
    below = isinstance(step, Call) and step.state is not None
    width = len(shortened(label)) * WIDE
    if isinstance(step, Call) and below:
        width = max(width, len(shortened(f"{step.state}  {step.note}")) * NARROW + 14)
    width, height = max(width + 2 * PAD, LEAST), (2 * LINE if below else LINE) + PAD
    if isinstance(step, Call) and step.fraction is not None:
        height += BAR
    return Picture(width, height, height / 2, width, boxes=[Box(0, 0, width, height, step)])


def _series(parts: Sequence[Picture]) -> Picture:
    axis = max(part.axis for part in parts)
    whole = Picture(0, axis + max(part.height - part.axis for part in parts), axis, 0)
    left = out = 0.0
    for place, part in enumerate(parts):
        if place:
            whole.arrows.append(Arrow(((out, axis), (left + STEP, axis))))
            left += STEP
        _put(whole, part, left, axis - part.axis)
        left, out = left + part.width, left + part.out
    return replace(whole, width=left, out=out)


def _frame(title: str, members: Sequence[Picture]) -> Picture:
    inner = max([len(title) * NARROW, *(member.width for member in members)])
    whole = Picture(inner + 2 * INSET, 0, 0, inner + 2 * INSET)
    top = TITLE + INSET / 2
    for member in members:
        _put(whole, member, INSET, top)
        top += member.height + MEMBER
    height = top - MEMBER + INSET
    whole.frames.insert(0, Frame(0, 0, whole.width, height, title))
    return replace(whole, height=height, axis=height / 2)


def _followed(step: Picture, beside: Sequence[tuple[str, Picture]]) -> Picture:
    whole = Picture(0, 0, step.axis, step.out)
    _put(whole, step, 0, 0)
    width, bottom, trunk = step.width, step.height, BESIDE / 2
    for kind, part in beside:
        top = bottom + TITLE
        _put(whole, part, BESIDE + STEP / 2, top)
        height = top + part.axis
        corners = ((trunk, step.height), (trunk, height), (BESIDE + STEP / 2, height))
        whole.arrows.append(Arrow(corners, kind))
        width, bottom = max(width, BESIDE + STEP / 2 + part.width), top + part.height
    return replace(whole, width=width, height=bottom)


def _put(whole: Picture, part: Picture, left: float, top: float) -> None:
    """Put a picture into another one."""
    whole.boxes.extend(replace(box, left=box.left + left, top=box.top + top) for box in part.boxes)
    whole.frames.extend(
        replace(frame, left=frame.left + left, top=frame.top + top) for frame in part.frames
    )
    whole.arrows.extend(
        replace(arrow, points=tuple((x + left, y + top) for x, y in arrow.points))
        for arrow in part.arrows
    )
