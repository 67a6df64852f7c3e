"""The names of keys: kombu's lists and hashes, and where our own begin."""

from __future__ import annotations

import math
from bisect import bisect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from umbel.exceptions import ImproperlyConfigured
from umbel.limits import DEFAULT

#: kombu keeps this many priorities apart where nothing else is said.
STEPS = (0, 3, 6, 9)
#: kombu's priorities: what is outside is taken as the nearest.
LEAST, MOST = 0, 9


@dataclass(frozen=True, slots=True)
class Names:
    """Where things are, by the names of Celery's ``broker_transport_options``.

    `prefix` stands before every key. Of `steps` the first is the most urgent: on Redis 0 comes first, as
    Celery has it. With `highest_first` our own priorities are the other way round: they are turned where they
    are written and read, so lists and envelopes stay as kombu knows them. `visibility_timeout` is in seconds
    and counts for what kombu holds, not for us. Envelopes of bodies that are larger than `message_max_bytes`
    are not decoded.
    """

    prefix: str = ""
    sep: str = "\x06\x16"
    steps: tuple[int, ...] = STEPS
    unacked: str = "unacked"
    unacked_index: str = "unacked_index"
    unacked_mutex: str = "unacked_mutex"
    visibility_timeout: float = 3600.0
    highest_first: bool = False
    message_max_bytes: int = DEFAULT.message_max_bytes
    own: str = field(init=False, default="")

    def __post_init__(self) -> None:
        """Work out the prefix of our own keys."""
        object.__setattr__(self, "own", f"{self.prefix}umbel:")

    def base(self, queue: str) -> str:
        """Return the list of a queue's most urgent messages; the names of its others go on behind that."""
        return self.prefix + queue

    def lists(self, queue: str) -> tuple[str, ...]:
        """Return the lists of a queue, the most urgent first."""
        base = self.base(queue)
        return tuple(f"{base}{self.sep}{step}" if step else base for step in self.steps)

    def suffixes(self) -> list[str]:
        """Return how the names of a queue's lists go on behind its base."""
        base = self.base("")
        return [name.removeprefix(base) for name in self.lists("")]

    def list_for(self, queue: str, priority: int) -> tuple[str, int]:
        """Return the list of a queue for a priority of kombu's, and the length of its base in bytes."""
        base, step = self.base(queue), self.step(priority)
        return f"{base}{self.sep}{step}" if step else base, len(base.encode())

    def turned(self, priority: int) -> int:
        """Return kombu's number for a priority of ours, and the other way round."""
        return MOST - min(max(priority, LEAST), MOST) if self.highest_first else priority

    def step(self, priority: int) -> int:
        """Return the step that a priority belongs to: the highest that is not above it."""
        return self.steps[max(bisect(self.steps, min(max(priority, LEAST), MOST)) - 1, 0)]

    def split(self, name: bytes, base: int) -> tuple[str, int]:
        """Return the queue and kombu's priority of a list, of which so many bytes are its base."""
        step = name[base + len(self.sep.encode()) :]
        return name[len(self.prefix.encode()) : base].decode(), int(step or 0)

    def binding(self, member: bytes) -> tuple[str, str, str] | None:
        """Return routing key, pattern and queue of an entry of kombu's tables of exchanges.

        None where the separator is also part of a name, so that nobody can tell; but most queues are bound
        by their own name and no pattern.
        """
        text = member.decode("utf-8", "replace")
        name = text[: max(len(text) - 2 * len(self.sep), 0) // 2]
        if name and text == f"{name}{self.sep}{self.sep}{name}":
            return name, "", name
        parts = text.split(self.sep)
        return (parts[0], parts[1], parts[2]) if len(parts) == 3 else None

    def constants(self) -> tuple[str | float | int, ...]:
        """Return what the arguments of every script begin with (lua/broker_base.lua)."""
        return (
            self.own,
            self.prefix + self.unacked,
            self.prefix + self.unacked_index,
            self.visibility_timeout,
            len(self.steps),
            len(self.prefix.encode()),
        )


def names(options: Mapping[str, Any]) -> Names:
    """Read the names from transport options. Raises ImproperlyConfigured for values that cannot be."""
    steps, wanted = options.get("priority_steps") or STEPS, options.get("visibility_timeout")
    try:
        steps = tuple(sorted(int(step) for step in steps))
        timeout = 3600.0 if wanted is None else float(wanted)
    except (TypeError, ValueError) as error:
        raise ImproperlyConfigured(
            "broker_transport_options has priority_steps or a visibility_timeout that are no numbers:"
            f" {options.get('priority_steps')!r}, {wanted!r}."
        ) from error
    if not 0 < timeout < math.inf:
        raise ImproperlyConfigured(
            f"broker_transport_options has the visibility_timeout {wanted!r}, but it must be a number of"
            " seconds above 0: what Celery's workers hold for longer is returned, also while they live."
        )
    if steps[0] != 0:
        raise ImproperlyConfigured(
            f"broker_transport_options has priority_steps {list(steps)!r}; the first has to be 0,"
            " the priority of messages without one."
        )
    return Names(
        prefix=str(options.get("global_keyprefix") or ""),
        sep=str(options.get("sep") or "\x06\x16"),
        steps=steps,
        unacked=str(options.get("unacked_key") or "unacked"),
        unacked_index=str(options.get("unacked_index_key") or "unacked_index"),
        unacked_mutex=str(options.get("unacked_mutex_key") or "unacked_mutex"),
        visibility_timeout=timeout,
        highest_first=bool(options.get("broker_highest_priority_first")),
        message_max_bytes=int(options.get("message_max_bytes", DEFAULT.message_max_bytes)),
    )
