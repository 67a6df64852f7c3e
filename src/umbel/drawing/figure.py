"""What is drawn of a workflow: calls that run one after the other or at the same time. Values only.

Every workflow is of that form, so a figure is a tree, and who draws one needs no rules about edges: they go
from each step of a series to the next.
"""

from __future__ import annotations

from collections.abc import Sequence

from umbel.values import value

#: Of a series or of members that run at the same time, so many are drawn: of more, the first and the last.
MOST = 12


@value
class Call:
    """One call: its task's name, its arguments as text, and what is known of how it goes.

    `state` is None of a call that was not sent. `note` says more about the state. `fraction` is what is done
    of a task that tells, between 0.0 and 1.0. `chosen` is what the figure was asked for.
    """

    name: str
    arguments: str = ""
    state: str | None = None
    note: str = ""
    fraction: float | None = None
    task_id: str = ""
    chosen: bool = False

    @property
    def label(self) -> str:
        """The call as text."""
        return f"{self.name}{self.arguments}"


@value
class Gap:
    """Steps or members that are left out, as text: there are too many of them."""

    text: str


@value
class Series:
    """Steps that run one after the other."""

    steps: tuple[Step, ...]


@value
class Parallel:
    """Members that run at the same time."""

    title: str
    members: tuple[Step, ...]


@value
class Followed:
    """A step with what follows it beside its series: its callbacks, and its errbacks."""

    step: Step
    on_success: tuple[Step, ...] = ()
    on_error: tuple[Step, ...] = ()


Step = Call | Gap | Series | Parallel | Followed


def in_series(steps: Sequence[Step]) -> Step:
    """Return steps one after the other; a series among them is part of the whole one."""
    flat: list[Step] = []
    for step in steps:
        flat.extend(step.steps if isinstance(step, Series) else [step])
    return flat[0] if len(flat) == 1 else Series(tuple(flat))


def shown_of(count: int, most: int) -> tuple[range, int, range]:
    """Return which of so many are drawn: the first ones, how many are left out, and the last one."""
    if count <= most:
        return range(count), 0, range(0)
    first = max(most - 2, 1)
    return range(first), count - first - 1, range(count - 1, count)
