"""What the words of ``umbel multi`` mean: which nodes there are, and the command that starts each."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from umbel.exceptions import ImproperlyConfigured
from umbel.nodenames import node_format

#: Options that stand before the command.
GLOBAL = (
    *("-A", "--app", "-b", "--broker", "--result-backend", "--loader", "--config", "--workdir"),
    *("-C", "--no-color", "-q", "--quiet", "--skip-checks"),
)
#: What a node has that is not told otherwise.
DEFAULTS = {"--pidfile": "%n.pid", "--logfile": "%n%I.log"}
_SHORT = {"-f": "--logfile", "-b": "--broker"}


@dataclass(frozen=True, slots=True)
class Words:
    """The words in their kinds; `own` are options of some nodes (``-c:1,3 4``), by what follows the colon."""

    values: tuple[str, ...] = ()
    options: Mapping[str, str | None] = field(default_factory=dict)
    own: Mapping[str, Mapping[str, str | None]] = field(default_factory=dict)
    rest: tuple[str, ...] = ()

    @classmethod
    def read(cls, words: Sequence[str]) -> Words:
        """Read a command line; as in Celery, a short option takes the word after it that is no option."""
        values: list[str] = []
        options: dict[str, str | None] = {}
        own: dict[str, dict[str, str | None]] = {}
        left = list(words)
        while left:
            word = left.pop(0)
            if word == "--":
                return cls(tuple(values), options, own, (word, *left))
            if not word.startswith("-"):
                values.append(word)
                continue
            name, equals, text = word.partition("=")
            value: str | None = text if equals else None
            if not word.startswith("--") and left and not left[0].startswith("-"):
                value = left.pop(0)
            name, _, nodes = name.partition(":")
            own_or_all = own.setdefault(nodes, {}) if nodes else options
            own_or_all[_SHORT.get(name, name)] = value
        return cls(tuple(values), options, own)


@dataclass(frozen=True, slots=True)
class Node:
    """A worker that is to be started, or was."""

    name: str
    options: Mapping[str, str | None]
    rest: tuple[str, ...] = ()

    @property
    def pidfile(self) -> Path:
        """The file with its pid."""
        directory = self.options.get("--workdir") or ""
        path = self.options.get("--pidfile") or DEFAULTS["--pidfile"]
        return Path(directory, node_format(path, self.name)).expanduser()

    @property
    def command(self) -> list[str]:
        """The words that start it in the background."""
        options = DEFAULTS | dict(self.options)
        before = _written((name, options.pop(name)) for name in GLOBAL if name in options)
        python = [sys.executable, "-m", "umbel", *before, "worker", "--detach", "-n", self.name]
        return [*python, *_written(options.items()), *self.rest]

    def expand(self, template: str) -> str:
        """Return a text with the abbreviations of this node written out."""
        return node_format(template, self.name)


def _written(options: Iterable[tuple[str, str | None]]) -> Iterator[str]:
    for name, value in options:
        if value is None:
            yield name
        elif name.startswith("--"):
            yield f"{name}={value}"
        else:
            yield from (name, value)


def nodes(words: Words) -> list[Node]:
    """Return the nodes that are named, or as many as a single number says.

    Raises ImproperlyConfigured for options of nodes that there are not.
    """
    options = dict(words.options)
    host = options.pop("-n", None) or options.pop("--hostname", None) or platform.node()
    prefix = options.pop("--prefix", None) or ""
    suffix = options.pop("--suffix", None) or host.removeprefix("@")
    between = options.pop("--range-prefix", None) or "celery"
    names = list(words.values)
    if len(names) == 1 and names[0].isdigit():
        names = [str(number) for number in range(1, int(names[0]) + 1)]
        prefix = between
    if not names:
        raise ImproperlyConfigured("Which nodes? Name them, or say how many: umbel multi start 3")
    found = {name: Node(_full(f"{prefix}{name}", suffix), options, words.rest) for name in names}
    for chosen, own in words.own.items():
        for name in _chosen(chosen, names):
            found[name] = replace(found[name], options={**found[name].options, **own})
    return list(found.values())


def _full(name: str, host: str) -> str:
    return name if "@" in name else f"{name}@{host}"


def _chosen(text: str, names: Sequence[str]) -> list[str]:
    """Return the names that ``1,3-5`` or ``mails,reports`` means: numbers count from 1."""
    chosen: list[str] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        if part in names:
            chosen.append(part)
        elif first.isdigit() and (not last or last.isdigit()):
            chosen += _numbered(text, int(first), int(last or first), names)
        else:
            raise ImproperlyConfigured(
                f"There is no node {part!r} for the option with :{text}; there are {', '.join(names)}."
            )
    return chosen


def _numbered(text: str, first: int, last: int, names: Sequence[str]) -> Sequence[str]:
    if not 1 <= first <= last <= len(names):
        raise ImproperlyConfigured(
            f"An option is for the nodes :{text}, and there are {len(names)}."
        )
    return names[first - 1 : last]
