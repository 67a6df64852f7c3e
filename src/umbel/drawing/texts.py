"""A figure as a tree of text, with the states of its calls beside it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from umbel.drawing.figure import Call, Followed, Gap, Parallel, Series, Step
from umbel.values import value

#: What stands before a state, so that it is seen at a glance.
SIGNS = {"SUCCESS": "✔", "FAILURE": "✘", "REVOKED": "⊘", "RETRY": "↻", "PENDING": "·"}
#: What stands before all others: it runs.
RUNS = "▶"
#: Characters of a bar.
BAR = 10
#: What stands for the signs above, and for lines, where only ASCII can be printed.
_ASCII = str.maketrans(
    {"├": "|", "└": "`", "│": "|", "─": "-", "━": "=", "✔": "+", "✘": "x", "⊘": "o"}
    | {"↻": "~", "·": ".", "▶": ">", "←": "<-", "…": "..."}
)


@value
class Line:
    """A line of the tree: what stands before it, its text, and the call that it is about, if it is one."""

    lead: str
    text: str
    call: Call | None = None


def as_text(figure: Step, paint: Callable[[str, str], str] = lambda text, _: text) -> str:
    """Return a figure as lines. `paint` gives a text the colour of a state."""
    lines = list(_lines(figure, "", ""))
    states = any(line.call is not None and line.call.state is not None for line in lines)
    width = max(len(line.lead) + len(line.text) for line in lines)
    return "\n".join(_drawn(line, width if states else 0, paint) for line in lines)


def in_ascii(text: str) -> str:
    """Return a tree for where nothing but ASCII can be printed; what has no other form is a question mark."""
    return text.translate(_ASCII).encode("ascii", "replace").decode()


def _drawn(line: Line, width: int, paint: Callable[[str, str], str]) -> str:
    call, text = line.call, f"{line.lead}{line.text}"
    if call is None or call.state is None:
        return text
    sign = SIGNS.get(call.state, RUNS)
    bar = "" if call.fraction is None else f" {_bar(call.fraction)}"
    note = f"  {call.note}" if call.note else ""
    mark = "  ←" if call.chosen else ""
    return f"{text.ljust(width)}  {paint(f'{sign} {call.state}', call.state)}{bar}{note}{mark}"


def _bar(fraction: float) -> str:
    done = round(fraction * BAR)
    return f"{'━' * done}{'─' * (BAR - done)}"


def _lines(step: Step, lead: str, under: str) -> Iterator[Line]:
    """Yield the lines of a step: its first after `lead`, all others after `under`."""
    match step:
        case Call():
            yield Line(lead, step.label, step)
        case Gap(text):
            yield Line(lead, f"… {text}")
        case Series(steps):
            yield Line(lead, "chain")
            yield from _branches([(f"{n} ", one) for n, one in enumerate(steps, 1)], under)
        case Parallel(title, members):
            yield Line(lead, title)
            yield from _branches([("", one) for one in members], under)
        case Followed(inner, on_success, on_error):
            inside = isinstance(inner, Call | Gap)
            yield from _lines(inner, lead, under if inside else f"{under}│  ")
            after = [("on success: ", one) for one in on_success]
            yield from _branches(after + [("on error: ", one) for one in on_error], under)


def _branches(parts: list[tuple[str, Step]], under: str) -> Iterator[Line]:
    width = max((len(name) for name, _ in parts), default=0) if parts[0][0][:1].isdigit() else 0
    for place, (name, part) in enumerate(parts, 1):
        last = place == len(parts)
        lead = f"{under}{'└─ ' if last else '├─ '}{name.ljust(width)}"
        below = f"{under}{'   ' if last else '│  '}{' ' * len(name.ljust(width))}"
        yield from _lines(part, lead, below)
