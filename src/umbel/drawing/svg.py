"""A figure as a picture, in SVG: one file without scripts, for light and for dark pages. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from umbel.drawing.figure import Call, Step
from umbel.drawing.layout import BAR, LINE, PAD, Arrow, Box, Frame, lay_out, shortened

#: Around the whole picture.
MARGIN = 20.0
#: The colours of states, for light and for dark pages; all others have that of what runs.
COLOURS = {
    "SUCCESS": ("#1a7f37", "#3fb950"),
    "FAILURE": ("#cf222e", "#f85149"),
    "REVOKED": ("#8250df", "#a371f7"),
    "RETRY": ("#9a6700", "#d29922"),
    "PENDING": ("#6e7781", "#8b949e"),
}
RUNS = ("#0969da", "#58a6ff")
#: Light and dark: the page, a box, its text, lines, the inside of a frame, quiet text.
PAPER = {
    "page": ("#ffffff", "#0d1117"),
    "box": ("#ffffff", "#161b22"),
    "text": ("#1f2328", "#e6edf3"),
    "line": ("#8c959f", "#6e7681"),
    "frame": ("#f6f8fa", "#12171e"),
    "quiet": ("#59636e", "#9198a1"),
}


def as_svg(figure: Step, title: str = "A workflow") -> str:
    """Return a figure as the text of an SVG file."""
    picture = lay_out(figure)
    width, height = picture.width + 2 * MARGIN, picture.height + 2 * MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}"'
        f' viewBox="0 0 {width:g} {height:g}" role="img">',
        f"<title>{escape(title)}</title>",
        f"<style>{_style()}</style>",
        "<defs>",
        *(_arrow_head(kind) for kind in ("next", "success", "error")),
        "</defs>",
        f'<rect class="page" width="{width:g}" height="{height:g}"/>',
        f'<g transform="translate({MARGIN:g} {MARGIN:g})">',
        *(_frame(frame) for frame in picture.frames),
        *(_arrow(arrow) for arrow in picture.arrows),
        *(line for box in picture.boxes for line in _box(box)),
        "</g>",
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _style() -> str:
    rules = [
        ".page{fill:var(--page)}",
        ".box{fill:var(--box);stroke:var(--line);stroke-width:1.2}",
        ".chosen{stroke-width:2.6}",
        ".gap{fill:none;stroke:var(--line);stroke-dasharray:3 4}",
        ".frame{fill:var(--frame);stroke:var(--line);stroke-opacity:.5}",
        ".arrow{fill:none;stroke:var(--line);stroke-width:1.5}",
        ".arrow.success{stroke:var(--success);stroke-dasharray:5 4}",
        ".arrow.error{stroke:var(--failure);stroke-dasharray:5 4}",
        ".head{fill:var(--line)}.head.success{fill:var(--success)}.head.error{fill:var(--failure)}",
        "text{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace}",
        ".label{font-size:13px;fill:var(--text)}.name{font-weight:600}",
        ".small{font-size:11px;fill:var(--quiet)}",
        ".bar{fill:var(--line);fill-opacity:.3}",
        ".state{font-size:11px;font-weight:600}",
    ]
    for state in (*COLOURS, "runs"):
        name = state.lower()
        rules.append(
            f".{name}{{fill:var(--{name})}}.box.{name}{{fill:var(--box);stroke:var(--{name})}}"
        )
    light, dark = _variables(0), _variables(1)
    return f"svg{{{light}}}@media(prefers-color-scheme:dark){{svg{{{dark}}}}}{''.join(rules)}"


def _variables(which: int) -> str:
    every = {**PAPER, **{state.lower(): pair for state, pair in COLOURS.items()}, "runs": RUNS}
    return ";".join(f"--{name}:{pair[which]}" for name, pair in every.items())


def _arrow_head(kind: str) -> str:
    return (
        f'<marker id="{kind}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7"'
        f' orient="auto"><path class="head {kind}" d="M0 0.5 8 4 0 7.5z"/></marker>'
    )


def _arrow(arrow: Arrow) -> str:
    way = " ".join(f"{x:g},{y:g}" for x, y in arrow.points)
    line = f'<polyline class="arrow {arrow.kind}" points="{way}" marker-end="url(#{arrow.kind})"/>'
    if arrow.kind == "next":
        return line
    (x, y), *_ = arrow.points
    colour = "failure" if arrow.kind == "error" else "success"
    said = f"on {arrow.kind}"
    return f'{line}<text class="state {colour}" x="{x + 8:g}" y="{y + 16:g}">{said}</text>'


def _frame(frame: Frame) -> str:
    return (
        f'<rect class="frame" x="{frame.left:g}" y="{frame.top:g}" width="{frame.width:g}"'
        f' height="{frame.height:g}" rx="10"/>'
        f'<text class="small" x="{frame.left + PAD:g}" y="{frame.top + LINE:g}">'
        f"{escape(frame.title)}</text>"
    )


def _box(box: Box) -> Iterator[str]:
    step, place = box.step, f'x="{box.left:g}" y="{box.top:g}"'
    size = f'width="{box.width:g}" height="{box.height:g}" rx="7"'
    left, middle = box.left + PAD, box.top + box.height / 2
    if not isinstance(step, Call):
        yield f'<rect class="gap" {place} {size}/>'
        yield f'<text class="small" x="{left:g}" y="{middle + 4:g}">{escape(step.text)}</text>'
        return
    colour = "" if step.state is None else f" {_name(step.state)}"
    yield "<g>"
    yield f"<title>{escape(_said(step))}</title>"
    yield f'<rect class="box{colour}{" chosen" if step.chosen else ""}" {place} {size}/>'
    base = middle + 4.5 if step.state is None else box.top + PAD / 2 + LINE - 4
    yield f'<text class="label" x="{left:g}" y="{base:g}">{_label(step)}</text>'
    if step.state is not None:
        yield from _state(box, step, step.state)
    yield "</g>"


def _label(step: Call) -> str:
    text = shortened(step.label)
    name, rest = text[: len(step.name)], text[len(step.name) :]
    return f'<tspan class="name">{escape(name)}</tspan>{escape(rest)}'


def _state(box: Box, step: Call, state: str) -> Iterator[str]:
    left, base, name = box.left + PAD, box.top + PAD / 2 + 2 * LINE - 4, _name(state)
    yield f'<circle class="{name}" cx="{left + 4:g}" cy="{base - 4:g}" r="4"/>'
    text = f'<tspan class="state {name}">{escape(state)}</tspan>'
    if step.note:
        room = shortened(f"{state}  {step.note}")[len(state) + 2 :]
        text += f'<tspan dx="8">{escape(room)}</tspan>'
    yield f'<text class="small" x="{left + 13:g}" y="{base:g}">{text}</text>'
    if step.fraction is not None:
        width, bottom = box.width - 2 * PAD, box.top + box.height - BAR - 4
        bar = f'x="{left:g}" y="{bottom:g}" height="3" rx="1.5"'
        yield f'<rect class="bar" {bar} width="{width:g}"/>'
        yield f'<rect class="{name}" {bar} width="{width * step.fraction:g}"/>'


def _name(state: str) -> str:
    return state.lower() if state in COLOURS else "runs"


def _said(step: Call) -> str:
    state = "" if step.state is None else f"\n{step.state} {step.note}".rstrip()
    return f"{step.label}{state}" + (f"\n{step.task_id}" if step.task_id else "")
