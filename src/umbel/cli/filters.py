"""Which dead letters a command is about: chosen by key, or by what they have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import reduce
from itertools import islice
from typing import Any

import click

from umbel.app import Umbel
from umbel.cli.times import moment
from umbel.ports import DeadLetter, QueueAdmin
from umbel.settings import zone

#: Dead letters read at a time.
PAGE = 1000

_OPTIONS = (
    click.option("--task", help="Only of tasks of this name; * and ? stand for anything."),
    click.option("--queue", help="Only of this queue."),
    click.option("--reason", help="Only those whose reason contains this text."),
    click.option("--since", help="Only those that died since: an age (2h, 30m, 1d) or a time."),
    click.option("--until", help="Only those that died before: an age or an ISO 8601 time."),
)


def filter_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that `Filter` is made of."""
    return reduce(lambda made, option: option(made), reversed(_OPTIONS), function)


@dataclass(frozen=True, slots=True)
class Filter:
    """What the wanted dead letters have in common. What is None, or no key at all, rules out none."""

    task: str | None = None
    queue: str | None = None
    reason: str | None = None
    since: float | None = None
    until: float | None = None
    keys: frozenset[str] = frozenset()

    @classmethod
    def of(cls, app: Umbel, words: Mapping[str, str | None], keys: Iterable[str] = ()) -> Filter:
        """Read the options of the command line."""
        now, here = app.clock.time(), zone(app.conf.snapshot)
        since, until = words["since"], words["until"]
        return cls(
            task=words["task"],
            queue=words["queue"],
            reason=words["reason"],
            since=None if since is None else moment(since, now, here, "--since"),
            until=None if until is None else moment(until, now, here, "--until"),
            keys=frozenset(keys),
        )

    @property
    def says_something(self) -> bool:
        """True when not everything is wanted."""
        return self != Filter()

    def wants(self, letter: DeadLetter) -> bool:
        """Tell whether a dead letter is one of them."""
        name = str(letter.message.headers.get("task", ""))
        return (
            (not self.keys or letter.key in self.keys)
            and (self.task is None or fnmatchcase(name, self.task))
            and (self.queue is None or letter.queue == self.queue)
            and (self.reason is None or self.reason.lower() in letter.reason.lower())
            and (self.since is None or letter.died_at >= self.since)
            and (self.until is None or letter.died_at < self.until)
        )

    def find(self, queues: QueueAdmin, limit: int | None = None) -> list[DeadLetter]:
        """Return the wanted dead letters, the latest first, at most `limit` of them."""
        return list(islice(filter(self.wants, _all(queues)), limit))


def _all(queues: QueueAdmin) -> Iterator[DeadLetter]:
    read, seen = 0, set()
    while page := queues.dead_letters(PAGE, read):
        read += len(page)
        for letter in page:  # those that die meanwhile push earlier ones onto the next page
            if letter.key not in seen:
                seen.add(letter.key)
                yield letter
