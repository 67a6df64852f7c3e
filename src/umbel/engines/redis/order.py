"""In which order several queues are fetched from: kombu's ``queue_order_strategy``.

As kombu has it (kombu/utils/scheduling.py), a strategy is a class whose objects are told the queues
(`update`), asked for their order before each fetch (`consume`), and told which gave messages (`rotate`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from umbel.dotted import named
from umbel.exceptions import ImproperlyConfigured
from umbel.nearest import meant


class Cycle(Protocol):
    """An order of queues that may change from one fetch to the next."""

    def update(self, it: Iterable[str], /) -> object:
        """Take these queues from now on."""

    def consume(self, n: int, /) -> Sequence[str]:
        """Return the first `n` of them in their present order."""

    def rotate(self, last_used: str, /) -> object:
        """Hear that a queue gave messages."""


class InOrder:
    """The order in which the queues were named, at every fetch."""

    def __init__(self) -> None:
        self.items: list[str] = []

    def update(self, it: Iterable[str], /) -> None:
        """Take these queues from now on."""
        self.items = list(it)

    def consume(self, n: int, /) -> Sequence[str]:
        """Return the first `n` of them."""
        return self.items[:n]

    def rotate(self, last_used: str, /) -> None:
        """Stay as it is."""


class Sorted(InOrder):
    """By name."""

    def update(self, it: Iterable[str], /) -> None:
        """Take these queues from now on."""
        self.items = sorted(it)


class RoundRobin(InOrder):
    """Whoever gave messages is the last at the next fetch, so that no queue keeps another waiting."""

    def rotate(self, last_used: str, /) -> None:
        """Move it to the end."""
        self.items.remove(last_used)
        self.items.append(last_used)


STRATEGIES: Mapping[str, Callable[[], Cycle]] = {
    "round_robin": RoundRobin,
    "priority": InOrder,
    "sorted": Sorted,
}


def strategy(options: Mapping[str, Any]) -> Callable[[], Cycle]:
    """Return what makes a cycle, by transport options. Raises ImproperlyConfigured for what makes none."""
    value = options.get("queue_order_strategy") or "round_robin"
    if isinstance(value, str) and value in STRATEGIES:
        return STRATEGIES[value]
    make = _named(value) if isinstance(value, str) else value
    missing = ["update", "consume", "rotate"]
    if callable(make):
        made = make()
        missing = [name for name in missing if not callable(getattr(made, name, None))]
    if missing:
        raise ImproperlyConfigured(
            f"broker_transport_options has the queue_order_strategy {value!r}, which makes no object with the"
            f" method {missing[0]!r}. {_KNOWN}"
        )
    found: Callable[[], Cycle] = make
    return found


_KNOWN = (
    f"It must be {', '.join(map(repr, STRATEGIES))}, or a class like those of kombu.utils.scheduling, or its"
    " name."
)


def _named(value: str) -> Any:
    if not {".", ":"} & set(value):
        raise ImproperlyConfigured(
            f"broker_transport_options has the unknown queue_order_strategy {value!r}."
            f"{meant(value, STRATEGIES)} {_KNOWN}"
        )
    return named(value)


class Turns:
    """The order for one consumer, from one fetch to the next."""

    def __init__(self, cycle: Cycle) -> None:
        self._cycle = cycle
        self._queues: Sequence[str] = ()

    def next(self, queues: Sequence[str]) -> Sequence[str]:
        """Return the queues in their present order; a strategy may leave some out, and add none."""
        if len(queues) < 2:
            return queues
        if (queues := tuple(queues)) != self._queues:
            self._cycle.update(list(queues))
            self._queues = queues
        return [queue for queue in self._cycle.consume(len(queues)) if queue in queues]

    def gave(self, queues: Iterable[str]) -> None:
        """Note the queues of messages that were fetched, in the order in which they came."""
        for queue in dict.fromkeys(queues):
            if queue in self._queues:
                self._cycle.rotate(queue)
